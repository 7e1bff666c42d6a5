# SPDX-License-Identifier: Apache-2.0
"""Compiled flows and the reference agree, on random policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import pytest

from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import Deployment
from tests.proof.minimising import minimised
from tests.proof.probes import Probe, answered_by, sampled
from tests.proof.random_clouds import random_cloud
from tests.proof.verdicts import holds


def _said(cloud: Deployment, found: Disagreement) -> str:
    """The smallest cloud that shows it, and what it shows."""

    def shows(smaller: Deployment) -> bool:
        has_port = found.probe.port in {"", *(place.port for place in smaller.places)}
        return has_port and _compared(smaller, found.probe) is not None

    smallest = minimised(cloud, shows)
    rows = "\n".join(map(repr, (*smallest.ports, *smallest.rules, *smallest.places)))
    return f"{_compared(smallest, found.probe)}\n{rows}"


def _compared(cloud: Deployment, probe: Probe) -> Disagreement | None:
    return Checker(cloud.network(), cloud.reference()).compare(probe)


def _agree(seed: int) -> None:
    cloud = random_cloud(seed)
    checker = Checker(cloud.network(), cloud.reference())
    found = next(checker.disagreements(sampled(cloud, Random(seed))), None)
    assert found is None, f"seed {seed}: {_said(cloud, found)}"


def _agree_in_time(seed: int) -> int:
    """While all ports, or some, began to be followed a moment ago; gives how many answers passed
    that nobody has asked for, and would not pass later."""
    cloud, random = random_cloud(seed), Random(seed)
    names = [port.id for port in cloud.ports]
    begun = names if random.random() < 0.5 else random.sample(names, len(names) // 2)
    checker = Checker(cloud.network(begun), cloud.reference(begun))
    later, passed = cloud.reference(), 0
    for probe in _with_answers(sampled(cloud, random), cloud):
        found = checker.compare(probe)
        assert found is None, f"seed {seed}, begun {begun}: {found} {cloud}"
        if probe.port:
            later.forget()
            passed += checker.exchange[0][1] != later.send(probe.port, probe.frame)
    return passed


def _with_answers(probes: Iterable[Probe], cloud: Deployment) -> Iterator[Probe]:
    """And what the ports whose addresses are asked would say. (Ports that may have one address are
    one to whom asks: `test_findings`.)"""
    ports = {port.id: port for port in cloud.ports}
    for probe in probes:
        yield probe
        back = answered_by(probe, cloud.ports)
        its = back.frame.tuple if back is not None else None
        if back is not None and its and holds(ports[back.port], its.family, its.source):
            yield back


@pytest.mark.parametrize("block", range(4))
def test_flows_let_through_what_the_policy_says_and_nothing_else(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        _agree(seed)


@pytest.mark.parametrize("block", range(4))
def test_where_ports_have_just_begun_only_what_they_could_have_asked_for_passes_as_well(
    block: int,
) -> None:
    passed = sum(_agree_in_time(seed) for seed in range(10 * block, 10 * block + 10))
    assert passed > 10, "probes show the difference"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", range(4))
def test_flows_let_through_what_many_policies_say_and_nothing_else(block: int) -> None:
    for seed in range(1000 * (block + 1), 1000 * (block + 2)):
        _agree(seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_where_ports_have_just_begun_nothing_else_passes_under_many_policies() -> None:
    assert sum(_agree_in_time(seed) for seed in range(5000, 5400)) > 100
