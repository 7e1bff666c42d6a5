# SPDX-License-Identifier: Apache-2.0
"""What was allowed ends, and nothing else does, when a rule, a member or a port is taken away; and
a program that was changed step by step says what the policy says now.
"""

from __future__ import annotations

from random import Random

import pytest

from isthmus.addresses import MULTICAST_BIT
from tests.proof.changes import changed
from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import Deployment
from tests.proof.probes import Probe, sampled
from tests.proof.random_clouds import random_cloud
from tests.proof.reference import Reference


def _opened(checker: Checker, probes: list[Probe]) -> list[tuple[Probe, Probe]]:
    """The probes that came through, with an answer of each; their connections stay."""
    found = []
    for probe in probes:
        for delivered in checker.got(probe):
            answer = checker.answer(delivered)
            if answer is not None:
                found.append((probe, answer))
    return found


def _either(before: Reference, now: Reference, ends: tuple[Probe, Probe]) -> bool:
    """Whether an answer may be taken for one or not: where one end has another host, or had no
    rules that forbid anything and so was not looked at, it depends on the hosts of both whether the
    connection is known at that end."""
    return any(
        before.layout.host_of(end.port) != now.layout.host_of(end.port)
        or before.is_watched(end.port, end.frame) != now.is_watched(end.port, end.frame)
        for end in ends
    )


def _after(cloud: Deployment, seed: int) -> Disagreement | None:
    random = Random(seed)
    network, reference = cloud.network(), cloud.reference()
    probes = [
        probe
        for probe in sampled(cloud, random, per_pair=4)
        if probe.port and not probe.frame.eth_dst & MULTICAST_BIT
    ]
    opened = _opened(Checker(network, reference), probes)
    now = changed(cloud, random)
    cloud.change(network, now)
    later = now.reference()
    later.take_over(reference)
    checker = Checker(network, later)
    there = {place.port for place in now.places}
    for probe, answer in opened:
        steps = [("again", probe)]
        if not _either(reference, later, (probe, answer)):
            steps = [("answer", answer), *steps]
        for name, step in steps:
            found = checker.step(name, step) if step.port in there else None
            if found is not None:
                return found
    return next(checker.disagreements(sampled(now, random, per_pair=2)), None)


def _agree(seed: int) -> None:
    cloud = random_cloud(seed)
    found = _after(cloud, seed)
    assert found is None, f"seed {seed}: {found}\n{cloud}"


@pytest.mark.parametrize("block", range(2))
def test_connections_live_as_long_as_the_policy_allows_them(block: int) -> None:
    for seed in range(20 * block, 20 * block + 20):
        _agree(seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", range(4))
def test_many_connections_live_as_long_as_the_policy_allows_them(block: int) -> None:
    for seed in range(1000 * (block + 1), 1000 * (block + 2)):
        _agree(seed)
