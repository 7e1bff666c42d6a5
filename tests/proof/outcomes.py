# SPDX-License-Identifier: Apache-2.0
"""What becomes of a set of packets, as a number: equal numbers, equal ends.

An end is who gets the packets and with what in them, on this host and behind its tunnels on others;
which connections are known afterwards; and where that depends on more than is known of the set, by
which flows it does. A stage that has nothing to say leaves no trace, nor does a bit that nobody
looks at. What a resubmit may have written is taken to be the same where the same ends were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import KEPT, Stage
from isthmus.switches.ovs.placing import Register
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.lookups import Found, Lookups, Taken
from tests.proof.marks import ReadsMarks, always
from tests.proof.operations import Operation, Place
from tests.proof.packet_sets import OFFSET, SENT, WHOLE, PacketSet, bits_of, span_of, whole
from tests.proof.program import Program
from tests.proof.slots import N_REGISTERS, SLOT
from tests.proof.symbolic import (
    CONTENT,
    before,
    before_tracking,
    changed,
    is_family,
    ways,
    writes_of,
)

Outcome = int
NOTHING: Outcome = 0
"""Nobody gets anything."""


class Departed(NamedTuple):
    """What becomes of a set that leaves, and the slots that decide it."""

    outcome: Outcome
    reads: int


Arrival = Callable[[int, PacketSet], Departed]
"""What becomes of a set that leaves by a port."""


class Numbered:
    """One number for each end; shared by all whose ends are compared."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parts: dict[int, tuple[int, ...]] = {}

    def of(self, end: object) -> Outcome:
        return self._numbers.setdefault(end, len(self._numbers) + 1)

    def __len__(self) -> int:
        return len(self._numbers)

    def all_of(self, outcomes: Iterable[Outcome]) -> Outcome:
        """One after the other."""
        parts = tuple(part for one in outcomes if one for part in self._parts.get(one, (one,)))
        if len(parts) < 2:
            return parts[0] if parts else NOTHING
        found = self.of(parts)
        self._parts[found] = parts
        return found


class Followed(NamedTuple):
    """What was seen of a set that was followed to its end: bits that are written on the way (but
    for what connection tracking sends on), tables that are come to, as bits, and the slots that
    decide all this; a set that agrees in these, and in its twins, fares the same."""

    outcome: Outcome
    writes: int
    tables: int
    reads: int


class _Memory:
    """What became of sets that came to a table, by what decided it."""

    def __init__(self) -> None:
        self._by_reads: dict[int, dict[object, Followed]] = {}

    def get(self, packets: PacketSet) -> Followed | None:
        values, known, twins = packets
        for reads, results in self._by_reads.items():
            found = results.get((values & reads, known & reads, twins))
            if found is not None:
                return found
        return None

    def put(self, packets: PacketSet, result: Followed) -> None:
        values, known, twins = packets
        results = self._by_reads.setdefault(result.reads, {})
        results[values & result.reads, known & result.reads, twins] = result


class _Part(NamedTuple):
    """What becomes of those of a set that have these bits, beside what is known of all, and were
    not in a part before; the last part, without bits, is all that are left. A part that would fare
    the same without its flow is none."""

    values: int
    known: int
    outcome: Outcome


