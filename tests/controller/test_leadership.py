# SPDX-License-Identifier: Apache-2.0
"""Who derives: nobody waits longer than it must, nobody takes over from one who lives."""

from __future__ import annotations

from isthmus.controller.leadership import TAKE_OVER_AFTER_S, Watch


def test_where_nobody_derives_anybody_takes_over_at_once() -> None:
    assert Watch("a").should_take_over("", {"a": 1, "b": 1}, 0.0)


def test_a_controller_that_finds_itself_named_takes_over_at_once() -> None:
    assert Watch("a").should_take_over("a", {"a": 7}, 0.0)


def test_a_holder_whose_heartbeat_moves_is_left_alone_whatever_its_clock_says() -> None:
    watch = Watch("a")
    for second in range(20):
        assert not watch.should_take_over("b", {"b": 1000 - second}, float(second))


def test_a_holder_that_stands_still_is_replaced_after_three_seconds() -> None:
    watch = Watch("a")
    assert not watch.should_take_over("b", {"b": 5}, 10.0)
    assert not watch.should_take_over("b", {"b": 5}, 10.0 + TAKE_OVER_AFTER_S - 0.1)
    assert watch.should_take_over("b", {"b": 5}, 10.0 + TAKE_OVER_AFTER_S)


def test_a_holder_that_said_good_bye_is_replaced_at_once() -> None:
    watch = Watch("a")
    assert not watch.should_take_over("b", {"b": 5}, 10.0)
    assert watch.should_take_over("b", {}, 10.1)


def test_a_holder_that_never_had_a_heartbeat_is_replaced() -> None:
    assert Watch("a").should_take_over("ghost", {"a": 1}, 0.0)
