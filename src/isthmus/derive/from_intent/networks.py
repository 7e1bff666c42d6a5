# SPDX-License-Identifier: Apache-2.0
"""Virtual networks and their peerings: the implicit router of each, and who reaches whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import Mac, mac_text
from isthmus.derive.engine import Index, Item, Key, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import name_of
from isthmus.intent.fields import decode
from isthmus.intent.kinds import peerings, virtual_networks
from isthmus.intent.kinds.peerings import VirtualNetworkPeering
from isthmus.intent.kinds.virtual_networks import VirtualNetwork
from isthmus.intent.model import Stored
from isthmus.intent.references import key_of
from isthmus.policy.rows import Router

ROUTER_MAC = mac_text(Mac(0x123456789ABC))
"""The MAC address of every distributed router on every host, so that a guest that moves finds its
gateway where it was. Microsoft's own networks use the same one."""


class NetworkFact(NamedTuple):
    """A virtual network."""

    ref: str
    name: str
    carrier: str
    """Key of the logical network."""
    dns: tuple[str, ...]
    rdid: int
    prefixes: tuple[str, ...]
    instance_id: str


class PeeringFact(NamedTuple):
    """One side of a peering: keys of both networks, which one of the remote's name is meant, and
    whether it allows access."""

    network: str
    remote: str
    remote_instance: str
    allows: bool


def network_fact(stored: Stored) -> NetworkFact:
    network = decode(stored, VirtualNetwork)
    return NetworkFact(
        ref=stored.ref,
        name=name_of(stored),
        carrier=key_of(network.logical_network),
        dns=network.dhcp_options.dns_servers if network.dhcp_options else (),
        rdid=network.rdid,
        prefixes=tuple(sorted(network.address_space.address_prefixes)),
        instance_id=stored.instance_id,
    )


def peering_fact(stored: Stored) -> PeeringFact:
    peering = decode(stored, VirtualNetworkPeering)
    return PeeringFact(
        network=stored.parent or "",
        remote=key_of(peering.remote_virtual_network),
        remote_instance=peering.remote_instance,
        allows=peering.allow_virtual_network_access,
    )


def virtual_network(network: NetworkFact, read: Read) -> Iterator[Item]:
    """Over NetworkFact: the implicit router of a virtual network."""
    yield item(
        Router(
            id=network.name,
            rdid=network.rdid,
            mac=ROUTER_MAC,
            prefixes=tuple(sorted({*network.prefixes, *_peers_prefixes(network, read)})),
            origin=network.ref,
        )
    )


def _peers_prefixes(network: NetworkFact, read: Read) -> Iterator[str]:
    for remote in peers(key_of(network.ref), read):
        peer = read.get(NetworkFact, remote)
        if peer is not None:
            yield from peer.prefixes


def peers(network: str, read: Read) -> list[str]:
    """Keys of the networks that a network reaches: both sides have a peering that allows it."""
    ours = _remotes(network, read)
    return sorted(remote for remote in ours if network in _remotes(remote, read))


def _remotes(network: str, read: Read) -> set[str]:
    """Keys of the networks that peerings of this one allow. One that was made anew under the name
    of a network that is gone is not meant: it may be anybody's."""
    found = set()
    for key in read.find(PEERINGS_BY_NETWORK, network):
        peering = read.get(PeeringFact, key)
        remote = read.get(NetworkFact, peering.remote) if peering is not None else None
        if peering is None or remote is None or not peering.allows:
            continue
        if peering.remote_instance == remote.instance_id:
            found.add(peering.remote)
    return found


def _network_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, PeeringFact)
    return (row.network,)


PEERINGS_BY_NETWORK = Index(PeeringFact, "network", _network_of)

FAMILY = Family(
    readers=(
        reader(virtual_networks.KIND, NetworkFact, network_fact),
        reader(peerings.KIND, PeeringFact, peering_fact),
    ),
    units=(unit(NetworkFact, virtual_network),),
    indexes=(PEERINGS_BY_NETWORK,),
)
