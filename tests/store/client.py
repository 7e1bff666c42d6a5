# SPDX-License-Identifier: Apache-2.0
"""A connection to the data base of `tests.store.database`, for the time of a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import RowId, insert
from tests.store.database import LONGEST_S, Part, Thing


@asynccontextmanager
async def client(
    *remotes: str,
    row_types: Sequence[type[msgspec.Struct]] = (Thing, Part),
    wait: bool = True,
    **options: Any,
) -> AsyncIterator[Connection]:
    """Loaded, unless `wait` is False. `options` are those of `Connection`."""
    connection = Connection(remotes, "Things", row_types, name="test", **options)
    await connection.start()
    try:
        if wait:
            await connection.loaded(2 * LONGEST_S)
        yield connection
    finally:
        await connection.stop()


async def until(holds: Callable[[], object], longest_s: float = 2 * LONGEST_S) -> None:
    """Poll: what is waited for happens in another process."""
    deadline_s = time.monotonic() + longest_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come about"
        await asyncio.sleep(0.005)


async def add(connection: Connection, *names: str) -> None:
    await connection.transact([insert("Thing", Thing(name=name)) for name in names])


def names(connection: Connection) -> set[str]:
    return {thing.name for thing in connection.table(Thing).values()}


def find(connection: Connection, name: str) -> tuple[RowId, Thing]:
    (found,) = [(i, row) for i, row in connection.table(Thing).items() if row.name == name]
    return found
