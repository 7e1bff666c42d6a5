# SPDX-License-Identifier: Apache-2.0
"""Whether a mutant is caught, and if not, whether it could be.

A mutant is shown the probes of a recording that its change can matter to; then frames out of the
sets of packets that may end in another way. One that agrees with the reference on all of them is
caught by nobody. There must be none but those that are proved equivalent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import islice, product
from random import Random

from isthmus.addresses import MULTICAST_BIT
from isthmus.switches.ovs.pipeline import FlowKey
from tests.proof.afterwards import Afterwards
from tests.proof.checker import Checker
from tests.proof.equivalence import World, differences, treated
from tests.proof.mutations import Mutant, meet
from tests.proof.network import Host, Network
from tests.proof.outcomes import Outcomes
from tests.proof.packet_sets import PacketSet
from tests.proof.probes import Probe, answered_by, led_astray
from tests.proof.program import Flow, Overlap, Program, decoded
from tests.proof.recording import Recording
from tests.proof.verdicts import holds
from tests.proof.witnesses import Pool, Witness, witnesses

_MOST_SETS, _OF_EACH, _FRAMES = 120, 5, 600
"""Of how many sets of packets a mutant is shown frames; how many of each at once, and how many of
all together where these are not enough."""
_SOME = 3000
"""Of how many probes the answers serve as examples of frames, too."""
_MOST_OUTCOMES = 300_000
"""How many are kept from one mutant to the next."""


class Judgement(Enum):
    BY_PROBES = "caught by the probes of the cloud"
    AMBIGUOUS = "caught: two flows of one priority do not do the same"
    BY_SEARCH = "caught by frames out of the packets that it changes"
    EQUIVALENT = "proved equivalent"
    NOT_CAUGHT = "not caught"


class Judge:
    """Over a network that agrees with its reference on the probes of a recording."""

    def __init__(
        self,
        recording: Recording,
        checker: Checker,
        random: Random,
        afterwards: Iterable[Afterwards] = (),
    ) -> None:
        self._recording, self._checker, self._random = recording, checker, random
        self._afterwards = tuple(afterwards)
        good = [*recording.of(went_well=True), *recording.crossed()]
        bad = recording.of(went_well=False)
        ports = tuple(checker.reference.ports.values())
        some = random.sample(good, min(_SOME, len(good)))
        good += [back for probe in some if (back := answered_by(probe, ports)) is not None]
        self._pool = Pool(good, bad, ports)
        self._mutated: dict[FlowKey, Flow | None] = {}
        self._original: dict[FlowKey, Flow | None] = {}
        self._later: list[Afterwards] = []
        """Those of `afterwards` that have the flows which a mutant changes."""
        self._programs: list[Program] = []
        """That are changed for a mutant."""
        self._world = World(checker.network.hosts.values())

    @property
    def network(self) -> Network:
        return self._checker.network

    def judge(self, mutant: Mutant) -> Judgement:
        """Raises Refused where a switch would not take the mutant."""
        if self._world.size > _MOST_OUTCOMES:
            self._world.forget()
        with self._put_in(mutant) as affected:
            return self._judged(mutant, affected)

    def may_differ(self, mutant: Mutant) -> bool:
        """Whether it is not proved equivalent."""
        with self._put_in(mutant):
            return next(self._differing(mutant), None) is not None

    @contextmanager
    def _put_in(self, mutant: Mutant) -> Iterator[set[int]]:
        """Have its flows instead of others; gives the probes that they can matter to."""
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
        self._later = [one for one in self._afterwards if one.has(mutant.host, self._original)]
        self._programs = [program, *(one.program(mutant.host) for one in self._later)]
        self._put(self._mutated)
        try:
            yield affected
        finally:
            self._put(self._original)

    def _put(self, flows: Mapping[FlowKey, Flow | None]) -> None:
        for program, (key, flow) in product(self._programs, flows.items()):
            program.put(key, flow)

    def _judged(self, mutant: Mutant, affected: set[int]) -> Judgement:
        numbers = sorted(affected)
        self._random.shuffle(numbers)
        try:
            if any(self._recording.differs(number) is not None for number in numbers):
                return Judgement.BY_PROBES
        except Overlap:
            return Judgement.AMBIGUOUS
        host = self.network.hosts[mutant.host]
        shown: list[PacketSet] = []
        for packets in islice(self._differing(mutant), _MOST_SETS):
            shown.append(packets)
            if self._is_seen(packets, host, _OF_EACH):
                return Judgement.BY_SEARCH
        if not shown:
            return Judgement.EQUIVALENT
        more = _FRAMES // len(shown)
        if any(self._is_seen(packets, host, more) for packets in shown):
            return Judgement.BY_SEARCH
        # What ends as before may do so because of a rule that is not there later.
        others = islice(self._treated(mutant) if self._later else (), _MOST_SETS)
        is_seen = any(self._is_seen(packets, host, _OF_EACH) for packets in others)
        return Judgement.BY_SEARCH if is_seen else Judgement.NOT_CAUGHT

    def _is_seen(self, packets: PacketSet, host: Host, count: int) -> bool:
        """Whether frames of a set show the mutant: alone, with what they answer or are answered by,
        or with answers that are led to other ports."""
        for found in witnesses(packets, host, self._pool, self._random, count):
            for question, second in self._exchanges(found):
                if self._shows(question, second) and self._agreed(question, second):
                    return True
                if any(self._shows_later(one, question, second) for one in self._later):
                    return True
        return False

    def _exchanges(self, found: Witness) -> Iterator[tuple[Probe, Probe | None]]:
        probe, answers = found
        yield answers or probe, None
        back = answered_by(probe, self._pool.ports) if answers is None else None
        if answers is not None:
            yield answers, probe
        elif back is not None:
            if probe.host or probe.frame.eth_dst & MULTICAST_BIT:
                yield probe, back
            yield back, probe
        for led in led_astray(answers or probe, self._pool.ports):
            yield answers or probe, led

    def _agreed(self, question: Probe, second: Probe | None) -> bool:
        """Whether the flows agreed with the reference before they were changed; they must, but for
        what comes after a frame that was led to another port than it is addressed to: if that port
        took it, the one that it is for is taken to have been asked."""
        self._put(self._original)
        shown = self._shows(question, second)
        got = self._checker.exchange[0][1]
        self._put(self._mutated)
        asked, ports = question.frame.tuple, self._checker.reference.ports
        to = asked.family, asked.destination
        is_led = any(not holds(ports[one.port], *to) for one in got)
        assert not shown or (second is not None and is_led), (question, second)
        return not shown

    def _shows(self, question: Probe, second: Probe | None) -> bool:
        """What goes to all is no answer, and the reference does not say who gets it."""
        checker = self._checker
        if second is not None and second.frame.eth_dst & MULTICAST_BIT:
            second = None
        both = checker.compare_both(question, second) if second else checker.compare(question)
        return both is not None

    def _shows_later(self, later: Afterwards, question: Probe, second: Probe | None) -> bool:
        """What a connection still is under rules that would not have kept it as it is depends on
        the flows, so these say it."""
        if not later.differs(question, second or question):
            return False
        self._put(self._original)
        differed = later.differs(question, second or question)
        self._put(self._mutated)
        return not differed

    def _differing(self, mutant: Mutant) -> Iterator[PacketSet]:
        def coming(packets: PacketSet) -> Iterator[PacketSet]:
            return self._world.coming(mutant.host, table, packets)

        table = _table(mutant)
        sets = self._sets(mutant)
        for before, after in self._outcomes(mutant):
            yield from differences(before, after, table, sets, coming)

    def _treated(self, mutant: Mutant) -> Iterator[PacketSet]:
        for before, after in self._outcomes(mutant):
            yield from treated(before, after, _table(mutant), self._sets(mutant))

    def _sets(self, mutant: Mutant) -> list[PacketSet]:
        sets = list(self._world.reached(mutant.host, _table(mutant)))
        self._random.shuffle(sets)
        return sets

    def _outcomes(self, mutant: Mutant) -> Iterator[tuple[Outcomes, Outcomes]]:
        """Of the network as it was, and with the mutant; a switch may take either of two flows of
        one priority, so with the new ones behind their equals and before them."""
        original = self._world.of(mutant.host)
        flows = self.network.hosts[mutant.host].program.flows
        new = {key for key in self._mutated if key in flows}
        others = [flow for key, flow in flows.items() if key not in new]
        ours = [flows[key] for key in new]
        yield original, original.changed(Program([*others, *ours]), _table(mutant))
        if any(_have_rank(one, other) for one in ours for other in others):
            yield original, original.changed(Program([*ours, *others]), _table(mutant))


def _have_rank(one: Flow, other: Flow) -> bool:
    """Whether two flows are of one priority in a table, and may match the same packet."""
    return one.key[:2] == other.key[:2] and meet(one.key, other.key)


def _table(mutant: Mutant) -> int:
    return next(key.table for edit in mutant.edits for key in edit[:2] if key is not None)
