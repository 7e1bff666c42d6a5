# SPDX-License-Identifier: Apache-2.0
"""Intent → policy: the units of the controller's engine, over the facts of `intent_facts`.

A virtual subnet is a segment, a subnet and a leg of the virtual network's implicit router; the two
of a dual-stack pair are one segment. A networkInterface with an address in a virtual subnet is a
port. An access control list is a rule set, a security tag a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import Mac, mac_text, parse_prefix
from isthmus.derive.engine import Engine, Index, Item, Key, Read, unit
from isthmus.derive.intent_facts import (
    FACT_OF_KIND,
    AddressFact,
    CarrierFact,
    InterfaceFact,
    NetworkFact,
    PeeringFact,
    RuleFact,
    RuleSetFact,
    ServerFact,
    SubnetFact,
    fact,
    named,
    segment_of,
)
from isthmus.intent.model import Stored
from isthmus.intent.references import key_of
from isthmus.policy.rows import (
    DESIRED,
    Host,
    PhysicalNetwork,
    Port,
    Router,
    RouterPort,
    Row,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.policy.topology import lowest_address
from isthmus.policy.values import AppliedSet, LegKind, RuleLevel
from isthmus.wire.encapsulations import OVERHEAD_BYTES, Encapsulation

ROUTER_MAC = mac_text(Mac(0x123456789ABC))
"""Of every distributed router on every host, so that a guest that moves finds its gateway where it
was. Microsoft's own networks use the same one."""


class Underlay(NamedTuple):
    """What the operator says of the physical network; one row, key `UNDERLAY`."""

    mtu_bytes: int = 1500
    transports: tuple[Encapsulation, ...] = (Encapsulation.VXLAN, Encapsulation.NVGRE)


UNDERLAY = "underlay"


def input_of(old: Stored | None, new: Stored | None) -> tuple[type, Key, object | None] | None:
    """The engine's input row of one changed resource; a replaced one may differ in all but its
    key. None for what has no place in policy."""
    stored = new or old
    assert stored is not None, "a change has a row before it or after it"
    table = FACT_OF_KIND.get(stored.kind)
    return None if table is None else (table, stored.key, None if new is None else fact(new))


def put(engine: Engine, old: Stored | None, new: Stored | None) -> None:
    """Tell the engine of one changed resource."""
    found = input_of(old, new)
    if found is not None:
        engine.put(*found)


def carrier(logical: CarrierFact, read: Read) -> Iterator[Item]:
    """Over CarrierFact: the underlay of virtual networks."""
    underlay = read.get(Underlay, UNDERLAY) or Underlay()
    yield _item(
        PhysicalNetwork(
            name=logical.name,
            transports=tuple(sorted(underlay.transports)),
            mtu_bytes=underlay.mtu_bytes,
            origin=logical.ref,
        )
    )


def virtual_network(network: NetworkFact, read: Read) -> Iterator[Item]:
    """Over NetworkFact: the implicit router of a virtual network."""
    yield _item(
        Router(
            id=network.name,
            rdid=network.rdid,
            mac=ROUTER_MAC,
            prefixes=tuple(sorted({*network.prefixes, *_peers_prefixes(network, read)})),
            origin=network.ref,
        )
    )


def _peers_prefixes(network: NetworkFact, read: Read) -> Iterator[str]:
    for remote in _peers(key_of(network.ref), read):
        peer = read.get(NetworkFact, remote)
        if peer is not None:
            yield from peer.prefixes


def _peers(network: str, read: Read) -> list[str]:
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


def virtual_subnet(subnet: SubnetFact, read: Read) -> Iterator[Item]:
    """Over SubnetFact: its subnet; and its segment with the router's leg in it, unless it is the
    IPv6 half of a pair, which is on its partner's.
    """
    network = read.get(NetworkFact, subnet.network)
    carried_by = read.get(CarrierFact, network.carrier) if network else None
    if network is None or carried_by is None:
        return
    segment = segment_of(subnet.segment_key)
    yield _item(
        Subnet(
            segment=segment,
            prefix=subnet.prefix,
            gateway=str(lowest_address(subnet.prefix)),
            dhcp=parse_prefix(subnet.prefix).version == 4,
            dns=network.dns,
            host_routes=subnet.routes,
            origin=subnet.ref,
        )
    )
    if subnet.segment_key != subnet.key:
        return
    underlay = read.get(Underlay, UNDERLAY) or Underlay()
    overhead = max((OVERHEAD_BYTES[name] for name in underlay.transports), default=0)
    yield _item(
        Segment(
            id=segment,
            physical_network=carried_by.name,
            vsid=subnet.vsid,
            mtu_bytes=underlay.mtu_bytes - overhead,
            origin=subnet.ref,
        )
    )
    pair = [
        found
        for key in read.find(SUBNETS_BY_SEGMENT, subnet.key)
        if (found := read.get(SubnetFact, key)) is not None
    ]
    yield _item(
        RouterPort(
            router=network.name,
            segment=segment,
            addresses=tuple(sorted(map(_gateway, pair))),
            origin=subnet.ref,
        )
    )
    for remote in _peers(subnet.network, read):
        peer = read.get(NetworkFact, remote)
        if peer is not None:
            yield _item(
                RouterPort(
                    router=peer.name,
                    segment=segment,
                    addresses=tuple(sorted(map(_gateway, pair))),
                    kind=LegKind.PEER,
                    origin=subnet.ref,
                )
            )


