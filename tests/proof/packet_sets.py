# SPDX-License-Identifier: Apache-2.0
"""Sets of packets: those in which some bits are as said, and some fields equal others.

All slots of a packet stand side by side in one long number, so that a set is two of them: the
values of the bits that are known, and which these are. `twins` are ranges of bits that hold the
same in every packet of the set, because one was copied from the other; so what is known of one is
known of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from isthmus.wire import oxm
from tests.proof.operations import Place
from tests.proof.slots import N_SLOTS, SLOT, Condition

HEADER = (
    *(oxm.IN_PORT, oxm.ETH_SRC, oxm.ETH_DST, oxm.ETH_TYPE, oxm.IPV4_SRC, oxm.IPV4_DST),
    *(oxm.IPV6_SRC, oxm.IPV6_DST, oxm.IP_PROTO, oxm.IP_TTL, oxm.TCP_SRC, oxm.TCP_DST),
    *(oxm.UDP_SRC, oxm.UDP_DST, oxm.SCTP_SRC, oxm.SCTP_DST, oxm.ICMP_TYPE, oxm.ICMP_CODE),
    *(oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE, oxm.TUNNEL_ID, oxm.TUN_SRC),
)
"""What a packet comes with."""

_WIDTH = [32] * N_SLOTS
for _field, _slot in SLOT.items():
    _WIDTH[_slot] = max(_WIDTH[_slot], 8 * _field.n_bytes)
_HEADER_SLOTS = [SLOT[_field] for _field in HEADER]
_ORDER = [*(slot for slot in range(N_SLOTS) if slot not in _HEADER_SLOTS), *_HEADER_SLOTS]
_FIRST = [0] * N_SLOTS
SLOT_AT: list[int] = []
"""Which slot each bit is of."""
for _slot in _ORDER:
    _FIRST[_slot] = len(SLOT_AT)
    SLOT_AT += [_slot] * _WIDTH[_slot]
OFFSET = tuple(_FIRST)
WHOLE = tuple((1 << _WIDTH[slot]) - 1 << OFFSET[slot] for slot in range(N_SLOTS))
"""The bits of each slot."""
SENT = sum(_WIDTH[slot] for slot in _HEADER_SLOTS)
"""Behind the slots stand those of the header once more, so far from themselves, as they were when
the packet came: no flow looks at them, but what is learned of a field that is still as it came is
learned of these too."""
AS_SENT = -1 << len(SLOT_AT)
"""The bits of all these."""


class Twins(NamedTuple):
    """Two ranges of bits, by their lowest."""

    one: int
    other: int
    width: int


class PacketSet(NamedTuple):
    """`values` has no ones outside `known`."""

    values: int
    known: int
    twins: frozenset[Twins] = frozenset()

    def narrowed(self, values: int, known: int) -> PacketSet | None:
        """Those packets of the set that have these bits; None if there are none."""
        if (self.values ^ values) & self.known & known:
            return None
        if known & ~self.known == 0:
            return self
        both = PacketSet(self.values | values, self.known | known, self.twins)
        return both._unified(known & ~self.known) if self.twins else both

    def _unified(self, new: int) -> PacketSet | None:
        """`new`: the bits that have become known."""
        values, known = self.values, self.known
        for one, other, width in self.twins:
            ones = (1 << width) - 1
            if not (new >> one | new >> other) & ones:
                continue
            m, n = known >> one & ones, known >> other & ones
            a, b = values >> one & ones, values >> other & ones
            if (a ^ b) & m & n:
                return None
            values |= (a | b) << one | (a | b) << other
            known |= (m | n) << one | (m | n) << other
        both = PacketSet(values, known, self.twins)
        return both if known == self.known else both._unified(known & ~self.known)

    def is_within(self, values: int, known: int) -> bool:
        """Whether all its packets have these bits."""
        return known & ~self.known == 0 and not (self.values ^ values) & known

    def forgotten(self, bits: int) -> PacketSet:
        """As it may be after something has written these bits."""
        if not bits:
            return self
        twins = frozenset(one for one in self.twins if not bits & span_of_twins(one))
        return PacketSet(self.values & ~bits, self.known & ~bits, twins)

    def loaded(self, first: int, width: int, value: int) -> PacketSet:
        """After a number is written to a range of bits."""
        bits = (1 << width) - 1 << first
        left = self.forgotten(bits)
        return PacketSet(left.values | value << first & bits, left.known | bits, left.twins)

    def copied(self, source: int, to: int, width: int) -> PacketSet:
        """After a range of bits is written to another."""
        ones = (1 << width) - 1
        values, known = self.values >> source & ones, self.known >> source & ones
        left = self.forgotten(ones << to)
        twins = left.twins if known == ones else left.twins | {Twins(source, to, width)}
        return PacketSet(left.values | values << to, left.known | known << to, twins)


def span_of_twins(twins: Twins) -> int:
    ones = (1 << twins.width) - 1
    return ones << twins.one | ones << twins.other


def bits_of(conditions: Iterable[Condition]) -> tuple[int, int]:
    """The values and bits that conditions ask for."""
    values = known = 0
    for slot, value, mask in conditions:
        values |= value << OFFSET[slot]
        known |= mask << OFFSET[slot]
    return values, known


def ranges_of(place: Place) -> list[tuple[int, int]]:
    """Where the bits of a place are: first bit and width, the least significant first."""
    found = []
    first, left = place.offset, place.width
    for slot in reversed(place.slots):
        if first < place.bits and left:
            width = min(left, place.bits - first)
            found.append((OFFSET[slot] + first, width))
            left -= width
            first = 0
        else:
            first -= place.bits
    return found


def whole(*fields: oxm.Field) -> int:
    """The bits of the slots of fields."""
    return sum(WHOLE[slot] for slot in {SLOT[field] for field in fields})


def span_of(place: Place) -> int:
    """The bits of a place as ones."""
    return sum((1 << width) - 1 << first for first, width in ranges_of(place))


def pieces(source: Place, to: Place) -> list[tuple[int, int, int]]:
    """A copy from one place to another as copies of ranges: from, to, width."""
    ours, theirs = ranges_of(source), ranges_of(to)
    found = []
    while ours and theirs:
        (one, width), (other, its_width) = ours.pop(0), theirs.pop(0)
        both = min(width, its_width)
        found.append((one, other, both))
        if width > both:
            ours.insert(0, (one + both, width - both))
        if its_width > both:
            theirs.insert(0, (other + both, its_width - both))
    return found
