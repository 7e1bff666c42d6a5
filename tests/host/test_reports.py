# SPDX-License-Identifier: Apache-2.0
"""What a host writes to the south store, and when."""

from __future__ import annotations

import msgspec

from isthmus.host import reports
from isthmus.host.state import HostState
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.rows import Heartbeat, PortStatus
from tests.agent.ovs.hosts import WEB, host, learn, plug
from tests.switches.policy_rows import claim, network_rows


def _statuses(state: HostState) -> dict[str, PortStatus | None]:
    return {name: state.wanted_status(name, 7) for name in state.take_reports()}


def operations(state: HostState) -> list[tuple[object, object]]:
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
