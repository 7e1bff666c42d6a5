# SPDX-License-Identifier: Apache-2.0
"""Who misses two heartbeats lives, and who misses three is silent: for controllers as for another
agent of the same name."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from isthmus.controller.hearing import Hearing
from isthmus.host.namesake import Namesake
from isthmus.policy.heartbeats import HEARTBEAT_S, SILENT_AFTER_S
from isthmus.policy.rows import Heartbeat, HostStatus
from tests.controller.clocks import Clock

OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"


def test_a_controller_misses_three_heartbeats() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.heard("h1")
    clock.go_on(3 * HEARTBEAT_S - 1)
    assert hearing.is_alive("h1")
    clock.go_on(1)
    assert not hearing.is_alive("h1")


def test_an_agent_of_the_same_name_misses_three_heartbeats() -> None:
    first = HostStatus(host="h1", provider_addresses=(IPv4Address("192.0.2.1"),), instance="first")
    beat, second = Heartbeat(host="h1", at_s=7), Namesake("h1", "second")
    assert second.refusal(first, beat, 0.0)
    assert second.refusal(first, beat, 3 * HEARTBEAT_S - 1)
    assert second.refusal(first, beat, 3 * HEARTBEAT_S) == ""


def test_an_operator_is_told_how_long_that_is() -> None:
    assert f"has been silent for {SILENT_AFTER_S} s" in " ".join(OPERATORS.read_text().split())
