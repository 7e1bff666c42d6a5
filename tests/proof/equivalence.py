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
from tests.proof.outcomes import NOTHING, Numbered, Outcome, Outcomes, seen
from tests.proof.packet_sets import OFFSET, PacketSet
from tests.proof.program import Program
from tests.proof.slots import SLOT
from tests.proof.symbolic import Taken, arriving, beginnings


class World:
    """The outcomes of all hosts of a network, each as it was when it was first asked."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._at = {host.provider_address: host.name for host in self._hosts.values()}
        self._numbered = Numbered()
        self._outcomes: dict[str, Outcomes] = {}
        self._explored: set[str] = set()
        self._ports: dict[str, frozenset[int]] = {
            host.name: frozenset(host.port_of) for host in self._hosts.values()
        }

    def of(self, name: str) -> Outcomes:
        """Of a host."""
        found = self._outcomes.get(name)
        if found is None:
            host = self._hosts[name]

            def leaves(port: int, packets: PacketSet) -> Outcome | None:
                return self._arrived(host, port, packets)

            program = Program(host.program.flows.values())
            found = self._outcomes[name] = Outcomes(program, self._numbered, leaves)
        return found

    def reached(self, name: str, table: int) -> tuple[PacketSet, ...]:
        """All that can come to a table of a host."""
        explorer, host = self.of(name).explorer, self._hosts[name]
        if name not in self._explored:
            self._explored.add(name)
            for packets in beginnings(list(host.port_of), list(host.tunnel_ports.values())):
                explorer.explore(Stage.CLASSIFY, packets)
        return tuple(explorer.reached.get(table, ()))

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
    may begin one, and a reply goes to somebody who can have begun."""
    state, mask = _known(packets, oxm.CT_STATE)
    if not mask or not state & oxm.CT_TRK or state & oxm.CT_INV:
        return True
    protocol, is_known = _known(packets, oxm.CT_NW_PROTO)
    kind, kind_is_known = _known(packets, oxm.CT_TP_SRC)
    is_icmp = is_known and protocol in (1, 58) and kind_is_known == 0xFFFF
    if is_icmp and (protocol, kind) not in ICMP_REPLY_OF:
        return False
    return not state & oxm.CT_RPL or outcomes.is_answered(packets)


def _known(packets: PacketSet, field: oxm.Field) -> tuple[int, int]:
    first, ones = OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
    return packets.values >> first & ones, packets.known >> first & ones


def asks_tracking(mutant: Outcomes, table: int, packets: PacketSet) -> bool:
    """Whether a set of packets comes to connection tracking with all that is to be looked at: no
    stateless rule has let either end pass, and what tracking says of stateless rules is the same
    (`rules._verdicts`), but for what it cannot follow."""
    if not Stage.PLAIN_SOURCE_GROUPS <= table < Stage.TRACK:
        return False
    mutant.explorer.forget()
    mutant.explorer.explore(table, packets)
    ends = [_register(packets, end) for end in (Register.SENDER, Register.RECEIVER)]
    arrived = mutant.explorer.reached.get(Stage.TRACK, ())
    return bool(arrived) and all(
        [_register(its, end) for end in (Register.SENDER, Register.RECEIVER)] == ends
        for its in arrived
    )


def _register(packets: PacketSet, register: Register) -> tuple[int, int]:
    return _known(packets, oxm.REG[register])
