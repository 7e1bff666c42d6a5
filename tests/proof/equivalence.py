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

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product
from typing import NamedTuple

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import oxm
from tests.proof.connections import ICMP_REPLY_OF
from tests.proof.interpreter import PORTS
from tests.proof.lookups import Lookups, Taken
from tests.proof.marks import ReadsMarks, always, reads_marks
from tests.proof.network import Host
from tests.proof.operations import Operation
from tests.proof.outcomes import (
    NOTHING,
    Address,
    Departed,
    Numbered,
    Outcomes,
    seen,
    source_of,
    unsent,
)
from tests.proof.packet_sets import AS_SENT, OFFSET, SENT, WHOLE, PacketSet, bits_of, whole
from tests.proof.program import Program
from tests.proof.slots import SLOT
from tests.proof.symbolic import (
    Explorer,
    arriving,
    before_arriving,
    beginnings,
)


class World:
    """The outcomes of all hosts of a network, as they are now."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._at = {host.provider_address: host.name for host in self._hosts.values()}
        self._numbered = Numbered()
        self._programs = {
            host.name: Program(host.program.flows.values()) for host in self._hosts.values()
        }
        self._outcomes: dict[str, Outcomes] = {}
        self._sources: dict[str, frozenset[Address]] = {}
        self._reads_marks: dict[str, ReadsMarks] = {}
        self._reached: dict[str, dict[int, tuple[PacketSet, ...]]] = {}
        self._lookups = {
            name: Lookups(program.flows.values()) for name, program in self._programs.items()
        }

    def of(self, name: str) -> Outcomes:
        """Of a host."""
        found = self._outcomes.get(name)
        if found is None:
            host = self._hosts[name]

            def leaves(port: int, packets: PacketSet) -> Departed:
                return self._departed(host, port, packets)

            found = Outcomes(self._programs[name], self._numbered, leaves)
            found.sources = self._sources.get(name)
            found.reads_marks = self._reads_marks.get(name, always)
            self._outcomes[name] = found
        return found

    def forget(self) -> None:
        """All outcomes, which would grow without end."""
        self._outcomes.clear()
        self._numbered = Numbered()

    @property
    def size(self) -> int:
        """How many outcomes are kept."""
        return len(self._numbered)

    def reached(self, name: str, table: int) -> tuple[PacketSet, ...]:
        """All that can come to a table of a host."""
        if name not in self._reached:
            host = self._hosts[name]
            explorer = Explorer(self._lookups[name])
            for packets in _beginnings(host):
                explorer.explore(Stage.CLASSIFY, packets)
            self._reached[name] = explorer.reached
            self._reads_marks[name] = reads_marks(self._lookups[name], explorer.reached)
            self._sources[name] = frozenset(map(source_of, explorer.looked_up))
            self.forget()  # what was seen before that is known
        return self._reached[name].get(table, ())

    def coming(self, name: str, table: int, packets: PacketSet) -> Iterator[PacketSet]:
        """Those of a set that come to a table of a host: with what is known of how they were sent
        they are followed once more, and others take what is theirs."""
        host = self._hosts[name]
        sent = _sent(packets)
        explorer = Explorer(self._lookups[name])
        for beginning in _beginnings(host):
            its = beginning.narrowed(*sent)
            if its is not None:
                explorer.explore(Stage.CLASSIFY, its)
        for one in explorer.reached.get(table, ()):
            both = one.narrowed(*packets[:2])
            if both is not None:
                yield both

    def _departed(self, host: Host, port: int, packets: PacketSet) -> Departed:
        if port in host.port_of:
            return Departed(self._numbered.of((host.port_of[port], seen(packets))), unsent(packets))
        names = {ofport: name for name, ofport in host.tunnel_ports.items()}
        if port not in names:
            return Departed(NOTHING, 0)
        to, is_known = _known(packets, oxm.TUN_DST)
        assert is_known == oxm.TUN_DST.ones, "a tunnel without an end"
        there = self._hosts.get(self._at.get(to, ""))
        if there is None or names[port] not in there.tunnel_ports:
            return Departed(NOTHING, whole(oxm.TUN_DST))
        its = arriving(packets, there.tunnel_ports[names[port]], host.provider_address)
        result = self.of(there.name).at(Stage.CLASSIFY, its)
        return Departed(result.outcome, before_arriving(result.reads) | whole(oxm.TUN_DST))


def _beginnings(host: Host) -> Iterator[PacketSet]:
    return beginnings(host.port_of, host.tunnel_ports, host.provider_address)


def _sent(packets: PacketSet) -> tuple[int, int]:
    """What is known of a set as it was sent; where it was tracked, by the ports of its connection,
    too."""
    values, known = ((number & AS_SENT) >> SENT for number in packets[:2])
    state, _ = _known(packets, oxm.CT_STATE)
    protocol, is_known = _known(packets, oxm.CT_NW_PROTO)
    turned = bool(state & oxm.CT_RPL)
    if is_known != 0xFF or state & oxm.CT_INV or (turned and protocol in (1, 58)):
        return values, known
    ours = (oxm.CT_TP_DST, oxm.CT_TP_SRC) if turned else (oxm.CT_TP_SRC, oxm.CT_TP_DST)
    for field, slot in zip(ours, PORTS.get(protocol, ()), strict=False):
        value, mask = (number << OFFSET[slot] & WHOLE[slot] for number in _known(packets, field))
        values, known = values | value & ~known, known | mask
    return values, known


def differences(
    original: Outcomes,
    mutant: Outcomes,
    table: int,
    sets: Iterable[PacketSet],
    coming: Callable[[PacketSet], Iterable[PacketSet]],
) -> Iterator[PacketSet]:
    """The packets that come to the table that was changed, and may end in another way: of each set,
    and of those that cannot be told apart by what decides it, some. `coming`: what of a set comes
    there, seen closely."""
    changes = {flow for flow in original.flows if flow.key.table == table} ^ set(mutant.flows)
    conditions = [bits_of(flow.conditions) for flow in changes]
    compared = _Compared()
    for packets in sets:
        met = any(not (packets.values ^ v) & packets.known & k for v, k in conditions)
        if not met or compared.has(packets):
            continue
        found, reads = _differing(original, mutant, table, packets)
        compared.add(packets, reads)
        close = (one for part in found for one in coming(part))
        differing = (one for its in close for one in _differing(original, mutant, table, its)[0])
        yield from islice(differing, _OF_SET)


_OF_SET = 4


def treated(
    original: Outcomes, mutant: Outcomes, table: int, sets: Iterable[PacketSet]
) -> Iterator[PacketSet]:
    """The packets that come to the table that was changed, and to which another flow does other
    things there, even if they end as before: of each set one part."""
    for packets in sets:
        before, after = original.find(table, packets), mutant.find(table, packets)
        if before.taken != after.taken:
            parts = product(_parts(before.taken, packets), _parts(after.taken, packets))
            both = (
                mine.packets.narrowed(*its.packets[:2])
                for mine, its in parts
                if mine.operations != its.operations
            )
            yield from islice((one for one in both if one is not None), 1)


class _Compared:
    """Sets that were compared, as far as the comparison looked at them."""

    def __init__(self) -> None:
        self._by_reads: dict[int, set[object]] = {}

    def has(self, packets: PacketSet) -> bool:
        values, known, twins = packets
        return any(
            (values & reads, known & reads, twins) in sets for reads, sets in self._by_reads.items()
        )

    def add(self, packets: PacketSet, reads: int) -> None:
        values, known, twins = packets
        self._by_reads.setdefault(reads, set()).add((values & reads, known & reads, twins))


def _differing(
    original: Outcomes, mutant: Outcomes, table: int, packets: PacketSet
) -> tuple[list[PacketSet], int]:
    """The parts of a set that may end in another way, and the slots that decide it."""
    before, after = original.find(table, packets), mutant.find(table, packets)
    reads = before.reads | after.reads | _STATE
    found: list[PacketSet] = []
    if before.taken == after.taken:
        return found, reads
    for one, mine in enumerate(_parts(before.taken, packets)):
        for other, its in enumerate(_parts(after.taken, packets)):
            both = mine.packets.narrowed(*its.packets[:2])
            if both is None:
                continue
            ours, theirs = original.of(both, mine.operations), mutant.of(both, its.operations)
            reads |= ours.reads | theirs.reads
            if ours.outcome == theirs.outcome:
                continue
            earlier = [taken.packets for taken in (*before.taken[:one], *after.taken[:other])]
            for part in _left(both, earlier, _SPLITS):
                for left in possible(original, part):
                    ours = original.of(left, mine.operations)
                    theirs = mutant.of(left, its.operations)
                    reads |= ours.reads | theirs.reads
                    if ours.outcome != theirs.outcome:
                        found.append(left)
    return found, reads


class _Part(NamedTuple):
    packets: PacketSet
    operations: tuple[Operation, ...]


def _parts(taken: tuple[Taken, ...], packets: PacketSet) -> Iterator[_Part]:
    """What each flow may take of a set; the last is what finds none."""
    for its, flow in taken:
        yield _Part(its, flow.operations)
    if not taken or taken[-1].packets != packets:
        yield _Part(packets, ())


_SPLITS = 160
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


def possible(outcomes: Outcomes, packets: PacketSet) -> Iterator[PacketSet]:
    """Those that can be in the state that tracking says: a connection begins with what may begin
    one, and a reply is for somebody who can have begun, wherever it is led."""
    state, mask = _known(packets, oxm.CT_STATE)
    if not mask or not state & oxm.CT_TRK or state & oxm.CT_INV:
        yield packets
        return
    protocol, is_known = _known(packets, oxm.CT_NW_PROTO)
    opening = [packets]
    if is_known == 0xFF and protocol in (1, 58):
        first = OFFSET[SLOT[oxm.CT_TP_SRC]]
        kinds = [kind for its, kind in ICMP_REPLY_OF if its == protocol]
        each = (packets.narrowed(kind << first, 0xFFFF << first) for kind in kinds)
        opening = [one for one in each if one is not None]
    for one in opening:
        if state & oxm.CT_RPL:
            yield from outcomes.for_askers(one)
        else:
            yield one


_STATE = whole(
    *(oxm.CT_STATE, oxm.CT_NW_PROTO, oxm.CT_TP_SRC, oxm.ETH_TYPE, oxm.IPV4_DST, oxm.IPV6_DST),
    *(oxm.IN_PORT, *(one.field for one in (reg.OUT, reg.ZONE, reg.ORIGIN))),
)
"""What `possible` looks at."""


def _known(packets: PacketSet, field: oxm.Field) -> tuple[int, int]:
    first, ones = OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
    return packets.values >> first & ones, packets.known >> first & ones
