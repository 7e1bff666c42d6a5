# SPDX-License-Identifier: Apache-2.0
"""One host as a value: what it concludes from rows and interfaces, step by step."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest

from isthmus.agent.ovs.host import OvsHost
from isthmus.host import reports
from isthmus.host.dhcp import surroundings
from isthmus.host.facts import Identity, LocalPort, Plugged
from isthmus.host.ours import SouthChange
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.rows import Claim, Heartbeat, Port, PortStatus, Probe, RouterPort, Row, Segment
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow
from isthmus.wire.ovsdb import RowId
from tests.switches.policy_rows import (
    BOTH,
    TUNNEL_PORTS,
    claim,
    host_rows,
    network_rows,
    port,
    provider_address,
)

WEB, OTHER = port("red", "a", 4), port("red", "b", 5)


def row_id(row: Row) -> RowId:
    return RowId(f"{type(row).__name__} {row.key}")


def learn(state: OvsHost, *rows: Row) -> None:
    state.south_changed([SouthChange(row_id(row), None, row) for row in rows])
    state.settle()


def forget(state: OvsHost, *rows: Row) -> None:
    state.south_changed([SouthChange(row_id(row), row, None) for row in rows])
    state.settle()


def plug(state: OvsHost, *plugged: Port | str) -> None:
    names = [one if isinstance(one, str) else one.id for one in plugged]
    interfaces = {name: LocalPort(name, number) for number, name in enumerate(names, 1)}
    state.bridge_changed(interfaces, TUNNEL_PORTS)
    state.settle()


def host(name: str = "h1", *rows: Row) -> OvsHost:
    state = OvsHost(Identity(name, IPv4Address(provider_address(name)), BOTH))
    plug(state)
    learn(state, *host_rows(), *rows)
    return state


def asked(state: OvsHost, table: type[Row]) -> set[str]:
    """The values that the host asks for of a table."""
    return {value for _, _, value in state.conditions()[table]}


def test_a_host_asks_for_its_interfaces_then_for_what_they_can_reach() -> None:
    state = host()
    assert asked(state, Port) == set()
    plug(state, WEB)
    assert asked(state, Port) == {WEB.id}
    assert asked(state, Segment) == set()
    learn(state, WEB)
    assert asked(state, Port) == {"red/a"}
    assert asked(state, Segment) == {"red/a"}
    learn(state, *(row for row in network_rows("red") if isinstance(row, RouterPort)))
    assert asked(state, Segment) == {"red/a", "red/b"}
    assert "red" in asked(state, RouterPort)
    before = state.conditions()
    learn(state, port("red", "b", 9))
    assert state.conditions() is before
    plug(state)
    assert asked(state, Segment) == set()
    assert asked(state, Claim) == {"h1"}


def test_an_interface_may_name_the_profile_of_a_port() -> None:
    named = msgspec.structs.replace(WEB, profile_id="aaaa")
    state = host("h1", *network_rows("red"), named)
    plug(state, "aaaa")
    assert asked(state, Segment) == {"red/a", "red/b"}
    found = state.wanted_claim(WEB.id)
    assert found is not None
    assert found.state == "active"
    behind = state.port_behind(1)
    assert behind is not None
    assert behind.id == WEB.id


def _statuses(state: OvsHost) -> dict[str, PortStatus | None]:
    return {name: state.wanted_status(name, 7) for name in state.take_reports()}


def test_what_is_reported_follows_revision_and_problems() -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB)
    found = _statuses(state)[WEB.id]
    assert found is not None
    assert (found.state, found.code, found.changed_us) == ("up", "Success", 7)
    learn(state, found)
    state.take_reports()
    newer = msgspec.structs.replace(WEB, revision="r2")
    learn(state, newer)
    again = _statuses(state)[WEB.id]
    assert again is not None
    assert again.revision == "r2"
    blocked = msgspec.structs.replace(newer, hosts=("h2",))
    learn(state, blocked)
    refused = _statuses(state)[WEB.id]
    assert refused is not None
    assert (refused.state, refused.code) == ("error", "PortBlocked")
    plug(state)
    assert _statuses(state) == {WEB.id: None}


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
    found = _statuses(state)[WEB.id]
    assert found is not None
    assert found.state == "error"
    assert "BAD_ACTION" in found.detail


def operations(state: OvsHost) -> list[tuple[object, object]]:
    """What would be written now: the operation and its table."""
    found = list(reports.port_operations(state, _statuses(state)))
    return [(operation["op"], operation["table"]) for operation in found]


def test_reports_are_written_once_and_taken_back_when_the_port_leaves() -> None:
    state = host("h1", *network_rows("red"), WEB)
    plug(state, WEB)
    statuses = _statuses(state)
    first = [
        (operation["op"], operation["table"])
        for operation in reports.port_operations(state, statuses)
    ]
    assert first == [("insert", "Claim"), ("insert", "Port_Status")]
    status = statuses[WEB.id]
    assert status is not None
    learn(state, claim(WEB, "h1"), status)
    assert operations(state) == []
    plug(state)
    assert operations(state) == [("delete", "Claim"), ("delete", "Port_Status")]


def test_a_move_is_standby_then_active_at_the_first_frame_and_the_old_host_keeps_its_claim() -> (
    None
):
    old, new = (host(name, *network_rows("red"), WEB) for name in ("h1", "h2"))
    plug(old, WEB)
    first = old.wanted_claim(WEB.id)
    assert first is not None
    for state in (old, new):
        learn(state, first)
    plug(new, WEB)
    second = new.wanted_claim(WEB.id)
    assert second is not None
    assert second.state == "standby"
    for state in (old, new):
        learn(state, second)
    new.frame_seen(1)
    third = new.wanted_claim(WEB.id)
    assert third is not None
    assert (third.state, third.sequence) == ("active", 2)
    for state in (old, new):
        state.south_changed([SouthChange(row_id(second), second, third)])
        state.settle()
    assert old.wanted_claim(WEB.id) == first
    status = old.wanted_status(WEB.id, 1)
    assert status is not None
    assert status.state == "standby"
    # Back again at once: what is plugged anew claims anew.
    old.bridge_changed({WEB.id: LocalPort(WEB.id, 9)}, TUNNEL_PORTS)
    old.settle()
    back = old.wanted_claim(WEB.id)
    assert back is not None
    assert back.state == "standby"
    old.frame_seen(9)
    home = old.wanted_claim(WEB.id)
    assert home is not None
    assert (home.state, home.sequence) == ("active", 3)


def test_a_row_that_another_of_its_key_replaces_does_not_vanish_in_either_order() -> None:
    state = host("h1", *network_rows("red"), WEB)
    replaced = msgspec.structs.replace(WEB, mac="02:00:00:00:00:99")
    gone = SouthChange(RowId("old"), WEB, None)
    came = SouthChange(RowId("new"), None, replaced)
    for changes in ([gone, came], [came, gone]):
        state.south_changed(changes)
        state.settle()
        assert state.engine.rows(Port)[WEB.id] == replaced


def test_dhcp_needs_segment_subnet_and_address() -> None:
    state = host("h1", *network_rows("red"), WEB)
    found = surroundings(state.engine, WEB)
    assert found is not None
    segment, subnet, _ = found
    assert (segment.id, subnet.prefix) == ("red/a", "10.0.1.0/24")
    elsewhere = msgspec.structs.replace(WEB, dhcp_address="10.9.9.9")
    assert surroundings(state.engine, elsewhere) is None
    assert surroundings(state.engine, msgspec.structs.replace(WEB, dhcp_address="")) is None
    assert surroundings(state.engine, port("blue", "a", 4)) is None


def test_the_heartbeat_is_written_when_it_is_due_or_says_something_new() -> None:
    state = host()

    def tables(beat: Heartbeat) -> list[object]:
        return [operation["table"] for operation in reports.beat_operations(state, beat)]

    beat = Heartbeat(host="h1", at_s=100)
    assert tables(beat) == ["Heartbeat"]
    learn(state, beat)
    assert tables(msgspec.structs.replace(beat, at_s=100 + HEARTBEAT_S - 1)) == []
    assert tables(msgspec.structs.replace(beat, at_s=100 + HEARTBEAT_S)) == ["Heartbeat"]
    assert tables(msgspec.structs.replace(beat, probe=1)) == ["Heartbeat"]
    assert tables(msgspec.structs.replace(beat, problems=("x",))) == ["Heartbeat"]
    # A clock that was set back must not silence the host for as long.
    assert tables(msgspec.structs.replace(beat, at_s=50)) == ["Heartbeat"]


def test_the_probe_is_what_the_store_says() -> None:
    state = host()
    assert state.probe == 0
    learn(state, Probe(number=4))
    assert state.probe == 4


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


def test_of_two_ports_of_one_name_the_one_whose_id_it_is_is_meant() -> None:
    """An interface names a port by its id or by its profile id, and an id may be any of these."""
    other = msgspec.structs.replace(OTHER, profile_id=WEB.id)
    state = host("h1", *network_rows("red"), WEB, other)
    plug(state, WEB.id)
    state.settle(whole=True)
    assert [plugged.port for plugged in state.engine.rows(Plugged).values()] == [WEB.id]
    assert state.local_port(other) is None
    assert state.port_behind(1) == WEB
    forget(state, WEB)
    assert [plugged.port for plugged in state.engine.rows(Plugged).values()] == [OTHER.id]


@pytest.mark.xfail(
    strict=True,
    reason="who has a port is decided in claims, in the switch's locations and in reach alike, and"
    " by sequences alone: the decision first moves into one place",
)
def test_a_guest_that_speaks_here_is_not_held_back_by_what_a_dead_host_said_before() -> None:
    """The port was here, moved to h2 while our agent was away, and h2 died with it. Started anew on
    this host the guest runs and speaks; what h2 has said before it died is not what it says now."""
    ours, theirs = claim(WEB, "h1", "active", 3), claim(WEB, "h2", "active", 4)
    state = host("h1", *network_rows("red"), WEB, ours, theirs)
    plug(state, WEB)
    state.frame_seen(1)
    state.settle()
    wanted = state.wanted_claim(WEB.id)
    assert wanted is not None
    assert (wanted.state, wanted.sequence) == ("active", 5)
