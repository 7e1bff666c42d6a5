# SPDX-License-Identifier: Apache-2.0
"""Reads of the south store what a host's ports need (`host.scope`), asking for more no more often
than the store can bear: it looks at every row for each change of conditions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from isthmus.agent import scope_file
from isthmus.host import scope
from isthmus.store.connection import Connection

NARROW_AFTER_S = 5.0
"""Until rows that are no longer needed are no longer asked for."""

STORE_SHARE = 0.2
"""Largest share of the store's time that one host may use for changes of its conditions,"""

WIDEN_AHEAD_S = 0.3
"""and how far ahead of that share it may be: a port in a network that is new to its host asks three
times, for its segment, the segment's router and all that this reaches."""


class Reading:
    """What one host reads. `on_read` is called when more has been read; `file` is where the scope
    is remembered, so that a restart asks for all of it at once."""

    def __init__(self, south: Connection, file: Path | None, on_read: Callable[[], None]) -> None:
        self.changed = asyncio.Event()
        """It is time for `widen`."""
        self._south, self._file, self._on_read = south, file, on_read
        self._wanted: scope.Conditions = {}
        """What follows from what has been read,"""
        self._asked: scope.Conditions = {}
        """what the south store has been asked for,"""
        self._read: scope.Conditions | None = None
        """and what it has given; None before the first time."""
        self._widen_after_s = 0.0
        self._narrowing: asyncio.TimerHandle | None = None

    async def start(self, wanted: scope.Conditions) -> None:
        """Begin to read. Raises Unavailable."""
        self._wanted = wanted
        # What is remembered may be out of date: then it is widened, and narrowed later.
        self._asked = scope.union(scope_file.load(self._file), wanted)
        await self._south.set_conditions(self._asked)
        await self._south.start()

    def connected(self) -> None:
        """The store has given all that it was asked for."""
        self._read = self._asked

    def follow(self, wanted: scope.Conditions) -> bool:
        """Have these conditions asked for, when it is time; whether all of it has been read."""
        self._wanted = wanted
        if self._read is None or not scope.covers(self._read, wanted):
            self.changed.set()
            return False
        if wanted != self._read and self._narrowing is None:
            # To ask for less can wait: it costs the store a look at every row, and more often than
            # not a new port is on its way to hosts just then.
            loop = asyncio.get_running_loop()
            self._narrowing = loop.call_later(NARROW_AFTER_S, self.changed.set)
        return True

    async def widen(self) -> None:
        """Ask for what the scope has come to be; what comes may widen it once more.

        The store looks at every row to answer. A few changes are asked for at once; of many that
        follow each other, as when ports come in bulk, several are asked for together.
        """
        await asyncio.sleep(max(0.0, self._widen_after_s - WIDEN_AHEAD_S - time.monotonic()))
        if self._narrowing is not None:
            self._narrowing.cancel()
            self._narrowing = None
        wanted = self._wanted
        if wanted != self._read and self._south.connected:
            self._asked = wanted
            started_s = time.monotonic()
            # How long we take to derive from what has come is no burden of the store.
            taken_s = await self._south.set_conditions(wanted)
            self._widen_after_s = max(self._widen_after_s, started_s) + taken_s / STORE_SHARE
            self._read = wanted
            self._on_read()
            scope_file.save(wanted, self._file)
