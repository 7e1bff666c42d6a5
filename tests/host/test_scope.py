# SPDX-License-Identifier: Apache-2.0
"""What is asked for: comparing, joining and remembering it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isthmus.agent.scope_file import load, save
from isthmus.host.scope import Conditions, covers, union
from isthmus.policy.rows import Claim, Port, Segment
from tests.agent.ovs.test_host import WEB, host, plug
from tests.switches.policy_rows import network_rows

A, B = ("segment", "==", "a"), ("segment", "==", "b")
NARROW: Conditions = {Port: (A,), Claim: ()}
WIDE: Conditions = {Port: (A, B), Claim: (A,)}


def test_a_scope_covers_what_it_asks_for_and_less() -> None:
    assert covers(WIDE, NARROW)
    assert covers(WIDE, WIDE)
    assert not covers(NARROW, WIDE)
    # A table without conditions is asked for whole.
    assert covers({Claim: ()}, {Claim: (), Port: (A,)})
    assert not covers({Claim: (), Port: (A,)}, {Claim: ()})


def test_a_union_asks_for_all_that_either_does() -> None:
    assert union({Port: (B,), Segment: (A,)}, NARROW) == {Port: (A, B), Claim: ()}
    assert covers(union(NARROW, WIDE), WIDE)
    assert covers(union(WIDE, NARROW), NARROW)


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