class Outcomes:
    """Of one program; or of one that differs from `original` in one table."""

    def __init__(
        self,
        program: Program,
        numbered: Numbered,
        arrival: Arrival,
        original: Outcomes | None = None,
        table: int = 0,
    ) -> None:
        flows = program.flows.values()
        self.flows = [flow for flow in flows if original is None or flow.key.table == table]
        self.sources: frozenset[Address] | None = None
        """From where packets come to connection tracking, where that has been looked at."""
        self.reads_marks: ReadsMarks = original.reads_marks if original is not None else always
        self._lookups = Lookups(self.flows)
        self._numbered, self._arrival = numbered, arrival
        self._original, self._table = original, table
        self._memories: dict[int, _Memory] = {}
        self._on_the_way: set[tuple[int, PacketSet]] = set()

    def changed(self, program: Program, table: int) -> Outcomes:
        """Of a program that differs from this one in a table."""
        return Outcomes(program, self._numbered, self._arrival, self, table)

    def find(self, table: int, packets: PacketSet) -> Found:
        """Which flows packets of a set find."""
        if self._original is not None and table != self._table:
            return self._original.find(table, packets)
        return self._lookups.find(table, packets)

    def at(self, table: int, packets: PacketSet) -> Followed:
        """Of a set that comes to a table."""
        if self._original is not None:
            result = self._original.at(table, packets)
            if not result.tables >> self._table & 1:
                return result
        memory = self._memories.setdefault(table, _Memory())
        known = memory.get(packets)
        if known is not None:
            return known
        place = table, packets
        if place in self._on_the_way:
            return Followed(self._numbered.of("goes in a circle"), 0, 0, _ALL)
        self._on_the_way.add(place)
        result = self._at(table, packets)
        self._on_the_way.remove(place)
        memory.put(packets, result)
        return result

    def _at(self, table: int, packets: PacketSet) -> Followed:
        found = self.find(table, packets)
        taken = _deciding(found.taken)
        parts: list[_Part] = []
        writes, tables, reads = 0, 1 << table, found.reads
        for number, (its, flow) in enumerate(taken):
            one = self.of(its, flow.operations)
            values, known = (bits & ~packets.known for bits in bits_of(flow.conditions))
            others, its_reads = self._else(its, taken[number + 1 :]) if known else ([], 0)
            writes, tables, reads = writes | one.writes, tables | one.tables, reads | one.reads
            reads |= its_reads
            if not known or any(other != one.outcome for other in others):
                parts.append(_Part(values, known, one.outcome))
        if not taken or taken[-1].packets != packets:
            parts.append(_Part(0, 0, NOTHING))
        if len(parts) == 1:
            return Followed(parts[0].outcome, writes, tables, reads)
        slots = _compared(taken)
        outcome = self._numbered.of((*parts, *_unknown(packets, slots)))
        return Followed(outcome, writes, tables, reads | sum(WHOLE[slot] for slot in slots))

    def _else(self, packets: PacketSet, taken: Sequence[Taken]) -> tuple[list[Outcome], int]:
        """What would become of a set if only these flows were left; and the slots that decide it,
        beside those that the flows compare."""
        outcomes, reads = [], 0
        for _, flow in taken:
            its = packets.narrowed(*bits_of(flow.conditions))
            if its is not None:
                one = self.of(its, flow.operations)
                outcomes.append(one.outcome)
                reads |= one.reads
                if its is packets:
                    return outcomes, reads
        return [*outcomes, NOTHING], reads

    def of(self, packets: PacketSet, operations: tuple[Operation, ...]) -> Followed:
        """Of a set on which operations are done."""
        found: list[Outcome] = []
        steps: list[tuple[Operation, int]] = []
        writes = tables = 0
        for one in operations:
            writes |= writes_of(one)
            each = [self.at(table, its) for table, its in self._ways(one, packets)]
            reads = 0
            for its in each:
                tables, reads = tables | its.tables, reads | its.reads
            match one:
                case op.Ct():
                    reads = before_tracking(reads) | _TO_TRACK | unsent(packets) | _zone(one)
                    found += self._tracked(one, packets, [its.outcome for its in each])
                case op.Output(port):
                    sent = self._sent(port, packets)
                    found.append(sent.outcome)
                    reads = sent.reads
                case op.OutputRegister(place):
                    sent = self._sent_by(place, packets)
                    found.append(sent.outcome)
                    reads = sent.reads
                case op.InPort():
                    returned = self._arrival(_came_by(packets), packets)
                    found.append(returned.outcome)
                    reads = returned.reads | WHOLE[SLOT[oxm.IN_PORT]]
                case _:
                    found += [its.outcome for its in each]
                    for its in each:
                        writes |= its.writes
            steps.append((one, reads))
            if isinstance(one, op.Resubmit):
                packets = packets.forgotten(each[0].writes)
            packets = changed(one, packets)
        reads = 0
        for one, its_reads in reversed(steps):
            reads = before(one, reads) | its_reads
        return Followed(self._numbered.all_of(found), writes, tables, reads)

    def _ways(self, one: Operation, packets: PacketSet) -> Iterator[tuple[int, PacketSet]]:
        for table, its in ways(one, packets):
            if isinstance(one, op.Ct) and its.values & its.known & _REPLY:
                yield from ((table, part) for part in self.for_askers(its))
            else:
                yield table, its

    def _sent_by(self, place: Place, packets: PacketSet) -> Departed:
        span = span_of(place)
        if span & ~packets.known:
            outcome = self._numbered.of(("to one of many", seen(packets)))
            return Departed(outcome, unsent(packets) | WHOLE[place.slots[0]])
        port = packets.values >> OFFSET[place.slots[0]] & (1 << place.width) - 1
        sent = self._sent(port, packets)
        return sent._replace(reads=sent.reads | WHOLE[place.slots[0]])

    def _sent(self, port: int, packets: PacketSet) -> Departed:
        if port in (0, _came_by(packets)):
            return Departed(NOTHING, WHOLE[SLOT[oxm.IN_PORT]])
        outcome, reads = self._arrival(port, packets)
        return Departed(outcome, reads | WHOLE[SLOT[oxm.IN_PORT]])

    def _tracked(self, one: op.Ct, packets: PacketSet, each: list[Outcome]) -> Iterator[Outcome]:
        """What tracking says matters only where it makes a difference; what it keeps, only if
        somebody can answer, and of what it has kept before, the marks alone."""
        zone = one.zone if isinstance(one.zone, int) else _bits(packets, span_of(one.zone))
        if len(set(each)) > 1:
            yield self._numbered.of(("tracked", zone, seen(packets), *each))
        else:
            yield from each[:1]
        if one.commit and self.is_answered(packets):
            marks = one.marks if self.reads_marks(packets) else None
            is_known = packets.values & packets.known & (_ESTABLISHED | _KEPT)
            if marks or not is_known:
                yield self._numbered.of(("kept", zone, marks, seen(packets)))

    def is_answered(self, packets: PacketSet) -> bool:
        """Whether anybody can send from where these packets go: then it matters whether their
        connection is known. To their own way it does not, for only replies have another."""
        return any(True for _ in self.for_askers(packets))

    def for_askers(self, packets: PacketSet) -> Iterator[PacketSet]:
        """Those that go to somebody who can have asked. What comes from a tunnel is answered, and
        is an answer, on this host: two hosts that lie together, one with the question and one with
        the answer, are not thought of."""
        if self._original is not None and self._table >= Stage.DISPATCH:
            yield from self._original.for_askers(packets)
            return
        if self.sources is None:
            yield packets
            return
        to = _end(packets, _DESTINATIONS)
        first = OFFSET[SLOT[_DESTINATIONS[to.family]]]
        for values, known in {
            (one.values, one.known)
            for one in self.sources
            if _meet(to, one) and not (to.from_tunnel and one.from_tunnel)
        }:
            narrowed = packets.narrowed(values << first, known << first)
            if narrowed is not None:
                yield narrowed


