# SPDX-License-Identifier: Apache-2.0
"""A scope that is remembered through a restart, also where its file holds something else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.agent.scope_file import load, save
from isthmus.policy.rows import Claim, Port, Segment
from tests.agent.ovs.hosts import WEB, host, plug
from tests.host.test_scope import WIDE, A, B
from tests.switches.policy_rows import network_rows


def test_a_scope_is_remembered_and_a_broken_memory_is_none(tmp_path: Path) -> None:
    file = tmp_path / "scope.json"
    assert load(file) == {}
    save(WIDE, file)
    found = load(file)
    assert found[Port] == (A, B)
    assert found[Claim] == (A,)
    assert found[Segment] == ()
    for broken in (b"", b"{", b"[1]", b'{"Port": [7]}'):
        file.write_bytes(broken)
        assert load(file) == {}
    assert load(None) == {}
    save(WIDE, tmp_path / "no such folder" / "scope.json")


@pytest.mark.parametrize(
    "clause", [["colour", "==", "red"], ["mac", "==", "x"], ["segment", "includes", "a"]]
)
def test_a_memory_that_asks_for_what_is_no_scope_of_ours_is_none(
    tmp_path: Path, clause: list[str]
) -> None:
    """The store would refuse all of it, each time."""
    file = tmp_path / "scope.json"
    file.write_text(json.dumps({"Port": [["segment", "==", "a"], clause], "Claim": []}))
    assert load(file) == {}


def test_every_condition_that_we_make_can_be_remembered(tmp_path: Path) -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB, "nobody")
    file = tmp_path / "scope.json"
    save(state.conditions(), file)
    found = load(file)
    assert {table: found[table] for table in state.conditions()} == dict(state.conditions())
