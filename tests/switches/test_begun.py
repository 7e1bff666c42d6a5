# SPDX-License-Identifier: Apache-2.0
"""When a time begins in which an answer may be the first packet of a connection, and when not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import pytest

from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.questions import missing_flows
from isthmus.host.facts import LocalPort
from isthmus.policy.rows import Port, Rule, RuleSet
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs.begun import TCP_WINDOW_S, WINDOW_S
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, flow
from isthmus.switches.ovs.resync import difference
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_replies import InstalledFlow
from tests.agent.ovs.hosts import forget, host, learn, plug
from tests.switches.policy_rows import TUNNEL_PORTS, claim, network_rows, port
from tests.texts import applied
from tests.texts import pairs as pairs_of

SHUT, OTHER = (
    RuleSet(id="shut", in_default=Action.DENY),
    RuleSet(id="other", in_default=Action.DENY),
)
FREE = Rule(
    rule_set="shut",
    id="r",
    direction=Direction.IN,
    priority=100,
    action=Action.ALLOW,
    stateless=True,
)
DENIED = Rule(rule_set="shut", id="x", direction=Direction.IN, priority=7, action=Action.DENY)
BARE = port("red", "a", 4)
WEB = msgspec.structs.replace(BARE, rule_sets=applied("interface * shut"))
MARKED = {Stage.BEGUN_SENDER, Stage.BEGUN_RECEIVER}


def plugged(*ports: Port, among: Iterable[Rule] = ()) -> OvsHost:
    state = host("h1", *network_rows("red"), SHUT, OTHER, *among, *ports)
    learn(state, *(claim(one, "h1") for one in ports))
    plug(state, *ports)
    return state


def begun(state: OvsHost) -> list[Flow]:
    """The windows that are sent next."""
    return [one for one in state.changes().adds if one.lasts_s]


def put(state: OvsHost, old: Port | Rule, new: Port | Rule) -> None:
    forget(state, old)
    learn(state, new)


def test_a_first_list_begins_a_time_for_each_end_and_for_tcp_a_longer_one() -> None:
    state = plugged(BARE)
    assert begun(state) == []
    learn(state, WEB)
    found = begun(state)
    assert {(one.table, one.lasts_s) for one in found} == {
        (stage, seconds) for stage in MARKED for seconds in (WINDOW_S, TCP_WINDOW_S)
    }


def test_windows_come_before_all_else_and_markers_after() -> None:
    adds = plugged(WEB).changes().adds
    ranks = [0 if one.lasts_s else 2 if one.table == Stage.FOLLOWED else 1 for one in adds]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: learn(
            state, msgspec.structs.replace(WEB, rule_sets=applied("interface * other"))
        ),
        lambda state: learn(state, DENIED),
        lambda state: learn(state, msgspec.structs.replace(WEB, groups=("g",))),
    ],
    ids=["another list", "another rule", "a group"],
)
def test_who_is_followed_and_goes_on_being_followed_begins_nothing(
    change: Callable[[OvsHost], None],
) -> None:
    state = plugged(WEB)
    state.changes()
    change(state)
    assert begun(state) == []


def test_an_address_begins_for_itself() -> None:
    state = plugged(WEB)
    state.changes()
    more = (*WEB.addresses, "10.0.1.40")
    learn(state, msgspec.structs.replace(WEB, addresses=more))
    matches = {one.match for one in begun(state)}
    number = bytes((10, 0, 1, 40))
    assert matches
    assert all(number in match for match in matches)


def pairs(*networks: str, own: Iterable[str] = ()) -> Port:
    """The port with address pairs, and with further addresses of its own."""
    listed = pairs_of(*(f"{network} {WEB.mac}" for network in networks))
    return msgspec.structs.replace(WEB, pairs=listed, addresses=(*WEB.addresses, *own))


HOST, NEAR, WIDE, ALL = "10.0.1.100/32", "10.0.1.96/28", "10.0.1.0/24", "0.0.0.0/0"
OVERLAPPING = {
    "a wider pair": (pairs(HOST), pairs(HOST, NEAR)),
    "a pair of all addresses": (pairs(HOST), pairs(HOST, ALL)),
    "a wider pair in its place": (pairs(HOST), pairs(NEAR)),
    "a narrower pair": (pairs(NEAR), pairs(NEAR, HOST)),
    "a narrower pair in its place": (pairs(NEAR), pairs(HOST)),
    "the narrower goes": (pairs(NEAR, HOST), pairs(NEAR)),
    "the wider goes": (pairs(NEAR, HOST), pairs(HOST)),
    "between two": (pairs(HOST, WIDE), pairs(HOST, NEAR, WIDE)),
    "around two": (pairs(HOST, NEAR), pairs(HOST, NEAR, WIDE)),
    "within two": (pairs(NEAR, WIDE), pairs(HOST, NEAR, WIDE)),
    "the one between goes": (pairs(HOST, NEAR, WIDE), pairs(HOST, WIDE)),
    "around several": (pairs(HOST, "10.0.1.101/32"), pairs(HOST, "10.0.1.101/32", NEAR)),
    "a pair around its own address": (pairs(own=["10.0.1.100"]), pairs(NEAR, own=["10.0.1.100"])),
    "a pair of its own address": (pairs(own=["10.0.1.100"]), pairs(HOST)),
    "an own address in a pair": (pairs(NEAR), pairs(NEAR, own=["10.0.1.100"])),
    "an own address for a pair": (pairs(HOST), pairs(own=["10.0.1.100"])),
}
"""What a port may send from before and after; the addresses in both have been followed for long."""


@pytest.mark.parametrize("before, after", OVERLAPPING.values(), ids=OVERLAPPING.keys())
def test_what_overlaps_an_address_that_has_been_followed_begins_nothing(
    before: Port, after: Port
) -> None:
    state = plugged(before)
    state.changes()
    found = installed(state, without=lambda value: value.lasts_s)
    learn(state, after)
    assert begun(state) == []
    # Nor does it where the agent was away meanwhile.
    assert [one for one in _added(state, found) if one.lasts_s] == []


def test_what_overlaps_nothing_begins_beside_what_has_been_followed() -> None:
    state = plugged(pairs(HOST))
    state.changes()
    found = installed(state, without=lambda value: value.lasts_s)
    learn(state, pairs(HOST, "10.0.1.101/32"))
    number = bytes((10, 0, 1, 101))
    for sent in (begun(state), [one for one in _added(state, found) if one.lasts_s]):
        assert sent != []
        assert all(number in one.match for one in sent)


def test_pairs_that_lie_in_each_other_begin_together() -> None:
    """With the first list, and again in a switch that was started anew."""
    listed = pairs(HOST, NEAR, own=["10.0.1.97"])
    state = plugged(msgspec.structs.replace(listed, rule_sets=()))
    state.changes()
    found = installed(state, without=lambda value: value.lasts_s)
    learn(state, listed)
    ends = 4  # two pairs, two addresses
    assert len(begun(state)) == ends * 4
    assert len([one for one in _added(state, found) if one.lasts_s]) == ends * 4
    found = installed(state, without=lambda value: value.lasts_s)
    state.bridge_changed({WEB.id: LocalPort(WEB.id, 1)}, TUNNEL_PORTS, "another process")
    state.settle()
    assert len(begun(state)) == ends * 4
    assert len([one for one in _added(state, found) if one.lasts_s]) == ends * 4


def test_a_time_that_lasts_still_goes_on_for_an_address_in_a_wider_pair() -> None:
    """Its windows stay as they are; the wider pair has none."""
    state = plugged(pairs(HOST))
    state.changes()
    windows = {key for key, value in _program(state).items() if value.lasts_s}
    learn(state, pairs(HOST, NEAR))
    assert windows.isdisjoint(FlowKey(*one[:3]) for one in state.changes().deletes)


def test_what_arrives_from_another_host_begins_when_it_has_arrived() -> None:
    state = plugged(WEB)
    learn(state, claim(WEB, "h2", sequence=2))
    state.changes()
    forget(state, claim(WEB, "h2", sequence=2))
    assert begun(state) != []


def test_a_stateless_rule_that_becomes_stateful_begins_a_time() -> None:
    state = plugged(WEB, among=[FREE])
    state.changes()
    learn(state, msgspec.structs.replace(FREE, stateless=False))
    assert begun(state) != []


def test_a_rule_behind_the_last_stateless_one_begins_nothing() -> None:
    state = plugged(WEB, among=[FREE])
    state.changes()
    learn(state, msgspec.structs.replace(FREE, id="later", priority=200, stateless=False))
    assert begun(state) == []


# -- restarts --------------------------------------------------------------------------------------


def installed(state: OvsHost, *, without: Callable[[Programmed], object]) -> list[InstalledFlow]:
    return [
        InstalledFlow(*flow(key, value)[:5], 0, 0, 0)
        for key, value in _program(state).items()
        if not without(value)
    ]


def _program(state: OvsHost) -> dict[FlowKey, Programmed]:
    rows = state.engine.rows(Programmed)
    return {key: value for key, value in rows.items() if isinstance(key, FlowKey)}


def _added(state: OvsHost, found: list[InstalledFlow]) -> list[Flow]:
    return list(difference(found, _program(state), [], []).adds)


def test_a_time_that_is_over_is_not_begun_again_by_an_agent_that_starts() -> None:
    state = plugged(WEB)
    assert _added(state, installed(state, without=lambda value: value.lasts_s)) == []


def test_a_time_that_lasts_still_is_left_alone_by_an_agent_that_starts() -> None:
    state = plugged(WEB)
    found = installed(state, without=lambda value: False)
    assert difference(found, _program(state), [], [])[:2] == ((), ())


def test_an_empty_switch_begins_every_time_anew() -> None:
    state = plugged(WEB)
    assert [one for one in _added(state, []) if one.lasts_s] != []


def test_flows_that_were_saved_over_a_restart_of_the_switch_begin_a_time() -> None:
    """``ovs-ctl restart`` restores flows, markers too; the connections are lost."""
    state = plugged(WEB)
    found = installed(state, without=lambda value: value.lasts_s)
    interfaces = {WEB.id: LocalPort(WEB.id, 1)}
    state.bridge_changed(interfaces, TUNNEL_PORTS, "another process")
    state.settle()
    assert [one for one in _added(state, found) if one.lasts_s] != []


def test_a_time_that_is_over_lacks_nobody() -> None:
    """To `explain port`, a port without its windows is whole, and one without its marker is not."""
    state = plugged(WEB)
    found = installed(state, without=lambda value: value.lasts_s)
    assert missing_flows(WEB.id, state, found) == []
    unmarked = [one for one in found if one.table != Stage.FOLLOWED]
    assert [one.table for one in missing_flows(WEB.id, state, unmarked)] == [Stage.FOLLOWED]


def test_who_goes_leaves_no_time_behind() -> None:
    state = plugged(WEB)
    found = installed(state, without=lambda value: False)
    plug(state)
    gone = difference(found, _program(state), [], []).deletes
    assert {one.table for one in gone} >= {*MARKED, Stage.FOLLOWED}
