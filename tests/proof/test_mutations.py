# SPDX-License-Identifier: Apache-2.0
"""The comparison of flows and reference has teeth: a flow that is only a little wrong is found.

Mutants of the programs of `rich_cloud` (`mutations`: their kinds, and what is left out) are made
until 500 are caught. Whatever is not caught must be proved to be such that nobody can tell it from
the original (`equivalence`). How many of each is printed; run pytest with -s to see it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest

from isthmus.switches.ovs.pipeline import Programmed, Stage
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_text import flow_text
from tests.proof.checker import Checker
from tests.proof.judging import Judge, Judgement
from tests.proof.mutations import Flows, Mutant, mutants
from tests.proof.network import Network
from tests.proof.recording import Recording
from tests.proof.rich_cloud import rich_cloud
from tests.proof.slots import Refused
from tests.proof.thorough import every


def _programs(network: Network, names: tuple[str, ...]) -> dict[str, Flows]:
    found: dict[str, Flows] = {}
    for name in names:
        rows = network.hosts[name].engine.rows(Programmed)
        found[name] = {key: value.instructions for key, value in rows.items()}  # type: ignore[misc]  # keys are FlowKeys
    return found


def _said(mutant: Mutant, programs: Mapping[str, Flows]) -> str:
    lines = [f"{mutant.kind} on {mutant.host}:"]
    for before, after, instructions in mutant.edits:
        for sign, key in (("-", before), ("+", after)):
            if key is not None:
                its = programs[mutant.host][key] if sign == "-" else instructions
                text = flow_text(Flow(*key, its, 0)).partition("priority=")[2]
                lines.append(f"  {sign} {Stage(key.table).name} priority={text}")
    return "\n".join(lines)


def _judged(names: tuple[str, ...], count: int, seed: int) -> Counter[str]:
    """How many mutants came to what, in all and by kind, until so many are caught; fails with the
    first that gets away."""
    cloud = rich_cloud()
    checker = Checker(cloud.network(), cloud.reference())
    programs = _programs(checker.network, names)
    judge = Judge(Recording(checker, every(cloud, Random(1))), checker, Random(2))
    found: Counter[str] = Counter()
    for mutant in mutants(programs, Random(seed)):
        try:
            judgement = judge.judge(mutant)
        except Refused:
            found["refused by a switch, not counted"] += 1
            continue
        assert judgement is not Judgement.NOT_CAUGHT, _said(mutant, programs)
        found[judgement.value] += 1
        found[f"  {mutant.kind}: {judgement.value}"] += 1
        found["caught"] += judgement in (Judgement.BY_PROBES, Judgement.BY_SEARCH)
        if found["caught"] == count:
            break
    found["packets on which flows and reference disagree anyway"] = len(judge.unexplained)
    print("", *(f"{number:5} {what}" for what, number in sorted(found.items())), sep="\n")
    return found


def test_small_mistakes_in_the_flows_of_a_host_are_noticed() -> None:
    found = _judged(("h3",), 60, seed=7)
    assert found[Judgement.BY_PROBES.value] > 45


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_small_mistakes_in_the_flows_of_all_hosts_are_noticed() -> None:
    found = _judged(("h1", "h2", "h3"), 500, seed=7)
    assert found[Judgement.BY_PROBES.value] > 400
