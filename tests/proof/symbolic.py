# SPDX-License-Identifier: Apache-2.0
"""A host's program run on sets of packets: which packets can come to which stage, and what becomes
of them there.

Everything is an over-approximation: what is not in a set cannot come. A set that a flow of higher
priority has taken a part of is passed on whole. Bits that a resubmit may have written are unknown
after it; connection tracking gives each of its answers. Here all segments of TCP fit their
connections: of others, see `test_unfitting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from isthmus.switches.ovs.domains import NO_CONNECTIONS
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.connections import ICMP_REPLY_OF
from tests.proof.frames import ETHERNET_OF
from tests.proof.interpreter import ORIGINAL, PORTS
from tests.proof.lookups import Lookups
from tests.proof.operations import Operation, Place
from tests.proof.packet_sets import (
    HEADER,
    OFFSET,
    SENT,
    WHOLE,
    PacketSet,
    Twins,
    bits_of,
    pieces,
    ranges_of,
    span_of,
    whole,
)
from tests.proof.slots import N_REGISTERS, OF_TUPLE, SLOT, Condition

_Same = TypeVar("_Same")


def _field(field: oxm.Field) -> Place:
    return Place((SLOT[field],), field.bits, 0, field.bits)


_TRACKED = tuple(_field(field) for field in (oxm.CT_STATE, oxm.CT_MARK, *OF_TUPLE))
_ZONE = _field(oxm.CT_ZONE)
_TTL = span_of(_field(oxm.IP_TTL))
_MARK = span_of(Place((SLOT[oxm.CT_MARK],), 32, 0, 3))
_REPLY, _INVALID = oxm.CT_TRK | oxm.CT_EST | oxm.CT_RPL, oxm.CT_TRK | oxm.CT_INV
_ASKING = oxm.CT_TRK | oxm.CT_NEW, oxm.CT_TRK | oxm.CT_EST


_OUTSIDE = {oxm.IN_PORT, oxm.TUNNEL_ID, oxm.TUN_SRC}
CONTENT = tuple((SLOT[field], field.bits) for field in HEADER if field not in _OUTSIDE)
"""What it holds itself: slots, and bits in each."""


class Explorer:
    """Over the flows of one program. `reached`: the sets that come to each table from where
    `explore` began."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._writes: dict[int, dict[PacketSet, int]] = {}
        self._seen: dict[object, object] = {}
        self.looked_up: set[PacketSet] = set()
        """The sets that come to connection tracking."""

    @property
    def reached(self) -> dict[int, tuple[PacketSet, ...]]:
        return {table: tuple(sets) for table, sets in self._writes.items()}

    def explore(self, table: int, packets: PacketSet) -> int:
        """Follow a set from a table on; gives the bits that are written on the way."""
        here = self._writes.setdefault(table, {})
        found = here.get(packets)
        if found is None:
            packets = PacketSet(
                packets.values, self._same(packets.known), self._same(packets.twins)
            )
            here[packets] = found = 0
            for its, flow in self._lookups.find(table, packets).taken:
                found |= self._operate(flow.operations, its)
            here[packets] = found
        return found

    def _same(self, one: _Same) -> _Same:
        """The one that was first, of those that are equal: most sets share what they know."""
        return self._seen.setdefault(one, one)  # type: ignore[return-value]  # equal, so of one type

    def _operate(self, operations: tuple[Operation, ...], packets: PacketSet) -> int:
        writes = 0
        for one in operations:
            writes |= writes_of(one)
            if isinstance(one, op.Ct):
                self.looked_up.add(packets)
            for table, its in ways(one, packets):
                its_writes = self.explore(table, its)
                if not isinstance(one, op.Ct):
                    writes |= its_writes
                    packets = packets.forgotten(its_writes)
            packets = changed(one, packets)
        return writes


def ways(one: Operation, packets: PacketSet) -> Iterator[tuple[int, PacketSet]]:
    """Where an operation sends a set."""
    if isinstance(one, op.Goto | op.Resubmit):
        yield one.table, packets
    elif isinstance(one, op.Ct) and one.table is not None and one.zone != NO_CONNECTIONS:
        for state in _states(packets):
            yield one.table, _zoned(one.zone, _tracked(packets, state))


def _zoned(zone: Place | int, packets: PacketSet) -> PacketSet:
    if isinstance(zone, int):
        for first, width in ranges_of(_ZONE):
            packets = packets.loaded(first, width, zone)
        return packets
    for source, to, width in pieces(zone, _ZONE):
        packets = packets.copied(source, to, width)
    return packets


