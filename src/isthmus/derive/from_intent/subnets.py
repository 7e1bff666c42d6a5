# SPDX-License-Identifier: Apache-2.0
"""Virtual subnets: each is a segment, a subnet, and a leg of the virtual network's implicit router.
The two of a dual-stack pair are one segment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import parse_prefix
from isthmus.derive.engine import Index, Item, Key, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import named, segment_of
from isthmus.derive.from_intent.networks import NetworkFact, peers
from isthmus.derive.from_intent.underlay import UNDERLAY, CarrierFact, Underlay
from isthmus.intent.fields import decode
from isthmus.intent.kinds import virtual_subnets
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Stored
from isthmus.policy.rows import RouterPort, Segment, Subnet
from isthmus.wire.encapsulations import OVERHEAD_BYTES


class SubnetFact(NamedTuple):
    """A virtual subnet. `segment_key` is the key of the subnet that the segment is called after:
    its own but for the IPv6 half of a dual-stack pair."""

    key: str
    ref: str
    network: str
    segment_key: str
    prefix: str
    vsid: int
    routes: tuple[str, ...]
    rules: str
    """Name of its rule set; empty for none."""


def subnet_fact(stored: Stored) -> SubnetFact:
    subnet = decode(stored, VirtualSubnet)
    routes = tuple(f"{route.destination} {route.next_hop}" for route in subnet.routes)
    return SubnetFact(
        key=stored.key,
        ref=stored.ref,
        network=stored.parent or "",
        segment_key=subnet.segment_key(stored.key),
        prefix=subnet.address_prefix,
        vsid=subnet.virtual_subnet_id,
        routes=tuple(sorted(routes)),
        rules=named(subnet.access_control_list),
    )


def virtual_subnet(subnet: SubnetFact, read: Read) -> Iterator[Item]:
    """Over SubnetFact: its subnet; and its segment with the router's leg in it, unless it is the
    IPv6 half of a pair, which is on its partner's.
    """
    network = read.get(NetworkFact, subnet.network)
    carried_by = read.get(CarrierFact, network.carrier) if network else None
    if network is None or carried_by is None:
        return
    segment = segment_of(subnet.segment_key)
    yield item(
        Subnet(
            segment=segment,
            prefix=subnet.prefix,
            gateway=_gateway(subnet).partition("/")[0],
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
    yield item(
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
    yield item(
        RouterPort(
            router=network.name,
            segment=segment,
            addresses=tuple(sorted(map(_gateway, pair))),
            origin=subnet.ref,
        )
    )
    for remote in peers(subnet.network, read):
        peer = read.get(NetworkFact, remote)
        if peer is not None:
            yield item(
                RouterPort(
                    router=peer.name,
                    segment=segment,
                    addresses=tuple(sorted(map(_gateway, pair))),
                    kind="peer",
                    origin=subnet.ref,
                )
            )


def _gateway(subnet: SubnetFact) -> str:
    """The lowest address is the distributed router's, as on Microsoft's own controller."""
    prefix = parse_prefix(subnet.prefix)
    return f"{prefix.network_address + 1}/{prefix.prefixlen}"


def _segment_key_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, SubnetFact)
    return (row.segment_key,)


SUBNETS_BY_SEGMENT = Index(SubnetFact, "segment", _segment_key_of)

FAMILY = Family(
    readers=(reader(virtual_subnets.KIND, SubnetFact, subnet_fact),),
    units=(unit(SubnetFact, virtual_subnet),),
    indexes=(SUBNETS_BY_SEGMENT,),
)
