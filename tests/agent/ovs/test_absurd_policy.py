# SPDX-License-Identifier: Apache-2.0
"""Desired rows that are nonsense, written by whoever may: no host fails to derive for them."""

from __future__ import annotations

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from isthmus.host import reports
from isthmus.host.facts import Plugged
from isthmus.host.solicitations import PairAsking
from isthmus.policy.rows import PhysicalNetwork, Probe, Query, Row
from isthmus.switches.ovs.pipeline import Programmed
from tests.agent.ovs.hosts import WEB, forget, host, learn, plug
from tests.policy.test_observed import ROWS
from tests.policy.test_readable import DESIRED_ROWS
from tests.switches.policy_rows import network_rows
from tests.texts import pairs


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """A few, each with a key of its own. A strategy with its own short name: hypothesis prints
    those that filter."""
    found: dict[tuple[type[Row], object], Row] = {}
    for _ in range(draw(st.integers(0, 6))):
        row = draw(DESIRED_ROWS if draw(st.booleans()) else ROWS)
        if not isinstance(row, PhysicalNetwork):  # no host reads those
            found[type(row), row.key] = row
    return [*found.values()]


@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(some_rows(), st.booleans())
def test_whatever_stands_in_policy_every_host_derives(rows: list[Row], goes: bool) -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB)
    learn(state, *rows)
    assert not state.engine.failures
    assert state.engine.rows(Programmed)
    PairAsking(state).questions(state.engine.rows(Plugged).values())
    reports.heartbeat(state, at_s=1, probe=0, problems=())
    if goes:
        forget(state, *rows)
        assert not state.engine.failures
        assert not state.unreadable


def test_one_port_that_cannot_be_read_is_closed_told_and_stops_nobody_s_asking() -> None:
    paired = pairs("10.0.1.100/32 02:00:00:00:00:01")
    other: Row = msgspec.structs.replace(WEB, id="other", mac="02:00:00:00:00:99", pairs=paired)
    state = host("h1", *network_rows("red"), WEB, other)
    plug(state, WEB, other)  # type: ignore[arg-type]  # it is a port as WEB is
    learn(state, msgspec.structs.replace(WEB, pairs=pairs("nonsense")))
    assert len(PairAsking(state).questions(state.engine.rows(Plugged).values())) == 1
    assert state.wanted_claim(WEB.id) is None
    beat = reports.heartbeat(state, at_s=1, probe=0, problems=())
    assert [one for one in beat.problems if "cannot be read" in one and WEB.id in one]
    learn(state, WEB)
    beat = reports.heartbeat(state, at_s=1, probe=0, problems=())
    assert not [one for one in beat.problems if "cannot be read" in one]


def test_a_probe_that_nobody_can_answer_is_none_and_so_is_a_question_too_long() -> None:
    state = host("h1", *network_rows("red"), WEB)
    learn(state, Probe(number=7))
    assert state.probe == 7
    learn(state, Probe(number=(1 << 53) + 5))
    assert state.probe == 0
    learn(state, Query(id="1", host="h1", question="probe " + "x" * (1 << 17), deadline_s=0))
    assert not state.queries