def _states(packets: PacketSet) -> tuple[int, ...]:
    """What tracking can say: what it has said, if it has; ICMP's types say themselves whether they
    ask or answer."""
    said, is_known = (number >> OFFSET[SLOT[oxm.CT_STATE]] & 0xFFFFFFFF for number in packets[:2])
    if is_known == 0xFFFFFFFF and said & oxm.CT_TRK:
        return (said,)
    for protocol, field in ((1, oxm.ICMP_TYPE), (58, oxm.ICMPV6_TYPE)):
        is_icmp = packets.is_within(*bits_of((Condition(SLOT[oxm.IP_PROTO], protocol, 0xFF),)))
        kind, known = (number >> OFFSET[SLOT[field]] & 0xFF for number in packets[:2])
        if is_icmp and known == 0xFF:
            asks = (protocol, kind) in ICMP_REPLY_OF
            return _ASKING if asks else (_REPLY, _INVALID)
    return (*_ASKING, _REPLY, _INVALID)


def changed(one: Operation, packets: PacketSet) -> PacketSet:
    """A set after an operation that sends it nowhere."""
    match one:
        case op.Load(to, value):
            for first, width in ranges_of(to):
                packets = packets.loaded(first, width, value & (1 << width) - 1)
                value >>= width
        case op.Move(source, to):
            for first, other, width in pieces(source, to):
                packets = packets.copied(first, other, width)
        case op.DecTtl():
            packets = packets.forgotten(_TTL)
        case op.Multipath():
            packets = packets.forgotten(span_of(one.to))
    return packets


def writes_of(one: Operation) -> int:
    match one:
        case op.Load(to, _) | op.Move(_, to) | op.Multipath(_, to):
            return span_of(to)
        case op.DecTtl():
            return _TTL
    return 0


def before(one: Operation, reads: int) -> int:
    """Which slots decide what slots hold after an operation that sends a set nowhere."""
    match one:
        case op.Load(to, _):
            return reads & ~_written_whole(to)
        case op.Move(source, to):
            if not reads & span_of(to):
                return reads
            return reads & ~_written_whole(to) | sum(WHOLE[slot] for slot in source.slots)
    return reads


def _written_whole(to: Place) -> int:
    """The slots of which no bit is left as it was."""
    slots = sum(WHOLE[slot] for slot in to.slots)
    return slots if span_of(to) == slots else 0


def before_tracking(reads: int) -> int:
    """Likewise, for a set after connection tracking, and what decides in which states it can be."""
    if reads & _OF_TUPLE:
        reads |= _TO_TUPLE
    return reads & ~(_OF_TUPLE | whole(oxm.CT_STATE, oxm.CT_MARK, oxm.CT_ZONE)) | _TO_STATE


_OF_TUPLE = whole(*OF_TUPLE)
_TO_STATE = whole(oxm.CT_STATE, oxm.IP_PROTO, oxm.ICMP_TYPE, oxm.ICMPV6_TYPE)
_TO_TUPLE = whole(
    *(oxm.ETH_TYPE, oxm.IPV4_SRC, oxm.IPV4_DST, oxm.IPV6_SRC, oxm.IPV6_DST, oxm.IP_PROTO)
) | sum(WHOLE[slot] for slots in PORTS.values() for slot in slots)


def _tracked(packets: PacketSet, state: int) -> PacketSet:
    """A set after tracking gave this answer."""
    for place in _TRACKED:
        first, width = ranges_of(place)[0]
        packets = packets.loaded(first, width, 0)
    first, width = ranges_of(_TRACKED[0])[0]
    packets = packets.loaded(first, width, state)
    if state & oxm.CT_INV:
        return packets
    packets = packets.forgotten(_MARK)
    family = 4 if is_family(packets, 4) else 6
    pairs = _PAIRS[family]
    if state & oxm.CT_RPL:
        pairs = (pairs[0], (pairs[1][0], pairs[2][1]), (pairs[2][0], pairs[1][1]))
    for source, to in pairs:
        for one, other, length in pieces(_at(source), _at(to)):
            packets = packets.copied(one, other, length)
    return _with_ports(packets, turned=bool(state & oxm.CT_RPL))


def _with_ports(packets: PacketSet, *, turned: bool) -> PacketSet:
    """Ports of the tuple are those of the packet's protocol; it may be any. Those of an answer of
    ICMP are others."""
    ours = list(map(_field, (oxm.CT_TP_SRC, oxm.CT_TP_DST)))
    packets = packets.forgotten(span_of(ours[0]) | span_of(ours[1]))
    for protocol, slots in PORTS.items():
        condition = Condition(SLOT[oxm.IP_PROTO], protocol, 0xFF)
        if packets.is_within(*bits_of((condition,))) and not (turned and protocol in (1, 58)):
            theirs = [_at(slot) for slot in (reversed(slots) if turned else slots)]
            for source, to in zip(theirs, ours, strict=True):
                for one, other, width in pieces(source, to):
                    packets = packets.copied(one, other, width)
    return packets


def _at(slot: int) -> Place:
    field = next(field for field, its in SLOT.items() if its == slot)
    return _field(field)


