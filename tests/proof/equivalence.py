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

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import Register, Stage
from isthmus.wire import oxm
from tests.proof.connections import ICMP_REPLY_OF
from tests.proof.lookups import Taken
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
from tests.proof.packet_sets import OFFSET, PacketSet, bits_of, whole
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
        self._reads_marks: dict[str, bool] = {}
        self._reached: dict[str, dict[int, tuple[PacketSet, ...]]] = {}

    def of(self, name: str) -> Outcomes:
        """Of a host."""
        found = self._outcomes.get(name)
        if found is None:
            host = self._hosts[name]

            def leaves(port: int, packets: PacketSet) -> Departed:
                return self._departed(host, port, packets)

            found = Outcomes(self._programs[name], self._numbered, leaves)
            found.sources = self._sources.get(name)
            found.reads_marks = self._reads_marks.get(name, True)
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
            explorer = Explorer(self._programs[name])
            for packets in beginnings(host.port_of, host.tunnel_ports):
                explorer.explore(Stage.CLASSIFY, packets)
            self._reached[name] = explorer.reached
            self._reads_marks[name] = explorer.reads_marks
            self._sources[name] = frozenset(map(source_of, explorer.looked_up))
            self.forget()  # what was seen before that is known
        return self._reached[name].get(table, ())

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


def differences(
    original: Outcomes, mutant: Outcomes, table: int, sets: Iterable[PacketSet]
) -> Iterator[PacketSet]:
    """The packets that come to the table that was changed, and may end in another way; of those
    that cannot be told apart by what decides it, some."""
    changes = {flow for flow in original.flows if flow.key.table == table} ^ set(mutant.flows)
    conditions = [bits_of(flow.conditions) for flow in changes]
    compared = _Compared()
    for packets in sets:
        met = any(not (packets.values ^ v) & packets.known & k for v, k in conditions)
        if not met or compared.has(packets):
            continue
        found, reads = _differing(original, mutant, table, packets)
        yield from found
        compared.add(packets, reads)


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
    kind, kind_is_known = _known(packets, oxm.CT_TP_SRC)
    is_icmp = is_known and protocol in (1, 58) and kind_is_known == 0xFFFF
    if is_icmp and (protocol, kind) not in ICMP_REPLY_OF:
        return
    if state & oxm.CT_RPL:
        yield from outcomes.for_askers(packets)
    else:
        yield packets


_STATE = whole(
    *(oxm.CT_STATE, oxm.CT_NW_PROTO, oxm.CT_TP_SRC, oxm.ETH_TYPE, oxm.IPV4_DST, oxm.IPV6_DST),
    *(oxm.IN_PORT, *(oxm.REG[one] for one in (Register.OUT, Register.ZONE, Register.ORIGIN))),
)
"""What `possible` looks at."""


def _known(packets: PacketSet, field: oxm.Field) -> tuple[int, int]:
    first, ones = OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
    return packets.values >> first & ones, packets.known >> first & ones
