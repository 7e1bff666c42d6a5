# SPDX-License-Identifier: Apache-2.0
"""What a network does with many probes, kept: which lookups each makes, and what it must come to.

With it a changed flow costs only the probes that it can matter to: those in whose way it was
found, and those that it would now be found by. All others make the same lookups with the same
answers, and end as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.addresses import MULTICAST_BIT
from isthmus.switches.ovs.pipeline import FlowKey
from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import SEGMENTS
from tests.proof.network import Delivered
from tests.proof.probes import Probe, answered_by, led_astray
from tests.proof.program import Flow, Program, Slots
from tests.switches.policy_rows import provider_address

Followers = tuple[str, str]
"""The ports under rules that opened a connection, and to which it was opened; empty where the end
has none."""


class _Step(NamedTuple):
    """A packet and who gets it; or, with `followers`, a connection that is known from here on."""

    probe: Probe
    delivered: tuple[Delivered, ...]
    followers: Followers | None = None


class _Lookups:
    """Those in one table of one host: of each packet, the slots that any flow compares."""

    def __init__(self, program: Program, table: int) -> None:
        self.slots = program.slots_of(table)
        self.seen: dict[tuple[int, ...], set[int]] = {}
        self.found: dict[tuple[int, ...], FlowKey | None] = {}

    def note(self, packet: Slots, flow: Flow | None, probe: int) -> None:
        state = tuple([packet[slot] for slot in self.slots])
        self.seen.setdefault(state, set()).add(probe)
        self.found[state] = flow.key if flow is not None else None

    def touched(self, before: FlowKey | None, after: Flow | None) -> set[int]:
        """The probes that another flow answers, when `before` is replaced by `after`."""
        probes: set[int] = set()
        matching = self._matching(after) if after is not None else ()
        for state, found in self.found.items():
            if found is not None and found == before:
                probes |= self.seen[state]
        for state in matching:
            found = self.found[state]
            priority = found.priority if found is not None else -1
            if after is not None and after.key.priority >= priority:
                probes |= self.seen[state]
        return probes

    def _matching(self, flow: Flow) -> Iterator[tuple[int, ...]]:
        wanted = [(self.slots.index(slot), value, mask) for slot, value, mask in flow.conditions]
        for state in self.found:
            if all(state[index] & mask == value for index, value, mask in wanted):
                yield state


class Recording:
    """Of a network that agrees with its reference on all probes."""

    def __init__(self, checker: Checker, probes: Iterable[Probe]) -> None:
        self.network = checker.network
        self._ports = checker.reference.ports
        self.probes = tuple(probes)
        self._steps: list[tuple[_Step, ...]] = []
        self._lookups: dict[tuple[str, int], _Lookups] = {}
        for number, probe in enumerate(self.probes):
            for name in self.network.hosts:
                self._watch(name, number)
            self._steps.append(tuple(_recorded(checker, probe)))
        self.network.watches.clear()

    def _watch(self, host: str, number: int) -> None:
        program, lookups = self.network.hosts[host].program, self._lookups

        def watch(table: int, packet: Slots, flow: Flow | None) -> None:
            place = host, table
            if place not in lookups:
                lookups[place] = _Lookups(program, table)
            lookups[place].note(packet, flow, number)

        self.network.watches[host] = watch

    def affected(self, host: str, before: FlowKey | None, after: Flow | None) -> set[int]:
        """Numbers of the probes that a change of one flow can matter to."""
        found: set[int] = set()
        for key in {one for one in (before, after.key if after else None) if one is not None}:
            lookups = self._lookups.get((host, key.table))
            if lookups is not None:
                found |= lookups.touched(before, after)
        return found

    def of(self, *, went_well: bool) -> list[Probe]:
        """The probes that somebody got, or nobody."""
        return [steps[0].probe for steps in self._steps if bool(steps[0].delivered) is went_well]

    def crossed(self) -> Iterator[Probe]:
        """What was delivered on another host than it was sent on, as it came in the tunnel."""
        place_of = self.network.place_of
        vsid_of = {port.id: SEGMENTS[port.segment] for port in self._ports.values()}
        for steps in self._steps:
            for port, frame in steps[0].delivered:
                here, there = place_of.get(steps[0].probe.port), place_of[port]
                if here is not None and here[0] != there[0]:
                    came_from = provider_address(here[0])
                    yield Probe(frame, "", there[0], came_from, vsid_of[port])

    def found(self, host: str) -> set[FlowKey]:
        """The flows of a host that any probe finds."""
        return {
            key
            for (name, _), lookups in self._lookups.items()
            for key in lookups.found.values()
            if name == host and key is not None
        }

    def differs(self, number: int) -> Disagreement | None:
        """Whether a probe now ends in another way."""
        self.network.forget()
        for probe, expected, followers in self._steps[number]:
            if followers is not None:
                self.network.plant(probe.frame.tuple, *followers)
                continue
            got = Checker.sent_by(self.network, probe)
            if got != expected:
                return Disagreement(probe, "", got, expected)
        return None


def _recorded(checker: Checker, probe: Probe) -> Iterator[_Step]:
    """What is compared of a probe; then of what arrives, answers that are led to other ports, and
    of what does not, an answer as if its question had been allowed before."""
    found = checker.compare(probe)
    assert found is None, found
    arrived = checker.exchange[0][1]
    is_told = bool(probe.port) and not probe.frame.eth_dst & MULTICAST_BIT
    tenant = checker.reference.layout.tenant(probe.port) if is_told else []
    for led in led_astray(probe, tenant) if arrived else ():
        if any(one.port == led.port for one in arrived):
            found = checker.step("led", led)
            assert found is None, found
    yield from (_Step(*one) for one in checker.exchange)
    may_open = probe.frame.tuple.may_open and not arrived
    back = answered_by(probe, tenant) if tenant and may_open else None
    if back is not None and not checker.reference.leads_nowhere(probe.port, probe.frame):
        followers = checker.plant(probe, back)
        yield _Step(probe, (), followers)
        found = checker.step("answer to what was allowed", back)
        assert found is None, found
        yield _Step(*checker.exchange[-1])