_ESTABLISHED, _REPLY = (bit << OFFSET[SLOT[oxm.CT_STATE]] for bit in (oxm.CT_EST, oxm.CT_RPL))
_KEPT = KEPT << OFFSET[SLOT[oxm.CT_MARK]]
_SOURCES = {4: oxm.IPV4_SRC, 6: oxm.IPV6_SRC}
_DESTINATIONS = {4: oxm.IPV4_DST, 6: oxm.IPV6_DST}


class Address(NamedTuple):
    """What is known of one, in a zone of tracking; whether its packets come from a tunnel."""

    zone: int
    family: int
    from_tunnel: bool
    ofport: int
    values: int
    known: int


def _meet(one: Address, other: Address) -> bool:
    same = one[:2] == other[:2]
    return same and not (one.values ^ other.values) & one.known & other.known


def source_of(packets: PacketSet) -> Address:
    """Where packets come from."""
    return _end(packets, _SOURCES)


def _end(packets: PacketSet, fields: Mapping[int, oxm.Field]) -> Address:
    family = 4 if is_family(packets, 4) else 6
    first, ones = OFFSET[SLOT[fields[family]]], fields[family].ones
    zone = register_of(packets, reg.ZONE)
    values, known = (number >> first & ones for number in packets[:2])
    from_tunnel = bool(register_of(packets, reg.ORIGIN))
    return Address(zone, family, from_tunnel, _came_by(packets), values, known)


