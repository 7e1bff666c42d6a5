# SPDX-License-Identifier: Apache-2.0
"""Of two agents under one name one speaks: the first, for as long as it lives."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec

from isthmus.agent.instance import instance_of
from isthmus.host.namesake import Namesake, second_name
from isthmus.host.reports import beat_operations
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.rows import Heartbeat, HostStatus
from tests.agent.ovs.hosts import host, learn

FIRST = HostStatus(host="h1", provider_addresses=(IPv4Address("192.0.2.1"),), instance="first")


def beat(at_s: int) -> Heartbeat:
    return Heartbeat(host="h1", at_s=at_s)


def test_a_host_that_nobody_else_is_may_speak() -> None:
    second = Namesake("h1", "second")
    assert second.refusal(None, None, 0.0) == ""
    mine = msgspec.structs.replace(FIRST, instance="second")
    assert second.refusal(mine, beat(1), 1.0) == ""


def test_rows_of_an_agent_that_knew_no_instances_are_anybody_s() -> None:
    old = msgspec.structs.replace(FIRST, instance="")
    assert Namesake("h1", "second").refusal(old, beat(1), 0.0) == ""


def test_a_second_agent_is_refused_for_as_long_as_the_first_lives_whatever_the_clocks() -> None:
    second = Namesake("h1", "second")
    for turn in range(20):
        said = second.refusal(FIRST, beat(10**9 - 7 * turn), 30.0 * turn)
        assert "another agent, at 192.0.2.1, is called h1 too" in said
        assert "isthmus host remove h1" in said


def test_a_second_agent_takes_over_when_the_first_has_been_silent() -> None:
    second = Namesake("h1", "second")
    assert second.refusal(FIRST, beat(7), 100.0)
    assert second.refusal(FIRST, beat(7), 100.0 + SILENT_AFTER_S - 1)
    assert second.refusal(FIRST, beat(8), 100.0 + SILENT_AFTER_S - 0.5)
    assert second.refusal(FIRST, beat(8), 100.0 + 2 * SILENT_AFTER_S - 1)
    assert second.refusal(FIRST, beat(8), 100.0 + 2 * SILENT_AFTER_S) == ""


def test_the_first_is_refused_when_it_wakes_up_after_another_has_taken_over() -> None:
    first = Namesake("h1", "first")
    assert first.refusal(FIRST, beat(7), 0.0) == ""
    taken = msgspec.structs.replace(
        FIRST, instance="second", provider_addresses=(IPv4Address("192.0.2.9"),)
    )
    assert "another agent, at 192.0.2.9" in first.refusal(taken, beat(8), 1000.0)


def test_when_the_rows_are_removed_anybody_may_speak_at_once() -> None:
    second = Namesake("h1", "second")
    assert second.refusal(FIRST, beat(7), 0.0)
    assert second.refusal(None, None, 1.0) == ""
    assert second.refusal(FIRST, beat(7), SILENT_AFTER_S + 1)  # counted anew


def test_the_mark_of_a_machine_stays_and_is_another_for_another_switch() -> None:
    assert instance_of("a") == instance_of("a") != instance_of("b")
    assert second_name(IPv4Address("192.0.2.9")) == "second-agent@192.0.2.9"


def test_another_host_s_heartbeat_is_never_taken_for_what_we_said_under_a_second_name() -> None:
    """A scope that was remembered under that host's name reads its heartbeat as well."""
    state = host("h2")
    learn(state, beat(7))
    assert list(beat_operations(state, Heartbeat(host="h2", at_s=8)))[1:] == []
    learn(state, Heartbeat(host=state.second_name, at_s=7))
    _, gone = beat_operations(state, Heartbeat(host="h2", at_s=8))
    assert gone["op"] == "delete"