_PAIRS = {
    4: (
        (SLOT[oxm.IP_PROTO], SLOT[oxm.CT_NW_PROTO]),
        (SLOT[oxm.IPV4_SRC], ORIGINAL[4][0]),
        (SLOT[oxm.IPV4_DST], ORIGINAL[4][1]),
    ),
    6: (
        (SLOT[oxm.IP_PROTO], SLOT[oxm.CT_NW_PROTO]),
        (SLOT[oxm.IPV6_SRC], ORIGINAL[6][0]),
        (SLOT[oxm.IPV6_DST], ORIGINAL[6][1]),
    ),
}


def is_family(packets: PacketSet, family: int) -> bool:
    """Whether all packets of a set are of a family."""
    condition = Condition(SLOT[oxm.ETH_TYPE], ETHERNET_OF[family], 0xFFFF)
    return packets.is_within(*bits_of((condition,)))


_KEY_BITS = {"nvgre": 32, "vxlan": 24}
"""Of a tunnel's key: RFC 7637 section 3.2, RFC 7348 section 5."""


def beginnings(
    ports: Iterable[int], tunnels: Mapping[str, int], provider_address: int
) -> Iterator[PacketSet]:
    """All IP packets that guests and other hosts can send to a host, by family and OpenFlow port,
    but for neighbour discovery; what a guest sends comes with nothing of a tunnel. `tunnels` are
    OpenFlow ports by encapsulation."""
    # Connection tracking puts fragments together; none come here.
    # Types 133 to 137 have one of these bits, echo and errors have not; other packets have no type.
    never = [
        Condition(SLOT[oxm.ICMPV6_TYPE], 0, 0b1100),
        Condition(SLOT[oxm.IP_FRAG], 0, 0b11),
        *map(_none, (oxm.TCP_FLAGS, oxm.VLAN_VID)),
    ]
    empty = [Condition(slot, 0, (1 << 32) - 1) for slot in range(N_REGISTERS)]
    empty += [Condition(place.slots[0], 0, (1 << place.bits) - 1) for place in (*_TRACKED, _ZONE)]
    others = {4: (oxm.IPV6_SRC, oxm.IPV6_DST), 6: (oxm.IPV4_SRC, oxm.IPV4_DST)}
    no_tunnel = [_none(field) for field in (oxm.TUNNEL_ID, oxm.TUN_SRC, oxm.TUN_DST)]
    places = [(ofport, no_tunnel) for ofport in ports]
    for encapsulation, ofport in tunnels.items():
        beyond = oxm.TUNNEL_ID.ones & -1 << _KEY_BITS[encapsulation]
        to_us = Condition(SLOT[oxm.TUN_DST], provider_address, oxm.TUN_DST.ones)
        places.append((ofport, [Condition(SLOT[oxm.TUNNEL_ID], 0, beyond), to_us]))
    for family, ethernet in ETHERNET_OF.items():
        for ofport, of_tunnel in places:
            known = [
                *empty,
                *never,
                *of_tunnel,
                Condition(SLOT[oxm.ETH_TYPE], ethernet, 0xFFFF),
                Condition(SLOT[oxm.IN_PORT], ofport, (1 << 32) - 1),
                *map(_none, others[family]),
            ]
            yield _as_sent(PacketSet(*bits_of(known)))


def _none(field: oxm.Field) -> Condition:
    return Condition(SLOT[field], 0, field.ones)


def _as_sent(packets: PacketSet) -> PacketSet:
    twins = set()
    for field in HEADER:
        for first, width in ranges_of(_field(field)):
            packets = packets.copied(first, SENT + first, width)
            twins.add(Twins(first, SENT + first, width))
    return packets._replace(twins=frozenset(twins))


def arriving(packets: PacketSet, ofport: int, tun_src: int) -> PacketSet:
    """A set that has left by a tunnel, as it comes to the host at the other end."""
    outside = [Condition(slot, 0, (1 << 32) - 1) for slot in range(N_REGISTERS)]
    tracked = (*_TRACKED, _ZONE)
    outside += [Condition(place.slots[0], 0, (1 << place.bits) - 1) for place in tracked]
    outside += [
        Condition(SLOT[oxm.IN_PORT], ofport, (1 << 32) - 1),
        Condition(SLOT[oxm.TUN_SRC], tun_src, (1 << 32) - 1),
    ]
    values, known = bits_of(outside)
    left = packets.forgotten(known)
    return left._replace(values=left.values | values, known=left.known | known)


def before_arriving(reads: int) -> int:
    """Which slots of a set that leaves decide what slots hold when it has arrived."""
    return reads & ~_ELSEWHERE


_ELSEWHERE = whole(
    *(oxm.CT_STATE, oxm.CT_MARK, oxm.CT_ZONE, *OF_TUPLE),
    *(*oxm.REG, oxm.IN_PORT, oxm.TUN_SRC),
)
