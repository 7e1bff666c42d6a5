# SPDX-License-Identifier: Apache-2.0
"""Whether a mutant is caught, and if not, whether it could be.

A mutant is shown the probes of a recording that its change can matter to; then frames out of the
sets of packets that may end in another way. One that agrees with the reference on all of them is
caught by nobody. There must be none but those that are proved equivalent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import islice
from random import Random

from isthmus.addresses import MULTICAST_BIT
from isthmus.switches.ovs.pipeline import FlowKey
from tests.proof.checker import Checker
from tests.proof.equivalence import World, differences
from tests.proof.mutations import Mutant
from tests.proof.network import Host, Network
from tests.proof.packet_sets import PacketSet
from tests.proof.probes import Probe, answered_by, led_astray
from tests.proof.program import Flow, Overlap, Program, decoded
from tests.proof.recording import Recording
from tests.proof.witnesses import Pool, Witness, witnesses

_MOST_SETS, _OF_EACH, _FRAMES = 60, 5, 600
"""Of how many sets of packets a mutant is shown frames; how many of each at once, and how many of
all together where these are not enough."""
_SOME = 3000
"""Of how many probes the answers serve as examples of frames, too."""
_MOST_OUTCOMES = 300_000
"""How many are kept from one mutant to the next."""


class Judgement(Enum):
    BY_PROBES = "caught by the probes of the cloud"
    BY_SEARCH = "caught by frames out of the packets that it changes"
    EQUIVALENT = "proved equivalent"
    NOT_CAUGHT = "not caught"


class Judge:
    """Over a network that agrees with its reference on the probes of a recording."""

    def __init__(self, recording: Recording, checker: Checker, random: Random) -> None:
        self._recording, self._checker, self._random = recording, checker, random
        good = [*recording.of(went_well=True), *recording.crossed()]
        bad = recording.of(went_well=False)
        ports = tuple(checker.reference.ports.values())
        some = random.sample(good, min(_SOME, len(good)))
        good += [back for probe in some if (back := answered_by(probe, ports)) is not None]
        self._pool = Pool(good, bad, ports)
        self._mutated: dict[FlowKey, Flow | None] = {}
        self._original: dict[FlowKey, Flow | None] = {}
        self.unexplained: list[tuple[Probe, Probe | None]] = []
        """What shows a disagreement without any mutant."""
        self._world = World(checker.network.hosts.values())

    @property
    def network(self) -> Network:
        return self._checker.network

    def judge(self, mutant: Mutant) -> Judgement:
        """Raises Refused where a switch would not take the mutant."""
        if self._world.size > _MOST_OUTCOMES:
            self._world.forget()
        program = self.network.hosts[mutant.host].program
        changed = [
            (before, after, decoded(after, instructions) if after is not None else None)
            for before, after, instructions in mutant.edits
        ]
        affected: set[int] = set()
        for before, _, flow in changed:
            affected |= self._recording.affected(mutant.host, before, flow)
        self._mutated = {before: None for before, _, _ in changed if before is not None}
        self._mutated |= {after: flow for _, after, flow in changed if after is not None}
        self._original = {key: program.flows.get(key) for key in self._mutated}
        self._put(program, self._mutated)
        try:
            return self._judged(mutant, affected)
        finally:
            self._put(program, self._original)

    @staticmethod
    def _put(program: Program, flows: Mapping[FlowKey, Flow | None]) -> None:
        for key, flow in flows.items():
            program.put(key, flow)

    def _judged(self, mutant: Mutant, affected: set[int]) -> Judgement:
        numbers = sorted(affected)
        self._random.shuffle(numbers)
        if any(self._is_shown(number) for number in numbers):
            return Judgement.BY_PROBES
        host = self.network.hosts[mutant.host]
        shown: list[PacketSet] = []
        for packets in islice(self._differing(mutant), _MOST_SETS):
            shown.append(packets)
            if self._is_seen(packets, host, _OF_EACH):
                return Judgement.BY_SEARCH
        if not shown:
            return Judgement.EQUIVALENT
        more = _FRAMES // len(shown)
        is_seen = any(self._is_seen(packets, host, more) for packets in shown)
        return Judgement.BY_SEARCH if is_seen else Judgement.NOT_CAUGHT

    def _is_seen(self, packets: PacketSet, host: Host, count: int) -> bool:
        """Whether frames of a set show the mutant: alone, with their answers, or with answers that
        are led to other ports."""
        for found in witnesses(packets, host, self._pool, self._random, count):
            for question, second in self._exchanges(found):
                if self._shows(question, second) and self._agreed(host, question, second):
                    return True
        return False

    def _exchanges(self, found: Witness) -> Iterator[tuple[Probe, Probe | None]]:
        probe, answers = found
        yield answers or probe, None
        if answers is not None:
            yield answers, probe
        elif probe.host or probe.frame.eth_dst & MULTICAST_BIT:
            back = answered_by(probe, self._pool.ports)
            if back is not None:
                yield probe, back
        for led in led_astray(answers or probe, self._pool.ports):
            yield answers or probe, led

    def _agreed(self, host: Host, question: Probe, second: Probe | None) -> bool:
        """Whether the flows agreed with the reference before they were changed."""
        self._put(host.program, self._original)
        shown = self._shows(question, second)
        self._put(host.program, self._mutated)
        if shown:
            self.unexplained.append((question, second))
        return not shown

    def _shows(self, question: Probe, second: Probe | None) -> bool:
        """What goes to all is no answer, and the reference does not say who gets it."""
        checker = self._checker
        if second is not None and second.frame.eth_dst & MULTICAST_BIT:
            second = None
        both = checker.compare_both(question, second) if second else checker.compare(question)
        return both is not None

    def _is_shown(self, number: int) -> bool:
        try:
            return self._recording.differs(number) is not None
        except Overlap:
            return True

    def _differing(self, mutant: Mutant) -> Iterator[PacketSet]:
        table = _table(mutant)
        sets = self._world.reached(mutant.host, table)
        before = self._world.of(mutant.host)
        after = before.changed(self.network.hosts[mutant.host].program, table)
        yield from differences(before, after, table, sets)


def _table(mutant: Mutant) -> int:
    return next(key.table for edit in mutant.edits for key in edit[:2] if key is not None)
