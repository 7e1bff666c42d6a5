# SPDX-License-Identifier: Apache-2.0
"""One host that says nonsense: every other host goes on deriving and writing."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.host import reports
from isthmus.policy.observed import MOST_COUNT, believable
from isthmus.policy.rows import Claim, LearnedAddress, Row
from isthmus.switches.ovs.pipeline import Programmed
from tests.agent.ovs.hosts import WEB, forget, host, learn, plug
from tests.policy.test_observed import ROWS
from tests.switches.policy_rows import claim, network_rows
from tests.texts import pairs


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, max_size=8, unique_by=lambda row: (type(row), row.key)), st.booleans())
def test_whatever_a_host_says_of_itself_no_other_fails_to_derive(
    rows: list[Row], goes: bool
) -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB)
    learn(state, *rows)
    assert not state.engine.failures
    assert state.engine.rows(Programmed)
    wanted = state.wanted_claim(WEB.id)
    assert wanted is not None
    assert believable(wanted) is wanted
    beat = reports.heartbeat(state, at_s=1, probe=0, problems=())
    # That two hosts say that they have one provider address is worth a word; that a unit failed
    # would be a fault.
    assert not [problem for problem in beat.problems if problem.startswith("unit ")]
    if goes:
        forget(state, *rows)
        assert not state.engine.failures


def test_a_claim_that_nobody_could_overtake_stops_no_move() -> None:
    theirs = claim(WEB, "h2", "active", (1 << 63) - 1)
    state = host("h1", *network_rows("red"), WEB, theirs)
    plug(state, WEB)
    assert state.wanted_claim(WEB.id) == claim(WEB, "h1", "active", 1)


def test_a_claim_of_our_own_that_nobody_believes_is_written_anew() -> None:
    for change in ({"sequence": MOST_COUNT + 1}, {"state": "?"}, {"sequence": -5}):
        ours: Claim = msgspec.structs.replace(claim(WEB, "h1", "active", 1), **change)
        state = host("h1", *network_rows("red"), WEB, ours)
        plug(state, WEB)
        wanted = state.wanted_claim(WEB.id)
        assert wanted == claim(WEB, "h1", "active", 1)
        ((_, operation),) = [
            (one["op"], one)
            for one in reports.port_operations(state, {WEB.id: None})
            if one["table"] == "Claim"
        ]
        assert operation["op"] == "update"  # the row that is there, for its key is taken


def test_an_address_pair_with_a_sequence_beyond_all_others_is_no_pair() -> None:
    absurd = LearnedAddress(
        address="10.0.1.99",
        port=WEB.id,
        host="h1",
        segment=WEB.segment,
        mac=WEB.mac,
        sequence=(1 << 63) - 1,
    )
    paired = msgspec.structs.replace(WEB, pairs=pairs(f"10.0.1.0/24 {WEB.mac}"))
    state = host("h1", *network_rows("red"), paired, absurd)
    plug(state, paired)
    assert state.wanted_learned(WEB.id) == {}
    assert state.pair_seen(1, "10.0.1.99", WEB.mac)
    assert state.wanted_learned(WEB.id)["10.0.1.99"].sequence == 1
