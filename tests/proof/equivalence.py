# SPDX-License-Identifier: Apache-2.0
"""Mutants that no packet can tell from the original, and why.

`Explorer` knows which sets of packets can come to the table that was changed (all that guests and
other hosts can send is where it begins). A mutant is equivalent if in each of these sets

- the same flows take the same parts of it, in the same order (what was changed is never looked at,
  is implied by what else is known of the packet, or is decided by another flow that does the same);
- or what becomes of the packets is the same all the same: they are dropped both ways, or pass
  through stages that have nothing to say to them, or differ in bits that nobody looks at later.

That is proved, not tried out, and errs on one side only: what is not excluded may be equivalent
still, and then no probe can catch it, and the test that wants all mutants caught fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.operations import Operation
from tests.proof.packet_sets import OFFSET, PacketSet, Twins, span_of_twins
from tests.proof.program import Program
from tests.proof.slots import SLOT
from tests.proof.symbolic import Explorer, Taken, Touch, changed, is_family, reads_of, ways

Outcome = tuple[object, ...]
"""What becomes of a set of packets, in a form in which equals are equal. () is a drop."""


class Outcomes:
    """Of one program; or of one that differs from `original` in one table."""

    def __init__(
        self, program: Program, original: Outcomes | None = None, table: int | None = None
    ) -> None:
        self.explorer = Explorer(program)
        self._original, self._table = original, table
        self._known: dict[tuple[int, PacketSet], Outcome] = {}
        self._sources: set[tuple[int, int, int]] = set()

    def taken(self, table: int, packets: PacketSet) -> tuple[Taken, ...]:
        """Which flows packets of a set find."""
        if self._original is not None and table != self._table:
            return self._original.taken(table, packets)
        return self.explorer.taken(table, packets)

    def touch(self, table: int, packets: PacketSet) -> Touch:
        """What is looked at and written from a table on."""
        if self._original is not None:
            found = self._original.touch(table, packets)
            if not self._table or not found.tables >> self._table & 1:
                return found
        return self.explorer.explore(table, packets)

    def at(self, table: int, packets: PacketSet) -> Outcome:
        """Of a set that comes to a table."""
        if self._original is not None and self._table is not None:
            touch = self._original.touch(table, packets)
            if not touch.tables >> self._table & 1:
                return self._original.at(table, packets)
        place = table, packets
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = self._at(table, packets)
        return found

    def _at(self, table: int, packets: PacketSet) -> Outcome:
        taken = self.taken(table, packets)
        each = {self.of(its, flow.operations) for its, flow in taken}
        if not taken or taken[-1].packets is not packets:
            each.add(())
        if len(each) == 1:
            return each.pop()
        return ("by flows", table, restricted(packets, self.touch(table, packets).reads))

    def of(self, packets: PacketSet, operations: tuple[Operation, ...]) -> Outcome:
        """Of a set on which operations are done."""
        found: list[object] = []
        for one in operations:
            each = [self.at(table, its) for table, its in ways(one, packets)]
            if isinstance(one, op.Ct):
                found += self._tracked(one, packets, each)
            elif isinstance(one, op.Output | op.InPort | op.OutputRegister):
                found.append((one, restricted(packets, reads_of(one))))
            else:
                found += (part for outcome in each for part in outcome)
            if isinstance(one, op.Resubmit):
                packets = packets.forgotten(self.touch(one.table, packets).writes)
            packets = changed(one, packets)
        return tuple(found)

    def _tracked(self, one: op.Ct, packets: PacketSet, each: list[Outcome]) -> Iterator[object]:
        """What tracking says matters only where it makes a difference; what it keeps, only if
        somebody can answer."""
        if len(set(each)) > 1:
            yield (one, restricted(packets, reads_of(one)), *each)
        else:
            yield from each[0] if each else ()
        if one.commit and self._is_answered(packets):
            yield one, restricted(packets, reads_of(one))

    def _is_answered(self, packets: PacketSet) -> bool:
        """Whether anybody can send from where these packets go: then it matters whether their
        connection is known. To their own way it does not, for only replies have another."""
        if self._original is not None and self._table is not None:
            return self._table < Stage.DISPATCH or self._original._is_answered(packets)
        if not self._sources:
            self._sources = {end_of(its, _SOURCES) for its in self.explorer.looked_up()}
        family, values, known = end_of(packets, _DESTINATIONS)
        return any(
            family == its and not (values ^ address) & known & ours
            for its, address, ours in self._sources
        )

    def may_be(self, packets: PacketSet) -> bool:
        """Whether these packets can be in the state that tracking says: a reply is to somebody that
        can have begun."""
        state = packets.values >> OFFSET[SLOT[oxm.CT_STATE]]
        return not state & oxm.CT_RPL or self._is_answered(packets)


_SOURCES = {4: oxm.IPV4_SRC, 6: oxm.IPV6_SRC}
_DESTINATIONS = {4: oxm.IPV4_DST, 6: oxm.IPV6_DST}


def end_of(packets: PacketSet, fields: Mapping[int, oxm.Field]) -> tuple[int, int, int]:
    """Family, and what is known of an address."""
    family = 4 if is_family(packets, 4) else 6
    first, ones = OFFSET[SLOT[fields[family]]], fields[family].ones
    return family, packets.values >> first & ones, packets.known >> first & ones


def restricted(packets: PacketSet, bits: int) -> PacketSet:
    """Only what is known of these bits."""
    twins: frozenset[Twins] = frozenset(
        one for one in packets.twins if span_of_twins(one) & ~bits == 0
    )
    return PacketSet(packets.values & bits, packets.known & bits, twins)


def differences(
    original: Outcomes, mutant: Outcomes, table: int, sets: Iterable[PacketSet]
) -> Iterator[PacketSet]:
    """The packets that come to the table that was changed, and may end in another way."""
    for packets in sets:
        before, after = original.taken(table, packets), mutant.taken(table, packets)
        if before == after:
            continue
        for one, mine in enumerate(_parts(before, packets)):
            for other, its in enumerate(_parts(after, packets)):
                both = mine.packets.narrowed(*its.packets[:2])
                if both is None or original.of(both, mine.operations) == mutant.of(
                    both, its.operations
                ):
                    continue
                earlier = [taken.packets for taken in (*before[:one], *after[:other])]
                for left in _left(both, earlier, _SPLITS):
                    if original.may_be(left) and original.of(left, mine.operations) != mutant.of(
                        left, its.operations
                    ):
                        yield left


class _Part(NamedTuple):
    packets: PacketSet
    operations: tuple[Operation, ...]


def _parts(taken: tuple[Taken, ...], packets: PacketSet) -> Iterator[_Part]:
    """What each flow may take of a set; the last is what finds none."""
    for its, flow in taken:
        yield _Part(its, flow.operations)
    if not taken or taken[-1].packets is not packets:
        yield _Part(packets, ())


_SPLITS = 12
"""How often a set is halved to see what others leave of it."""


def _left(packets: PacketSet, taking: list[PacketSet], splits: int) -> Iterator[PacketSet]:
    """What no one of `taking` takes of a set, in parts; too much where these are too many."""
    known, values = packets.known, packets.values
    meeting = [one for one in taking if not (one.values ^ values) & one.known & known]
    if any(not one.known & ~known for one in meeting):
        return
    if not meeting or not splits:
        yield packets
        return
    nearest = min(meeting, key=lambda one: (one.known & ~known).bit_count())
    bit = nearest.known & ~known
    bit &= -bit
    for value in (bit, 0):
        half = packets.narrowed(value, bit)
        if half is not None:
            yield from _left(half, meeting, splits - 1)
