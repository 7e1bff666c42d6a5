# SPDX-License-Identifier: Apache-2.0
"""Actions and instructions as bytes. That Open vSwitch reads and prints every one of them as it is
meant: tests/switches/test_connection.py."""

from __future__ import annotations

import pytest

from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_text import actions_text, instructions_text
from tests.wire.every_flow import Case, every_flow

CASES = [case for case in every_flow() if case.flow.instructions]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.printed)
def test_every_action_is_as_long_as_it_says_and_in_units_of_eight(case: Case) -> None:
    data = case.flow.instructions
    while data:
        length = int.from_bytes(data[2:4], "big")
        assert length % 8 == 0
        assert 8 <= length <= len(data)
        data = data[length:]
    assert "unknown" not in instructions_text(case.flow.instructions)


def test_instructions_stand_in_the_order_in_which_a_switch_runs_them() -> None:
    """OpenFlow 1.4 section 5.9: meter, apply-actions, goto-table, however they are given."""
    made = act.instructions(goto=7, apply=(act.output(1), act.output(2)), meter=5)
    assert instructions_text(made) == "meter:5,output:1,output:2,goto_table:7"


def test_no_actions_are_no_instruction() -> None:
    assert act.instructions() == act.instructions(apply=()) == b""


def test_a_load_of_part_of_a_field_names_its_bits() -> None:
    assert actions_text(act.load(5, oxm.REG[5])) == "load:0x5->NXM_NX_REG5[]"
    assert actions_text(act.load(5, oxm.REG[5], 8, 16)) == "load:0x5->NXM_NX_REG5[8..23]"
    assert actions_text(act.load(1, oxm.REG[5], 31, 1)) == "load:0x1->NXM_NX_REG5[31]"


def test_actions_inside_others_are_carried_whole() -> None:
    inner = act.ct(commit=True, zone=5, actions=[act.load(5, oxm.CT_MARK, 0, 8)])
    assert actions_text(act.clone(inner, act.output(2))) == (
        "clone(ct(commit,zone=5,exec(load:0x5->NXM_NX_CT_MARK[0..7])),output:2)"
    )
