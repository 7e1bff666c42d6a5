# SPDX-License-Identifier: Apache-2.0
"""What an Open vSwitch host adds to what every host concludes."""

from __future__ import annotations

from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow
from tests.agent.ovs.hosts import OTHER, WEB, forget, host, learn, plug
from tests.switches.policy_rows import claim, network_rows


def test_a_flow_that_the_switch_refuses_is_an_error_of_its_port() -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB)
    state.take_reports()
    key, value = next(
        (key, value)
        for key, value in state.engine.rows(Programmed).items()
        if state.engine.giver(Programmed, key) == ("local_flows", WEB.id)
    )
    assert isinstance(key, FlowKey)
    state.refused([(flow(key, value), "BAD_ACTION")])
    assert state.take_reports() == [WEB.id]
    found = state.wanted_status(WEB.id, 7)
    assert found is not None
    assert found.state == "error"
    assert "BAD_ACTION" in found.detail


def test_forgetting_everything_leaves_the_fixed_flows_alone() -> None:
    rows = [*network_rows("red"), WEB, OTHER, claim(OTHER, "h2")]
    state = host()
    empty = set(state.engine.rows(Programmed))
    learn(state, *rows)
    plug(state, WEB)
    assert len(state.engine.rows(Programmed)) > len(empty)
    plug(state)
    forget(state, *rows)
    assert set(state.engine.rows(Programmed)) == empty
