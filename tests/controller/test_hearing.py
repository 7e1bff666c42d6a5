# SPDX-License-Identifier: Apache-2.0
"""Who is alive, by the reader's own clock, whatever the host's clock says."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.controller.hearing import Hearing
from isthmus.controller.observed_state import ObservedState
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.rows import Heartbeat, Host
from tests.controller.clocks import Clock

OFF_S = [0, 6, -6, 120, -120, 10**6, -(10**6), 1_831_300_000_000]
"""By how much a host's clock is ahead of ours."""

NOW_S = 1_700_000_000


def test_a_host_that_was_never_heard_of_is_not_alive() -> None:
    hearing = Hearing(Clock())
    assert (hearing.age_s("h1"), hearing.is_alive("h1")) == (None, False)


@pytest.mark.parametrize("off_s", OFF_S)
def test_a_dead_host_is_silent_after_ninety_seconds_whatever_its_clock_says(off_s: int) -> None:
    clock = Clock()
    made = ObservedState(lambda: NOW_S, Hearing(clock))
    made.change(None, Host(id="h1", certificate_name="h1"))
    beat = Heartbeat(host="h1", at_s=NOW_S + off_s)
    made.change(None, beat)
    for _ in range(5):
        clock.go_on(30)
        before, beat = beat, msgspec.structs.replace(beat, at_s=beat.at_s + 30)
        made.change(before, beat)
        assert made.is_alive("h1")
    clock.go_on(SILENT_AFTER_S - 1)
    assert (made.host_view("h1").age_s, made.is_alive("h1")) == (SILENT_AFTER_S - 1, True)
    clock.go_on(1)
    assert (made.host_view("h1").age_s, made.is_alive("h1")) == (SILENT_AFTER_S, False)
    made.change(beat, msgspec.structs.replace(beat, at_s=beat.at_s + 300))
    assert (made.host_view("h1").age_s, made.is_alive("h1")) == (0, True)


def test_a_clock_that_is_set_back_is_a_heartbeat_like_any_other() -> None:
    clock = Clock()
    made = ObservedState(lambda: NOW_S, Hearing(clock))
    beat = Heartbeat(host="h1", at_s=NOW_S)
    made.change(None, beat)
    clock.go_on(SILENT_AFTER_S)
    made.change(beat, Heartbeat(host="h1", at_s=NOW_S - 3600))
    assert made.is_alive("h1")


def test_nobody_is_silent_because_we_could_not_hear() -> None:
    clock = Clock()
    hearing = Hearing(clock)
    hearing.heard("h1")
    clock.go_on(1000)
    hearing.listen()
    assert (hearing.age_s("h1"), hearing.is_alive("h1")) == (1000, True)
    assert not hearing.is_alive("never heard of")
    clock.go_on(SILENT_AFTER_S)
    assert not hearing.is_alive("h1")


def test_a_host_that_was_removed_was_never_heard_of() -> None:
    made = ObservedState(lambda: NOW_S, Hearing(Clock()))
    beat = Heartbeat(host="h1", at_s=NOW_S)
    made.change(None, beat)
    made.change(beat, None)
    assert made.host_views() == []
    assert not made.is_alive("h1")
