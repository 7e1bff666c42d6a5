# SPDX-License-Identifier: Apache-2.0
"""When a switch that somebody else has changed is read again, and what is told of it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from isthmus.agent.ovs.comparing import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    NONE,
    TOLD_S,
    Comparing,
    Difference,
    Tally,
    difference,
)
from isthmus.agent.ovs.host import OvsHost
from isthmus.policy.rows import RuleSet
from isthmus.policy.values import Action
from isthmus.switches.ovs.facts import Meter
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.switches.ovs.resync import openflow_meter
from isthmus.wire import openflow as of
from tests.agent.ovs.hosts import WEB, forget, host, learn, plug
from tests.switches.policy_rows import claim, network_rows, port

SHUT = RuleSet(id="shut", in_default=Action.DENY)
BEGUN = Stage.BEGUN_SENDER


def programmed() -> OvsHost:
    """A host with rules, whose switch has all."""
    state = host("h1", *network_rows("red"), SHUT)
    filtered = port("red", "a", 6)
    learn(state, WEB, filtered, claim(WEB, "h1"))
    plug(state, WEB, filtered)
    learn(state, RuleSet(id="other"))
    state.changes()
    return state


def by_table(state: OvsHost, *, lasting_only: bool = False) -> dict[int, int]:
    found = Counter[int]()
    for key, row in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        assert isinstance(row, Programmed)
        found[key.table] += not (lasting_only and row.lasts_s)
    return dict(found)


def meters_of(state: OvsHost) -> list[of.Meter]:
    return [openflow_meter(one) for one in state.engine.rows(Meter).values()]


def compared(state: OvsHost, tables: dict[int, int], refused: tuple[FlowKey, ...] = ()) -> object:
    return difference(state.tally, refused, tables, meters_of(state))


def test_a_switch_that_has_what_was_sent_is_not_another_however_that_came_about() -> None:
    state = programmed()
    assert compared(state, by_table(state)) == NONE
    plug(state)
    forget(state, claim(WEB, "h1"), WEB)
    state.skip_changes()
    assert compared(state, by_table(state)) == NONE
    learn(state, WEB)
    plug(state, WEB)
    state.changes()
    assert compared(state, by_table(state)) == NONE


def test_what_has_ended_by_itself_is_not_missed() -> None:
    tally = Tally()
    tally.lasting.update({BEGUN: 3})
    tally.passing.update({BEGUN: 4})
    for has in range(3, 8):
        assert difference(tally, (), {BEGUN: has}, ()) == NONE
    assert difference(tally, (), {BEGUN: 2}, ()) == Difference(flows=1)
    assert difference(tally, (), {BEGUN: 8}, ()) == Difference(foreign_flows=1)


def test_flows_of_a_table_that_are_gone_and_those_of_others_are_counted() -> None:
    state = programmed()
    tables = by_table(state)
    there = tables.pop(Stage.JUDGE)
    assert compared(state, {**tables, 200: 2}) == Difference(flows=there, foreign_flows=2)
    assert compared(state, {}) == Difference(flows=sum(by_table(state, lasting_only=True).values()))


def test_a_flow_that_the_switch_refused_is_not_missed_nor_is_its_predecessor_too_much() -> None:
    state = programmed()
    key = next(
        k
        for k in state.engine.rows(Programmed)
        if isinstance(k, FlowKey) and k.table == Stage.JUDGE
    )
    tables = by_table(state)
    without = {**tables, Stage.JUDGE: tables[Stage.JUDGE] - 1}
    assert compared(state, without) == Difference(flows=1)
    assert compared(state, without, (key,)) == NONE
    assert compared(state, tables, (key,)) == NONE


def test_meters_that_are_gone_or_others_are_counted() -> None:
    state = programmed()
    ours, tables = meters_of(state), by_table(state)
    assert ours
    slower = ours[0]._replace(rate=1)
    for meters, found in (
        (ours, NONE),
        ([], Difference(meters=len(ours))),
        ([slower, *ours[1:]], Difference(meters=1)),
        ([*ours, slower._replace(id=999_999)], Difference(foreign_meters=1)),
    ):
        assert difference(state.tally, (), tables, meters) == found


def test_it_is_read_at_once_and_where_that_mends_nothing_less_and_less_often() -> None:
    comparing, read = Comparing("br-int"), []
    for now_s in range(0, 3000, 5):
        if comparing.found(Difference(flows=1), float(now_s)):
            read.append(now_s)
    assert read[:4] == [0, 5, 15, 35]
    assert max(b - a for a, b in pairwise(read)) == LONGEST_DELAY_S
    assert comparing.count == 1
    assert not comparing.found(NONE, 3000.0)
    assert comparing.found(Difference(flows=1), 3001.0), "it was put back, and is gone again"
    assert comparing.found(Difference(flows=2), 3002.0), "more is gone"
    assert not comparing.found(Difference(flows=2), 3003.0)
    assert comparing.found(Difference(flows=2), 3002.0 + FIRST_DELAY_S)
    assert comparing.count == 3


def test_it_is_told_for_a_time_with_how_often_it_was() -> None:
    comparing = Comparing("br-int")
    assert comparing.problems(0.0) == []
    comparing.found(Difference(flows=38, meters=2), 100.0)
    (problem,) = comparing.problems(101.0)
    assert (problem.code, problem.about) == ("switch-changed", "br-int")
    assert "38 flows were gone, 2 meters" in problem.finding
    assert "being put back" in problem.finding
    comparing.found(NONE, 105.0)
    assert "it was put back" in comparing.problems(106.0)[0].finding
    comparing.found(Difference(foreign_flows=1), 200.0)
    comparing.found(NONE, 205.0)
    assert "2 times" in comparing.problems(206.0)[0].finding
    assert comparing.problems(200.0 + TOLD_S + 1) == []


def test_what_is_lent_to_a_table_for_a_moment_is_nobody_else_s() -> None:
    state = programmed()
    tables = Counter(by_table(state))
    tables[Stage.DELIVER] += 1
    assert compared(state, dict(tables)) == Difference(foreign_flows=1)
    state.tally.lend(Stage.DELIVER, 1)
    assert compared(state, dict(tables)) == NONE
    state.tally.lend(Stage.DELIVER, -1)
    assert compared(state, dict(tables)) == Difference(foreign_flows=1)
