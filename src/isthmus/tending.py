# SPDX-License-Identifier: Apache-2.0
"""Work that a process does again and again, and that never ends the process.

What fails with one of our own errors is logged and tried again: something is away. What fails with
anything else is a fault of ours, or of what we were told; it is logged with its traceback once, and
again when it is another, is told for as long as it lasts (`Tending.faults`), and is tried again:
the other works of the process go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Never

from isthmus.errors import IsthmusError

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

PAUSE_S = 0.2
"""After a failure, before the next attempt;"""
FAULT_PAUSE_S = 2.0
"""after one that nobody knows, which is less likely to be over soon."""


class Tending:
    """The works of one process, by name."""

    def __init__(self, *, fault_pause_s: float = FAULT_PAUSE_S) -> None:
        self.faults: dict[str, str] = {}
        """Works of which the last attempt failed with what is no error of ours, and with what."""
        self._fault_pause_s = fault_pause_s

    async def attempt(self, name: str, work: Work) -> bool:
        """Do the work once; whether it went well. Only cancellation is raised."""
        try:
            await work()
        except IsthmusError as error:
            log.warning("work=%s error=%s", name, error)
            self.went_well(name)
            return False
        except Exception as error:
            self.failed(name, error)
            return False
        self.went_well(name)
        return True

    async def whenever(self, name: str, event: asyncio.Event, work: Work) -> Never:
        """Do the work after each event, and again after a pause when it failed."""
        while True:
            await event.wait()
            event.clear()
            if not await self.attempt(name, work):
                await asyncio.sleep(self._fault_pause_s if name in self.faults else PAUSE_S)
                event.set()

    async def every(self, seconds: float, name: str, work: Work) -> Never:
        """Do the work after each pause of so long."""
        while True:
            await asyncio.sleep(seconds)
            await self.attempt(name, work)

    def failed(self, name: str, error: Exception) -> None:
        """An attempt has failed. To be called while the error is handled."""
        text = repr(error)
        if self.faults.get(name) != text:
            log.exception("work=%s fault=%s", name, text)
        self.faults[name] = text

    def went_well(self, name: str) -> None:
        """The fault of a work, if it had one, is over."""
        if self.faults.pop(name, None) is not None:
            log.info("work=%s fault=over", name)
