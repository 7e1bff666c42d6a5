# SPDX-License-Identifier: Apache-2.0
"""One host as a value: what it concludes from rows and interfaces, step by step."""

from __future__ import annotations

import msgspec

from isthmus.host.dhcp import surroundings
from isthmus.host.facts import LocalPort, Plugged
from isthmus.host.ours import SouthChange
from isthmus.host.state import HostState
from isthmus.policy.rows import Claim, Port, PortStatus, Probe, RouterPort, Row, Segment
from isthmus.wire.ovsdb import RowId
from tests.agent.ovs.hosts import OTHER, WEB, forget, host, learn, plug, row_id
from tests.switches.policy_rows import TUNNEL_PORTS, claim, network_rows, port


def asked(state: HostState, table: type[Row]) -> set[str]:
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


def _statuses(state: HostState) -> dict[str, PortStatus | None]:
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


def test_the_probe_is_what_the_store_says() -> None:
    state = host()
    assert state.probe == 0
    learn(state, Probe(number=4))
    assert state.probe == 4


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
