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
from tests.proof.network import Host
from tests.proof.operations import Operation
from tests.proof.outcomes import NOTHING, Numbered, Outcome, Outcomes, seen, source_of
from tests.proof.packet_sets import OFFSET, SENT, PacketSet
from tests.proof.program import Program
from tests.proof.slots import SLOT
from tests.proof.symbolic import Explorer, Taken, arriving, beginnings, changed, ways


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
        self._reached: dict[str, dict[int, tuple[PacketSet, ...]]] = {}

    def of(self, name: str) -> Outcomes:
        """Of a host."""
        found = self._outcomes.get(name)
        if found is None:
            host = self._hosts[name]

            def leaves(port: int, packets: PacketSet) -> Outcome | None:
                return self._arrived(host, port, packets)

            found = Outcomes(self._programs[name], self._numbered, leaves)
            self._outcomes[name] = found
        return found

    def reached(self, name: str, table: int) -> tuple[PacketSet, ...]:
        """All that can come to a table of a host."""
        if name not in self._reached:
            host = self._hosts[name]
            explorer = Explorer(self.of(name).program)
            for packets in beginnings(list(host.port_of), list(host.tunnel_ports.values())):
                explorer.explore(Stage.CLASSIFY, packets)
            self._reached[name] = {at: tuple(sets) for at, sets in explorer.reached.items()}
            self.of(name).sources = frozenset(map(source_of, explorer.looked_up()))
        return self._reached[name].get(table, ())

    def _arrived(self, host: Host, port: int, packets: PacketSet) -> Outcome | None:
        if port in host.port_of:
            return self._numbered.of((host.port_of[port], seen(packets)))
        names = {ofport: name for name, ofport in host.tunnel_ports.items()}
        if port not in names:
            return None
        to = packets.values >> OFFSET[SLOT[oxm.TUN_DST]] & 0xFFFFFFFF
        there = self._hosts.get(self._at.get(to, ""))
        if there is None or names[port] not in there.tunnel_ports:
            return NOTHING
        its = arriving(packets, there.tunnel_ports[names[port]], host.provider_address)
        return self.of(there.name).at(Stage.CLASSIFY, its)


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
                    if may_be(original, left) and original.of(left, mine.operations) != mutant.of(
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
    if not taken or taken[-1].packets != packets:
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


def may_be(outcomes: Outcomes, packets: PacketSet) -> bool:
    """Whether these packets can be in the state that tracking says: a connection begins with what
    may begin one, and a reply goes to somebody who can have begun. (One that its sender leads
    elsewhere is in `test_findings`.)"""
    state, mask = _known(packets, oxm.CT_STATE)
    if not mask or not state & oxm.CT_TRK or state & oxm.CT_INV:
        return True
    protocol, is_known = _known(packets, oxm.CT_NW_PROTO)
    kind, kind_is_known = _known(packets, oxm.CT_TP_SRC)
    is_icmp = is_known and protocol in (1, 58) and kind_is_known == 0xFFFF
    if is_icmp and (protocol, kind) not in ICMP_REPLY_OF:
        return False
    is_reply = bool(state & oxm.CT_RPL)
    return not is_reply or (outcomes.is_answered(packets) and outcomes.is_answer(packets))


def _known(packets: PacketSet, field: oxm.Field) -> tuple[int, int]:
    first, ones = OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
    return packets.values >> first & ones, packets.known >> first & ones


def asks_tracking(original: Outcomes, mutant: Outcomes, table: int, packets: PacketSet) -> bool:
    """Whether all that a mutant does to a set is that more of it is sent through connection
    tracking: there, stateless rules say the same (`rules._verdicts`)."""
    if not Stage.PLAIN_SOURCE_GROUPS <= table < Stage.TRACK:
        return False
    unseen = _ends(packets)
    for at, its in _tracked(mutant, table, packets):
        same = packets.narrowed(its.values & _SENT, its.known & _SENT)
        if at != Stage.TRACK or same is None:
            return False
        for before, theirs in _tracked(original, table, same):
            pairs = zip(_ends(its), _ends(theirs), unseen, strict=True)
            if before != Stage.TRACK or any(
                mine not in (other, whole) for mine, other, whole in pairs
            ):
                return False
    return True


_SENT = -1 << SENT


def _tracked(outcomes: Outcomes, table: int, packets: PacketSet) -> Iterator[_At]:
    """Where the parts of a set are when the stages of stateless rules are behind them."""
    if table >= Stage.TRACK:
        yield _At(table, packets)
        return
    for its, flow in outcomes.taken(table, packets):
        for one in flow.operations:
            for following, left in ways(one, its):
                yield from _tracked(outcomes, following, left)
            its = changed(one, its)
        if not flow.operations:
            yield _At(table, its)


class _At(NamedTuple):
    table: int
    packets: PacketSet


def _ends(packets: PacketSet) -> list[tuple[int, int]]:
    return [_known(packets, oxm.REG[end]) for end in (Register.SENDER, Register.RECEIVER)]
