# SPDX-License-Identifier: Apache-2.0
"""Events for clients that wait: in order, none lost unsaid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from isthmus.controller.events import MOST, Event, Events


async def take(stream: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(60):
        return [await anext(stream) for _ in range(count)]


def followed(events: Events, after: str, count: int) -> list[Event]:
    return asyncio.run(take(events.follow(after), count))


def numbered(*numbers: int) -> list[Event]:
    return [Event(number, "resource", f"/r{number}") for number in numbers]


def with_events(count: int) -> Events:
    events = Events()
    for number in range(1, count + 1):
        events.add("resource", f"/r{number}")
    return events


def test_who_comes_anew_hears_what_happens_from_then_on() -> None:
    events = with_events(3)

    async def run() -> list[Event]:
        stream = events.follow("")
        waiting = asyncio.create_task(take(stream, 2))
        await asyncio.sleep(0)
        events.add("resource", "/r4")
        events.add("resource", "/r5")
        return await waiting

    assert asyncio.run(run()) == numbered(4, 5)


def test_who_was_cut_off_goes_on_after_the_last_event_that_it_heard() -> None:
    events = with_events(5)
    assert followed(events, events.identifier(3), 2) == numbered(4, 5)
    assert followed(events, events.identifier(0), 5) == numbered(1, 2, 3, 4, 5)


def test_who_was_away_for_too_long_is_told_to_read_everything_anew() -> None:
    events = with_events(MOST + 10)
    assert followed(events, events.identifier(9), 1) == [Event(MOST + 10, "reset", "")]
    assert followed(events, events.identifier(10), 1) == numbered(11)


@pytest.mark.parametrize("after", ["x", "-", "1", "deadbeef-1", "-1", "{epoch}-", "{epoch}-x"])
def test_what_no_event_of_this_process_was_called_is_a_reset(after: str) -> None:
    events = with_events(2)
    epoch = events.identifier(1).partition("-")[0]
    assert followed(events, after.replace("{epoch}", epoch), 1) == [Event(2, "reset", "")]


def test_an_event_of_the_future_or_of_another_controller_is_a_reset() -> None:
    events, other = with_events(2), with_events(2)
    assert followed(events, events.identifier(3), 1) == [Event(2, "reset", "")]
    assert followed(events, other.identifier(1), 1) == [Event(2, "reset", "")]


def test_after_a_reset_events_go_on_and_its_number_is_good_to_resume() -> None:
    events = with_events(2)

    async def run() -> list[Event]:
        stream = events.follow("gone-7")
        found = await take(stream, 1)
        events.add("resource", "/r3")
        return found + await take(stream, 1)

    assert asyncio.run(run()) == [Event(2, "reset", ""), *numbered(3)]
    assert followed(events, events.identifier(2), 1) == numbered(3)


def test_one_that_is_slow_gets_all_that_came_meanwhile_and_holds_up_nobody() -> None:
    events = Events()

    async def run() -> tuple[list[Event], list[Event]]:
        slow, quick = events.follow(""), events.follow("")
        first = [asyncio.create_task(take(one, 1)) for one in (slow, quick)]
        await asyncio.sleep(0)
        for number in range(1, 101):
            events.add("resource", f"/r{number}")
        await asyncio.gather(*first)
        return await take(slow, 99), await take(quick, 99)

    assert asyncio.run(run()) == (numbered(*range(2, 101)), numbered(*range(2, 101)))


def test_who_has_gone_is_not_waited_for() -> None:
    events = Events()

    async def run() -> None:
        async def listen() -> None:
            async for _ in events.follow(""):
                pass

        task = asyncio.create_task(listen())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert not events._waiting