def _gateway(subnet: SubnetFact) -> str:
    """The router's, with the length of its prefix."""
    return f"{lowest_address(subnet.prefix)}/{parse_prefix(subnet.prefix).prefixlen}"


def network_interface(interface: InterfaceFact, read: Read) -> Iterator[Item]:
    """Over InterfaceFact: its port, if it has an address in a virtual subnet."""
    found = sorted(
        (
            address
            for key in read.find(ADDRESSES_BY_INTERFACE, interface.key)
            if (address := read.get(AddressFact, key)) is not None
        ),
        key=lambda address: address.rank,
    )
    if not found:
        return
    yield _item(
        Port(
            id=interface.name,
            segment=found[0].segment,
            mac=interface.mac,
            addresses=tuple(sorted(address.address for address in found)),
            dhcp_address=next((a.address for a in found if ":" not in a.address), ""),
            profile_id=interface.instance_id,
            dns=interface.dns,
            hosts=interface.hosts,
            rule_sets=tuple(sorted(set(_rule_sets(interface, found, read)))),
            groups=tuple(sorted(map(named, interface.tags))),
            pairs=interface.pairs,
            guards=interface.guards,
            storm_pps=interface.storm_pps,
            revision=interface.etag,
            origin=interface.ref,
        )
    )


def _rule_sets(
    interface: InterfaceFact, addresses: Iterable[AddressFact], read: Read
) -> Iterator[AppliedSet]:
    for address in addresses:
        subnet = read.get(SubnetFact, address.subnet)
        if subnet is not None and subnet.rules:
            yield AppliedSet(RuleLevel.SUBNET, address.address, subnet.rules)
        if address.rules:
            yield AppliedSet(RuleLevel.INTERFACE, address.address, address.rules)
    for tag in interface.tags:
        for key in read.find(RULE_SETS_BY_TAG, tag):
            applied = read.get(RuleSetFact, key)
            if applied is not None:
                yield AppliedSet(RuleLevel.INTERFACE, "", applied.name)


def access_control_list(acl: RuleSetFact, read: Read) -> Iterator[Item]:
    """Over RuleSetFact: the rule set, without its rules."""
    yield _item(
        RuleSet(
            id=acl.name,
            in_default=acl.in_default,
            out_default=acl.out_default,
            origin=acl.ref,
        )
    )


def acl_rule(rule: RuleFact, read: Read) -> Iterator[Item]:
    """Over RuleFact: the rule."""
    yield _item(rule.row)


def server(host: ServerFact, read: Read) -> Iterator[Item]:
    """Over ServerFact: a host that may speak; its certificate is named like it."""
    yield _item(Host(id=host.name, certificate_name=host.name, origin=host.ref))


def _item(row: Row) -> Item:
    return Item(type(row), row.key, row)


def _interface_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, AddressFact)
    return (row.interface,)


def _segment_key_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, SubnetFact)
    return (row.segment_key,)


def _tags_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, RuleSetFact)
    return row.tags


def _network_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, PeeringFact)
    return (row.network,)


PEERINGS_BY_NETWORK = Index(PeeringFact, "network", _network_of)
ADDRESSES_BY_INTERFACE = Index(AddressFact, "interface", _interface_of)
SUBNETS_BY_SEGMENT = Index(SubnetFact, "segment", _segment_key_of)
RULE_SETS_BY_TAG = Index(RuleSetFact, "tag", _tags_of)

UNITS = (
    unit(CarrierFact, carrier),
    unit(NetworkFact, virtual_network),
    unit(SubnetFact, virtual_subnet),
    unit(InterfaceFact, network_interface),
    unit(RuleSetFact, access_control_list),
    unit(RuleFact, acl_rule),
    unit(ServerFact, server),
)


def new_engine(underlay: Underlay) -> Engine:
    """An engine whose derived tables are `policy.rows.DESIRED`."""
    indexes = (PEERINGS_BY_NETWORK, ADDRESSES_BY_INTERFACE, SUBNETS_BY_SEGMENT, RULE_SETS_BY_TAG)
    engine = Engine(UNITS, indexes, (Underlay, AddressFact, PeeringFact, *DESIRED))
    engine.put(Underlay, UNDERLAY, underlay)
    return engine
