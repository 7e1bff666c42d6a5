# SPDX-License-Identifier: Apache-2.0
"""What becomes of a set of packets, as a number: equal numbers, equal ends.

An end is who gets the packets and with what in them, on this host and behind its tunnels on others;
which connections are known afterwards; and where that depends on more than is known of the set, by
which flows it does. A stage that has nothing to say leaves no trace, nor does a bit that nobody
looks at. What a resubmit may have written is taken to be the same where the same ends were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import Register, Stage
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.operations import Operation
from tests.proof.packet_sets import OFFSET, SENT, PacketSet, span_of
from tests.proof.program import Program
from tests.proof.slots import N_REGISTERS, SLOT
from tests.proof.symbolic import CONTENT, Explorer, Taken, Touch, changed, is_family, ways

Outcome = int
NOTHING: Outcome = 0
"""Nobody gets anything."""

Arrival = Callable[[int, PacketSet], Outcome | None]
"""What becomes of a set that leaves by a port; None where no port has that number."""


class Numbered:
    """One number for each end; shared by all whose ends are compared."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parts: dict[int, tuple[int, ...]] = {}

    def of(self, end: object) -> Outcome:
        return self._numbers.setdefault(end, len(self._numbers) + 1)

    def all_of(self, outcomes: Iterable[Outcome]) -> Outcome:
        """One after the other."""
        parts = tuple(part for one in outcomes if one for part in self._parts.get(one, (one,)))
        if len(parts) < 2:
            return parts[0] if parts else NOTHING
        found = self.of(parts)
        self._parts[found] = parts
        return found


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
        self.program = program
        self.explorer = Explorer(program)
        self.sources: frozenset[Address] | None = None
        """From where packets come to connection tracking, where that has been looked at."""
        self._numbered, self._arrival = numbered, arrival
        self._original, self._table = original, table
        self._known: dict[tuple[int, PacketSet], Outcome] = {}

    def changed(self, program: Program, table: int) -> Outcomes:
        """Of a program that differs from this one in a table."""
        return Outcomes(program, self._numbered, self._arrival, self, table)

    def taken(self, table: int, packets: PacketSet) -> tuple[Taken, ...]:
        """Which flows packets of a set find."""
        if self._original is not None and table != self._table:
            return self._original.taken(table, packets)
        return self.explorer.taken(table, packets)

    def _touch(self, table: int, packets: PacketSet) -> Touch:
        if self._original is not None:
            found = self._original._touch(table, packets)
            if not found.tables >> self._table & 1:
                return found
        return self.explorer.explore(table, packets)

    def at(self, table: int, packets: PacketSet) -> Outcome:
        """Of a set that comes to a table."""
        if self._original is not None:
            touch = self._original._touch(table, packets)
            if not touch.tables >> self._table & 1:
                return self._original.at(table, packets)
        place = table, packets
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = self._at(table, packets)
        return found

    def _at(self, table: int, packets: PacketSet) -> Outcome:
        taken = _deciding(self.taken(table, packets))
        each = [self.of(its, flow.operations) for its, flow in taken]
        if not taken or taken[-1].packets != packets:
            each.append(NOTHING)
        if len(set(each)) == 1:
            return each[0]
        flows = tuple(flow.key for _, flow in taken)
        return self._numbered.of((flows, tuple(each), *_unknown(packets, taken)))

    def of(self, packets: PacketSet, operations: tuple[Operation, ...]) -> Outcome:
        """Of a set on which operations are done."""
        found: list[Outcome] = []
        for one in operations:
            each = [self.at(table, its) for table, its in ways(one, packets)]
            match one:
                case op.Ct():
                    found += self._tracked(one, packets, each)
                case op.Output(port):
                    found.append(self._sent(port, packets))
                case op.OutputRegister(place):
                    values, known = packets.values >> OFFSET[place.slots[0]], span_of(place)
                    if known & ~packets.known:
                        found.append(self._numbered.of(("to one of many", seen(packets))))
                    else:
                        found.append(self._sent(values & (1 << place.width) - 1, packets))
                case op.InPort():
                    found.append(self._numbered.of(("back", seen(packets))))
                case op.Resubmit(table):
                    found += each
                    packets = packets.forgotten(self._touch(table, packets).writes)
                case _:
                    found += each
            packets = changed(one, packets)
        return self._numbered.all_of(found)

    def _sent(self, port: int, packets: PacketSet) -> Outcome:
        came_by = packets.values >> OFFSET[SLOT[oxm.IN_PORT]] & 0xFFFFFFFF
        arrived = None if port in (0, came_by) else self._arrival(port, packets)
        return NOTHING if arrived is None else arrived

    def _tracked(self, one: op.Ct, packets: PacketSet, each: list[Outcome]) -> Iterator[Outcome]:
        """What tracking says matters only where it makes a difference; what it keeps, only if
        somebody can answer. What a guest sends to its own MAC address comes back to nobody; that it
        makes a connection known is no more than if it had been sent to the other end."""
        zone = one.zone if isinstance(one.zone, int) else _bits(packets, span_of(one.zone))
        if len(set(each)) > 1:
            yield self._numbered.of(("tracked", zone, seen(packets), *each))
        else:
            yield from each[:1]
        returned = packets.values >> OFFSET[SLOT[oxm.IN_PORT]] & 0xFFFFFFFF
        to_itself = register_of(packets, Register.OUT) == returned
        if one.commit and not to_itself and self.is_answered(packets):
            yield self._numbered.of(("kept", zone, seen(packets)))

    def is_answer(self, packets: PacketSet) -> bool:
        """Whether a reply goes to where its connection can have begun."""
        ofport, to = register_of(packets, Register.OUT), _end(packets, _DESTINATIONS)
        return (
            not ofport
            or self.sources is None
            or any(one.ofport == ofport and _meet(to, one) for one in self.sources)
        )

    def is_answered(self, packets: PacketSet) -> bool:
        """Whether anybody can send from where these packets go: then it matters whether their
        connection is known. To their own way it does not, for only replies have another. What comes
        from a tunnel is answered, and is an answer, on this host: two hosts that lie together, one
        with the question and one with the answer, are not thought of."""
        if self._original is not None:
            return self._table < Stage.DISPATCH or self._original.is_answered(packets)
        to = _end(packets, _DESTINATIONS)
        return self.sources is None or any(
            _meet(to, one) and not (to.from_tunnel and one.from_tunnel) for one in self.sources
        )