def _came_by(packets: PacketSet) -> int:
    return packets.values >> OFFSET[SLOT[oxm.IN_PORT]] & 0xFFFFFFFF


def register_of(packets: PacketSet, register: Register) -> int:
    """What is in it, as far as it is known."""
    return packets.values >> OFFSET[register.number] + register.first_bit & register.ones


def _bits(packets: PacketSet, bits: int) -> tuple[int, int]:
    return packets.values & bits, packets.known & bits


def seen(packets: PacketSet) -> tuple[object, ...]:
    """What a packet holds when it leaves: each field as it was sent, or what it has become."""
    return tuple(_origin(packets, slot, width) for slot, width in CONTENT)


def unsent(packets: PacketSet) -> int:
    """The slots that `seen` looks at: those that may not be as they were sent."""
    return sum(WHOLE[slot] for slot, _ in CONTENT if not _is_as_sent(packets, slot))


def _is_as_sent(packets: PacketSet, slot: int) -> bool:
    first = OFFSET[slot]
    return any(one == first and other == SENT + first for one, other, _ in packets.twins)


def _origin(packets: PacketSet, slot: int, width: int) -> object:
    first, ones = OFFSET[slot], (1 << width) - 1
    if _is_as_sent(packets, slot):
        return None
    return packets.values >> first & ones, packets.known >> first & ones


def _deciding(taken: Iterable[Taken]) -> list[Taken]:
    """But for flows that others before them leave nothing."""
    found: list[Taken] = []
    for one in taken:
        if not any(one.packets.is_within(*other.packets[:2]) for other in found):
            found.append(one)
    return found


def _compared(taken: Iterable[Taken]) -> set[int]:
    """The slots that flows look at."""
    return {condition[0] for _, flow in taken for condition in flow.conditions}


def _unknown(packets: PacketSet, slots: Iterable[int]) -> Iterator[object]:
    """Of slots that flows look at, what is not known of the set: where it is from."""
    for slot in sorted(slots):
        ones = (1 << 32) - 1 if slot < N_REGISTERS else _WIDTHS[slot]
        if ones << OFFSET[slot] & ~packets.known:
            yield slot, _origin(packets, slot, ones.bit_length())


_WIDTHS = {slot: (1 << 8 * field.n_bytes) - 1 for field, slot in SLOT.items()}
_ALL = sum(WHOLE)
_END = (oxm.ETH_TYPE, oxm.IPV4_DST, oxm.IPV6_DST, oxm.IP_PROTO, oxm.IN_PORT, oxm.CT_MARK)
_TO_TRACK = whole(*_END, *(one.field for one in (reg.OUT, reg.ZONE, reg.ORIGIN)))
"""What `for_askers` and `reads_marks` look at, who gets the packet, and whether it is known."""


def _zone(one: op.Ct) -> int:
    return 0 if isinstance(one.zone, int) else sum(WHOLE[slot] for slot in one.zone.slots)
