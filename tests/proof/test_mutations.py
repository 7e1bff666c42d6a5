# SPDX-License-Identifier: Apache-2.0
"""The comparison of flows and reference has teeth: a flow that is only a little wrong is found.

Mutants of the programs of small clouds (`small_clouds`, `mutations`: their kinds, and what is left
out) are made until so many are caught. Whatever is not caught must be proved to be such that nobody
can tell it from the original (`equivalence`). How many of each is printed; run pytest with -s.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_text import flow_text
from tests.proof.afterwards import Afterwards
from tests.proof.checker import Checker
from tests.proof.judging import Judge, Judgement
from tests.proof.mutations import Flows, Mutant, mutants
from tests.proof.network import Network
from tests.proof.recording import Recording
from tests.proof.slots import Refused
from tests.proof.small_clouds import CLOUDS, changes_of
from tests.proof.thorough import every


def _flows(network: Network, host: str) -> Flows:
    rows = network.hosts[host].engine.rows(Programmed)
    found: dict[FlowKey, bytes] = {}
    for key, value in rows.items():
        assert isinstance(key, FlowKey)
        assert isinstance(value, Programmed)
        found[key] = value.instructions
    return found


def said(mutant: Mutant, flows: Flows) -> str:
    lines = [f"{mutant.kind} on {mutant.host}:"]
    for before, after, instructions in mutant.edits:
        for sign, key in (("-", before), ("+", after)):
            if key is not None:
                its = flows[key] if sign == "-" else instructions
                text = flow_text(Flow(*key, its, 0)).partition("priority=")[2]
                lines.append(f"  {sign} {Stage(key.table).name} priority={text}")
    return "\n".join(lines)


def _judge(name: str) -> tuple[Judge, Checker, Recording]:
    """Over a small cloud."""
    cloud = CLOUDS[name]()
    checker = Checker(cloud.network(), cloud.reference())
    recording = Recording(checker, every(cloud, Random(1)))
    afterwards = [Afterwards(checker, changed) for changed in changes_of(cloud)]
    return Judge(recording, checker, Random(2), afterwards), checker, recording


def _judged(name: str, hosts: dict[str, int], seed: int) -> Counter[str]:
    """How many mutants came to what, in all and by kind, until so many are caught on each host of a
    cloud; fails with the first that gets away."""
    judge, checker, recording = _judge(name)
    found: Counter[str] = Counter()
    for host, count in hosts.items():
        flows, caught, seen = _flows(checker.network, host), 0, set[Mutant]()
        for mutant in mutants(host, flows, recording.found(host), Random(seed)):
            if caught == count:
                break
            if mutant in seen:
                continue
            seen.add(mutant)
            try:
                judgement = judge.judge(mutant)
            except Refused:
                found["refused by a switch, not counted"] += 1
                continue
            assert judgement is not Judgement.NOT_CAUGHT, said(mutant, flows)
            found[judgement.value] += 1
            found[f"  {mutant.kind}: {judgement.value}"] += 1
            caught += judgement in _CAUGHT
    print("", *(f"{number:5} {what}" for what, number in sorted(found.items())), sep="\n")
    return found


_CAUGHT = (Judgement.BY_PROBES, Judgement.AMBIGUOUS, Judgement.BY_SEARCH)


def _number_caught(found: Counter[str]) -> int:
    return sum(found[one.value] for one in _CAUGHT)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", CLOUDS)
def test_small_mistakes_in_the_flows_of_a_host_are_noticed(name: str) -> None:
    assert _number_caught(_judged(name, {"h1": 20}, seed=7)) == 20


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["groups", "pairs"])
def test_what_probes_catch_is_never_proved_equivalent(name: str) -> None:
    """The proof is a program, too: it must not excuse what matters."""
    assert _never_excused(name, 5) == 5


def _never_excused(name: str, count: int) -> int:
    """How many mutants of h1 probes have caught, of which none is proved equivalent; at most
    `count`."""
    judge, checker, recording = _judge(name)
    flows, caught = _flows(checker.network, "h1"), 0
    for mutant in mutants("h1", flows, recording.found("h1"), Random(9)):
        try:
            judgement = judge.judge(mutant)
        except Refused:
            continue
        if judgement is Judgement.BY_PROBES:
            assert judge.may_differ(mutant), said(mutant, flows)
            caught += 1
        if caught == count:
            break
    return caught


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", CLOUDS)
def test_five_hundred_small_mistakes_are_noticed(name: str) -> None:
    """In each cloud."""
    assert _number_caught(_judged(name, {"h1": 300, "h2": 100, "h3": 100}, seed=8)) == 500


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["groups", "pairs"])
def test_many_that_probes_catch_are_never_proved_equivalent(name: str) -> None:
    assert _never_excused(name, 60) == 60