_SOURCES = {4: oxm.IPV4_SRC, 6: oxm.IPV6_SRC}
_DESTINATIONS = {4: oxm.IPV4_DST, 6: oxm.IPV6_DST}


class Address(NamedTuple):
    """What is known of one, in a routing domain; whether its packets come from a tunnel."""

    domain: int
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
    domain = register_of(packets, Register.DOMAIN)
    values, known = (number >> first & ones for number in packets[:2])
    from_tunnel = bool(register_of(packets, Register.ORIGIN))
    ofport = packets.values >> OFFSET[SLOT[oxm.IN_PORT]] & 0xFFFFFFFF
    return Address(domain, family, from_tunnel, ofport, values, known)


def register_of(packets: PacketSet, register: Register) -> int:
    """What is in it, as far as it is known."""
    return packets.values >> OFFSET[register] & 0xFFFFFFFF


def _bits(packets: PacketSet, bits: int) -> tuple[int, int]:
    return packets.values & bits, packets.known & bits


def seen(packets: PacketSet) -> tuple[object, ...]:
    """What a packet holds when it leaves: each field as it was sent, or what it has become."""
    return tuple(_origin(packets, slot, width) for slot, width in CONTENT)


def _origin(packets: PacketSet, slot: int, width: int) -> object:
    first, ones = OFFSET[slot], (1 << width) - 1
    if any(one == first and other == SENT + first for one, other, _ in packets.twins):
        return None
    return packets.values >> first & ones, packets.known >> first & ones


def _deciding(taken: Iterable[Taken]) -> list[Taken]:
    """But for flows that others before them leave nothing."""
    found: list[Taken] = []
    for one in taken:
        if not any(one.packets.is_within(*other.packets[:2]) for other in found):
            found.append(one)
    return found


def _unknown(packets: PacketSet, taken: Iterable[Taken]) -> Iterator[object]:
    """Of what flows look at, what is not known of the set: where it is from."""
    slots = {condition[0] for _, flow in taken for condition in flow.conditions}
    for slot in sorted(slots):
        ones = (1 << 32) - 1 if slot < N_REGISTERS else _WIDTHS[slot]
        if ones << OFFSET[slot] & ~packets.known:
            yield slot, _origin(packets, slot, ones.bit_length())


_WIDTHS = {slot: (1 << 8 * field.n_bytes) - 1 for field, slot in SLOT.items()}
