# SPDX-License-Identifier: Apache-2.0
"""The rows that a host has written, as the store has them."""

from __future__ import annotations

import pytest

from isthmus.host.ours import Ours, Stored
from isthmus.policy.rows import Heartbeat, HostStatus, LearnedAddress, PortStatus, Row
from isthmus.policy.values import PortState
from isthmus.wire.ovsdb import RowId
from tests.switches.policy_rows import claim, port

WEB = port("red", "a", 4)
LEARNED = LearnedAddress(
    address="10.0.1.100", port=WEB.id, host="h1", segment="red/a", mac=WEB.mac, sequence=1
)
STATUS = PortStatus(
    port=WEB.id, host="h1", segment="red/a", revision="", state=PortState.UP, changed_us=1
)
FIRST, SECOND = RowId("first"), RowId("second")


def made(*rows: Row) -> Ours:
    ours = Ours("h1", "second-agent@192.0.2.1")
    for row in rows:
        ours.note(FIRST, row, gone=False)
    return ours


@pytest.mark.parametrize("row", [claim(WEB, "h1"), STATUS, LEARNED], ids=repr)
def test_what_is_said_of_a_port_is_kept_until_it_goes(row: Row) -> None:
    ours = made()
    assert not ours.has(WEB.id)
    assert ours.note(FIRST, row, gone=False)
    assert ours.has(WEB.id)
    assert ours.note(FIRST, row, gone=True)
    assert not ours.has(WEB.id)


def test_a_row_that_goes_takes_only_itself_along() -> None:
    ours = made(claim(WEB, "h1"))
    ours.note(SECOND, claim(WEB, "h1", "active", 2), gone=False)
    ours.note(FIRST, claim(WEB, "h1"), gone=True)
    assert ours.claims == {WEB.id: Stored(SECOND, claim(WEB, "h1", "active", 2))}


def test_what_other_hosts_say_is_none_of_ours() -> None:
    ours = made()
    for row in (claim(WEB, "h2"), HostStatus(host="h2"), Heartbeat(host="h2", at_s=1)):
        assert not ours.note(FIRST, row, gone=False)
    assert not ours.has(WEB.id)
    assert (ours.heartbeat, ours.second_beat, ours.host_status) == (None, None, None)


def test_heartbeats_are_kept_by_the_name_that_they_are_under() -> None:
    ours = made(Heartbeat(host="h1", at_s=1), Heartbeat(host="second-agent@192.0.2.1", at_s=2))
    assert ours.heartbeat is not None
    assert ours.second_beat is not None
    assert (ours.heartbeat.row.at_s, ours.second_beat.row.at_s) == (1, 2)
