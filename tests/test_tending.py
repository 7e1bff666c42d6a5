# SPDX-License-Identifier: Apache-2.0
"""Works that fail, for whatever reason: the process goes on, and says so."""

from __future__ import annotations

import asyncio
import logging

import pytest

from isthmus.errors import Unavailable
from isthmus.tending import Tending

FAULTS = [ValueError("no IPv4"), OSError(24, "Too many open files"), RuntimeError("x"), KeyError(1)]


class Failing:
    """Fails with each of some errors in turn, then works."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = [*errors]
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.done.set()


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_what_fails_is_told_tried_again_and_logged_with_its_traceback_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        tending, event = Tending(fault_pause_s=0), asyncio.Event()
        work = Failing(error, error, error)
        assert not await tending.attempt("work", work)
        assert tending.faults == {"work": repr(error)}
        event.set()
        task = asyncio.create_task(tending.whenever("work", event, work))
        async with asyncio.timeout(10):
            await work.done.wait()
        await asyncio.sleep(0)
        assert not task.done()
        assert tending.faults == {}
        task.cancel()

    with caplog.at_level(logging.ERROR):
        asyncio.run(go())
    assert len([one for one in caplog.records if one.exc_info]) == 1


def test_another_fault_of_the_same_work_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        tending, work = Tending(fault_pause_s=0), Failing(*FAULTS)
        task = asyncio.create_task(tending.every(0, "work", work))
        async with asyncio.timeout(10):
            await work.done.wait()
        assert not task.done()
        task.cancel()

    with caplog.at_level(logging.ERROR):
        asyncio.run(go())
    assert len([one for one in caplog.records if one.exc_info]) == len(FAULTS)


def test_what_is_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        tending = Tending()
        assert not await tending.attempt("work", Failing(Unavailable("the store is away")))
        assert tending.faults == {}

    asyncio.run(go())
    assert [one.exc_info for one in caplog.records] == [None]


def test_cancelling_ends_it() -> None:
    async def go() -> None:
        async def work() -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(Tending().attempt("work", work))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
