# SPDX-License-Identifier: Apache-2.0
"""What a switch refuses closes what it is part of, is told, and is tried again."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from isthmus.agent.ovs.decisions import counted, decision_of, decisions
from isthmus.agent.ovs.host import OvsHost
from isthmus.host.facts import Problem
from isthmus.host.ours import SouthChange
from isthmus.host.reports import heartbeat
from isthmus.policy.rows import Port, Router, Row, Rule, RuleSet
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs.access_control import RULE_STAGES
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, flow, unit_of_cookie
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_replies import InstalledFlow
from tests.agent.ovs.hosts import host, learn, plug, row_id
from tests.switches.policy_rows import claim, network_rows, port
from tests.texts import applied, pairs

MEMBER = msgspec.structs.replace(port("red", "b", 6), groups=("app",))
WEB = msgspec.structs.replace(port("red", "a", 4), rule_sets=applied("interface * web"))
SET = RuleSet(id="web", in_default=Action.DENY, origin="/accessControlLists/web")
RULE = Rule(
    rule_set="web",
    id="r",
    direction=Direction.IN,
    priority=100,
    action=Action.ALLOW,
    protocol=6,
    source_groups=("app",),
    origin="/accessControlLists/web/aclRules/r",
)


def running(*rules: Rule) -> OvsHost:
    state = host("h1", *network_rows("red"), WEB, MEMBER, SET, RULE, *rules)
    plug(state, WEB)
    state.settle(whole=True)
    state.changes()
    return state


def given_by(state: OvsHost, unit: str) -> Iterator[Flow]:
    for key, value in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        giver = state.engine.giver(Programmed, key)
        if giver is not None and giver[0] == unit:
            yield flow(key, value)


def problems(state: OvsHost) -> set[str]:
    return {problem.detail for problem in state.engine.rows(Problem).values()}


INBOUND, NOTHING = "no inbound connection under web passes", "nothing passes"


@pytest.mark.parametrize(
    ("unit", "closed", "passes"),
    [
        ("rule_flows", "in web", INBOUND),
        ("membership", "in web", INBOUND),
        ("local_flows", "port", NOTHING),
    ],
)
def test_a_refused_flow_closes_the_list_or_the_port_once_and_is_tried_again(
    unit: str, closed: str, passes: str
) -> None:
    state = running()
    before = dict(state.engine.rows(Programmed))
    refused = next(given_by(state, unit))
    assert state.refused([(refused, "BAD")])
    state.settle()
    assert problems(state) == {f"the switch refuses a flow: BAD; until then {passes}"}
    assert not state.refused([(refused, "BAD")])  # once more says nothing new
    status = state.wanted_status(WEB.id, 1)
    assert status is not None
    assert (status.state, status.closed) == ("error", (closed,))
    learn(state, RuleSet(id="other"))  # policy has changed
    assert dict(state.engine.rows(Programmed)) == before
    assert problems(state) == set()


def test_a_refused_flow_of_something_else_closes_nothing_and_is_told() -> None:
    state = running()
    refused = next(given_by(state, "place"))
    assert not state.refused([(refused, "BAD")])
    assert list(state.refusals.errors.values()) == ["BAD"]
    unknown = refused._replace(priority=9)
    assert not state.refused([(unknown, "BAD")])


def test_who_is_called_like_what_is_not_whole_is_none_of_it() -> None:
    """A port may be called like a list of rules on this host, or like its network."""
    alike, network = (msgspec.structs.replace(WEB, id=name) for name in ("1 in web", "red"))
    for one, unit, status in (
        (alike, "rule_flows", ("error", ("in web",))),
        (alike, "local_flows", ("error", ("port",))),
        (network, "router_flows", ("up", ())),
    ):
        state = host("h1", *network_rows("red"), one, MEMBER, SET, RULE)
        plug(state, one)
        state.settle(whole=True)
        state.changes()
        state.refused([(next(given_by(state, unit)), "BAD")])
        state.settle()
        said = state.wanted_status(one.id, 1)
        assert said is not None
        assert (said.state, said.closed) == status, unit


def complaints(state: OvsHost) -> tuple[str, ...]:
    return heartbeat(state, at_s=1, probe=0, problems=()).problems


def test_what_two_parts_of_a_policy_say_differently_is_closed_and_told() -> None:
    """Two networks of one number: of which of them a list speaks cannot be told."""
    blue = msgspec.structs.replace(port("blue", "a", 4), rule_sets=WEB.rule_sets)
    rows: list[Row] = [*network_rows("red"), *network_rows("blue"), WEB, blue, SET, RULE]
    right = next(row for row in rows if isinstance(row, Router) and row.id == "blue")
    wrong = msgspec.structs.replace(right, rdid=1)
    state = host("h1", *(wrong if row is right else row for row in rows))
    plug(state, WEB, blue)
    state.settle(whole=True)
    for one in (WEB, blue):
        said = state.wanted_status(one.id, 1)
        assert said is not None
        assert (said.state, said.closed) == ("error", ("in web", "out web"))
        assert "no inbound connection under web passes" in said.detail
    assert any("Profile 1 in web" in problem for problem in complaints(state)), complaints(state)
    state.south_changed([SouthChange(row_id(right), wrong, right)])
    state.settle(whole=True)
    assert complaints(state) == ()
    said = state.wanted_status(WEB.id, 1)
    assert said is not None
    assert said.state == "up"


def test_two_ports_of_one_mac_address_are_told() -> None:
    twin = msgspec.structs.replace(port("red", "a", 5), mac=WEB.mac)
    state = running()
    plug(state, WEB, twin)
    learn(state, twin)
    problems_told = [
        problem for problem in complaints(state) if WEB.id in problem and twin.id in problem
    ]
    assert len(problems_told) == 1, complaints(state)


def test_ports_that_share_an_address_pair_are_no_contradiction() -> None:
    shared = pairs("10.0.1.9/32 02:00:5e:00:00:01")
    ports: list[Port] = [
        msgspec.structs.replace(port("red", "a", number), pairs=shared) for number in (8, 9)
    ]
    state = running()
    learn(state, *ports, *(claim(one, "h2") for one in ports))
    assert state.engine.conflicts() != set()  # the flows are the same, and either port's
    assert complaints(state) == ()


def test_a_cookie_leads_back_to_the_rule_or_the_default_that_made_its_flow() -> None:
    state = running()
    found = {
        decision.text: decision
        for one in given_by(state, "rule_flows")
        if (decision := decision_of(one.cookie, state)) is not None
    }
    assert set(found) == {"web/r", "default of web"}
    assert (found["web/r"].action, found["web/r"].direction) == ("allow", "in")
    assert found["web/r"].origin == RULE.origin
    assert (found["default of web"].action, found["default of web"].origin) == ("deny", SET.origin)
    assert len(decisions(state)) == 2 * (1 + 1) + 2  # inbound: rule and default; outbound: default
    other = next(given_by(state, "place"))
    assert decision_of(other.cookie, state) is None


def test_lists_that_read_alike_are_counted_apart() -> None:
    names = ("db", "web", "db web", "web interface db")
    together = msgspec.structs.replace(WEB, rule_sets=applied("interface * db", "interface * web"))
    apart = [
        msgspec.structs.replace(
            port("red", "a", 10 + number), rule_sets=applied(f"interface * {names[number]}")
        )
        for number in (2, 3)
    ]
    sets = [RuleSet(id=name, in_default=Action.DENY) for name in names]
    rules = [
        msgspec.structs.replace(RULE, rule_set=name, id=rule, source_groups=())
        for name in names
        for rule in ("r", "default", "r interface default")
    ]
    state = host("h1", *network_rows("red"), together, *apart, *sets, *rules)
    plug(state, together, *apart)
    state.settle(whole=True)
    found = list(decisions(state).values())
    # Three lists inbound at two levels, with a default and the rules of one set or of two;
    # outbound, where they have no rules, the defaults alone.
    assert len(found) == len(set(found)) == 2 * ((1 + 6) + 2 * (1 + 3)) + 3 * 2
    of_flows = {unit_of_cookie(one.cookie) for one in given_by(state, "rule_flows")}
    inbound = {cookie for cookie, one in decisions(state).items() if one.direction == "in"}
    assert of_flows == inbound


# -- what was counted ------------------------------------------------------------------------------


def test_what_stateless_rules_let_pass_is_counted_for_them_and_what_they_do_not_is_not() -> None:
    """Packets alone, before connections are looked at."""
    allowed = msgspec.structs.replace(RULE, id="plain", stateless=True)
    denied = msgspec.structs.replace(RULE, id="no", action=Action.DENY, priority=50)
    state = running(allowed, denied)
    flows = []
    for key, value in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        if key.table in (Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE):
            flows.append(InstalledFlow(*flow(key, value)[:5], n_packets=1, n_bytes=10, age_s=1))
    found = counted(flows, state).rules
    # Of both families; and no rules at the level at which no port has the list.
    assert {(decision.text, decision.level): numbers for decision, numbers in found.items()} == {
        ("web/plain", "interface"): (2, 20)
    }
    assert {(decision.action, decision.origin) for decision in found} == {("allow", RULE.origin)}
    assert {Stage(one.table) for one in flows} < set(RULE_STAGES)


def test_what_flows_have_counted_is_told_by_rule_by_stage_and_by_port() -> None:
    state = running()
    flows = []
    for key, value in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        flows.append(InstalledFlow(*flow(key, value)[:5], n_packets=3, n_bytes=300, age_s=1))
    found = counted(flows, state)
    rules = {decision.text: numbers for decision, numbers in found.rules.items()}
    # Of a rule its flows at both levels, of both families.
    assert rules["default of web"] == (3, 300)
    assert len(rules) > 1
    assert all(packets > 0 and packets % 3 == 0 for packets, _ in rules.values())
    assert found.blocked == {WEB.id: 3}
    assert found.dropped == {stage.name: 3 for stage in Stage}
