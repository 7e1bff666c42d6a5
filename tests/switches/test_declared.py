# SPDX-License-Identifier: Apache-2.0
"""Flows are held to what their stage is declared for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import BANDS, Commit, Forward, Neighbour, Rules
from isthmus.switches.ovs.declared import broken
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from tests.golden.scenario import programs, scenarios


def fault(
    stage: Stage,
    priority: int,
    match: bytes = b"",
    *,
    apply: tuple[bytes, ...] = (),
    goto: Stage | None = None,
) -> str:
    return broken(FlowKey(stage, priority, match), act.instructions(apply=apply, goto=goto))


def test_a_flow_that_does_what_is_declared_is_none() -> None:
    match = oxm.match(oxm.eth_dst(7), reg.VSID.match(5), reg.ORIGIN.match(0))
    load = reg.OUT.load(3)
    assert fault(Stage.FORWARD, Forward.OWN, match, apply=(load,), goto=Stage.RECEIVER) == ""
    assert fault(Stage.FORWARD, 0) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (fault(Stage.FORWARD, 77), "FORWARD has no band of priority 77"),
        (
            fault(Stage.FORWARD, Forward.OWN, oxm.match(oxm.tcp_src(80))),
            "FORWARD does not match tcp_src",
        ),
        (
            fault(Stage.FORWARD, Forward.OWN, oxm.match(reg.ZONE.match(5))),
            f"FORWARD does not match these bits of {reg.ZONE.field.text}:"
            f" {reg.ZONE.ones << reg.ZONE.first_bit:#x}",
        ),
        (
            fault(Stage.FORWARD, Forward.OWN, apply=(reg.ZONE.load(5),)),
            f"FORWARD does not write these bits of {reg.ZONE.field.text}",
        ),
        (
            fault(Stage.FORWARD, Forward.OWN, apply=(act.set_field(oxm.eth_dst(7)),)),
            "FORWARD does not write eth_dst",
        ),
        (
            fault(Stage.FORWARD, Forward.OWN, goto=Stage.COMMIT),
            f"FORWARD does not lead to table {Stage.COMMIT:d}",
        ),
        (
            fault(Stage.COMMIT, Commit.NEW, apply=(reg.tracked(table=Stage.JUDGE),)),
            f"COMMIT does not lead to table {Stage.JUDGE:d}",
        ),
        (
            fault(Stage.TUNNEL, 100, apply=(reg.GROUPS.give(oxm.TUN_DST),)),
            f"TUNNEL has nothing in these bits of {reg.GROUPS.field.text}",
        ),
    ],
)
def test_a_flow_that_does_something_else_is_told(found: str, said: str) -> None:
    assert found == said


def test_what_begins_in_the_next_stage_has_been_written() -> None:
    on = Stage.RESOLVED
    unwritten = fault(Stage.NEIGHBOUR, Neighbour.OWN, goto=on)
    assert unwritten == "NEIGHBOUR leads to RESOLVED without RESOLVED_MAC"
    load = (reg.RESOLVED_MAC.load(7),)
    assert fault(Stage.NEIGHBOUR, Neighbour.OWN, apply=load, goto=on) == ""


def test_what_is_left_at_zero_is_cleared_by_what_goes_on() -> None:
    behind = fault(Stage.RESOLVED, 100, goto=Stage.FORWARD)
    assert behind == "RESOLVED leads to FORWARD and leaves TARGET6 behind"
    assert fault(Stage.RESOLVED, 100, apply=reg.TARGET6.clear(), goto=Stage.FORWARD) == ""


def test_a_unit_that_gives_such_a_flow_fails() -> None:
    flows = Flows("a unit of this test", "")
    with pytest.raises(AssertionError, match="FORWARD does not match tcp_src"):
        flows.add(Stage.FORWARD, Forward.OWN, oxm.match(oxm.tcp_src(80)))
    flows.add(Stage.FORWARD, Forward.OWN, oxm.match(oxm.eth_dst(7)), goto=Stage.RECEIVER)


@pytest.mark.parametrize("folder", scenarios(), ids=lambda folder: folder.name)
def test_no_flow_of_a_scenario_does_something_else(folder: Path) -> None:
    for engine in programs(folder):
        for key, value in engine.rows(Programmed).items():
            assert isinstance(key, FlowKey)
            assert isinstance(value, Programmed)
            assert broken(key, value.instructions) == ""


def test_the_bands_of_a_stage_do_not_overlap() -> None:
    for stage, bands in BANDS.items():
        ordered = sorted(bands)
        for lower, higher in pairwise(ordered):
            assert 0 < lower <= lower.last < higher, (stage, lower, higher)
    assert Rules.DEFAULT < Rules.RULE
