# SPDX-License-Identifier: Apache-2.0
"""Guests that come and go leave nothing behind in their host's agent."""

from __future__ import annotations

import msgspec

from isthmus.agent.ovs.host import OvsHost
from isthmus.host import reports
from isthmus.host.ours import SouthChange
from isthmus.policy.rows import Port, Row
from tests.agent.ovs.hosts import forget, host, learn, plug, row_id
from tests.census import held_in, more_than
from tests.switches.policy_rows import network_rows, port
from tests.texts import pairs


def settle(state: OvsHost, rows: dict[object, Row]) -> None:
    """As the process does it: derive, take what is to be told, and hear it back from the store."""
    for _ in range(3):
        state.settle(whole=True)
        state.conditions()
        state.changes()
        state.forgotten()
        for name in state.take_reports():
            status = state.wanted_status(name, 7)
            wanted = [state.wanted_claim(name), status, *state.wanted_learned(name).values()]
            told: list[Row] = [row for row in wanted if row is not None]
            mine = {(type(row), row.key): row for row in told}
            gone = [
                (key, row) for key, row in rows.items() if of_port(row, name) and key not in mine
            ]
            for key, row in gone:
                del rows[key]
                state.south_changed([SouthChange(row_id(row), row, None)])
            for place, row in mine.items():
                before = rows.get(place)
                if before != row:
                    rows[place] = row
                    state.south_changed([SouthChange(row_id(row), before, row)])
        state.numbers.programmed()


def of_port(row: Row, name: str) -> bool:
    return getattr(row, "port", "") == name


def test_ports_that_are_plugged_and_unplugged_leave_nothing() -> None:
    state, rows = host("h1", *network_rows("red")), dict[object, Row]()
    plug(state)
    settle(state, rows)
    before = None
    for turn in range(4):
        ports: list[Port] = []
        for number in range(4):
            one = port("red", "a", 4 + 4 * turn + number)
            ports.append(
                msgspec.structs.replace(
                    one, profile_id=f"p{turn}-{number}", pairs=pairs(f"10.0.1.200/32 {one.mac}")
                )
            )
        learn(state, *ports)
        plug(state, *ports)
        for number in range(1, 5):
            state.frame_seen(number)
            state.pair_seen(number, "10.0.1.200", ports[number - 1].mac)
        settle(state, rows)
        assert len(rows) > 8
        plug(state)
        settle(state, rows)
        forget(state, *ports)
        settle(state, rows)
        assert rows == {}
        after = held_in(state=state)
        # The first turn has made what stays: the tables' own.
        if before is None:
            before = after
        assert more_than(after, before) == {}, turn
    assert [*reports.port_operations(state, {})] == []
