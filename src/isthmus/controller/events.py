# SPDX-License-Identifier: Apache-2.0
"""What has happened, for clients that wait: a bounded list of events, each with a number, so that
who was cut off goes on where it was.

An event says what changed and not how: whoever reads it sees the state at the time of reading. So
many changes of one thing cost a client no more than it can take.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from itertools import islice
from typing import NamedTuple
from uuid import uuid4

from isthmus.api.interfaces import Change, Wanted
from isthmus.intent.model import Stored

MOST = 20_000
"""Events kept: a client that was away for longer reads everything anew."""

EVERYTHING = Wanted()
STILL_HERE_S = 15.0
"""Without an event, how often a client hears that the stream is alive."""


class Event(NamedTuple):
    """`kind` is ``resource`` (a resource was written or deleted; `key` is its reference in lower
    case, `change` what was done), ``state`` (what hosts say of a port), ``host``, ``reset`` (events
    were missed) or ``alive``."""

    number: int
    kind: str
    key: str
    change: str = ""

    @property
    def resource(self) -> str:
        """Key of the resource that it is of; empty for none."""
        match self.kind:
            case "resource":
                return self.key
            case "state":
                return f"/networkinterfaces/{self.key}"
            case "host":
                return f"/servers/{self.key}"
        return ""


def is_wanted(event: Event, wanted: Wanted) -> bool:
    """What tells of the stream itself is for everybody."""
    key = event.resource
    if not key:
        return True
    return (
        wanted.event in ("", event.kind)
        and wanted.change in ("", event.change)
        and wanted.kind in ("", "/".join(key.split("/")[1::2]))
        and (not wanted.resource or f"{key}/".startswith(f"{wanted.resource}/"))
    )


def change_of(old: Stored | None, new: Stored | None) -> Change | None:
    """What was done to a resource; None for what only follows from a change above or beside it: a
    write gives all below it new etags, and all above. Of what stands at the root that is told too,
    for its etag tells whoever reads it whole."""
    if old is None:
        return Change.CREATED
    if new is None:
        return Change.DELETED
    if new.parent is None or _content(old) != _content(new):
        return Change.UPDATED
    return None


def _content(row: Stored) -> tuple[object, ...]:
    return row.instance_id, row.ref, row.position, row.properties, row.tags, row.metadata


class Events:
    """The events of one controller."""

    def __init__(self) -> None:
        self._epoch = uuid4().hex[:8]
        """Numbers of an earlier process mean nothing now."""
        self._next = 1
        self._kept: deque[tuple[str, str, str]] = deque(maxlen=MOST)
        """Kind, key and change; the last one has the number before `_next`."""
        self._waiting: set[asyncio.Event] = set()

    def add(self, kind: str, key: str, change: str = "") -> None:
        self._kept.append((kind, key, change))
        self._next += 1
        for waiter in self._waiting:
            waiter.set()

    def identifier(self, number: int) -> str:
        """What a client gives to go on after an event."""
        return f"{self._epoch}-{number}"

    async def follow(self, after: str, wanted: Wanted = EVERYTHING) -> AsyncGenerator[Event]:
        """Events behind the one that `after` identifies; empty: those from now on. First a
        ``reset`` if some in between are not known any more. Never ends."""
        loop = asyncio.get_running_loop()
        last = self._number(after)
        if last is None:
            last = self._next - 1
            yield Event(last, "reset", "")
        waiter = asyncio.Event()
        self._waiting.add(waiter)
        told_s = loop.time()
        try:
            while True:
                waiter.clear()
                for event in self._since(last):
                    last = event.number
                    if is_wanted(event, wanted):
                        yield event
                        told_s = loop.time()
                try:
                    async with asyncio.timeout_at(told_s + STILL_HERE_S):
                        await waiter.wait()
                except TimeoutError:
                    yield Event(last, "alive", "")
                    told_s = loop.time()
        finally:
            self._waiting.discard(waiter)

    def _number(self, after: str) -> int | None:
        if not after:
            return self._next - 1
        epoch, _, text = after.partition("-")
        number = int(text) if text.isascii() and text.isdecimal() else -1
        oldest = self._next - len(self._kept)
        if epoch != self._epoch or not oldest - 1 <= number < self._next:
            return None
        return number

    def _since(self, last: int) -> list[Event]:
        first = max(last + 1, self._next - len(self._kept))
        newest = [*islice(reversed(self._kept), self._next - first)]
        return [Event(number, *one) for number, one in enumerate(reversed(newest), first)]
