# SPDX-License-Identifier: Apache-2.0
"""Compiled flows and the reference agree, on random policies."""

from __future__ import annotations

from random import Random

import pytest

from tests.proof.checker import Checker, Disagreement
from tests.proof.clouds import Cloud
from tests.proof.minimising import minimised
from tests.proof.probes import Probe, sampled
from tests.proof.random_clouds import random_cloud


def _said(cloud: Cloud, found: Disagreement) -> str:
    """The smallest cloud that shows it, and what it shows."""

    def shows(smaller: Cloud) -> bool:
        has_port = found.probe.port in {"", *(place.port for place in smaller.places)}
        return has_port and _compared(smaller, found.probe) is not None

    smallest = minimised(cloud, shows)
    rows = "\n".join(map(repr, (*smallest.ports, *smallest.rules, *smallest.places)))
    return f"{_compared(smallest, found.probe)}\n{rows}"


def _compared(cloud: Cloud, probe: Probe) -> Disagreement | None:
    return Checker(cloud.network(), cloud.reference()).compare(probe)


def _agree(seed: int) -> None:
    cloud = random_cloud(seed)
    checker = Checker(cloud.network(), cloud.reference())
    found = next(checker.disagreements(sampled(cloud, Random(seed))), None)
    assert found is None, f"seed {seed}: {_said(cloud, found)}"


@pytest.mark.parametrize("block", range(4))
def test_flows_let_through_what_the_policy_says_and_nothing_else(block: int) -> None:
    for seed in range(30 * block, 30 * block + 30):
        _agree(seed)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("block", range(4))
def test_flows_let_through_what_many_policies_say_and_nothing_else(block: int) -> None:
    for seed in range(1000 * (block + 1), 1000 * (block + 2)):
        _agree(seed)
