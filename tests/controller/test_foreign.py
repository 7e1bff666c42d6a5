# SPDX-License-Identifier: Apache-2.0
"""Desired rows that somebody else than the deriver changes: written back at once, and told."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.controller.deriving import Deriving
from isthmus.derive.from_intent.servers import ServerFact
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.policy.rows import TABLES, Host, RuleSet
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.store.south import PolicyWriter
from isthmus.wire.ovsdb import delete, insert, update
from tests.controller.test_fence import south
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory

__all__ = ["directory"]

pytestmark = pytest.mark.system

NAMES = ("h1", "h2", "h3")


@asynccontextmanager
async def deriving(remote: str) -> AsyncIterator[tuple[Deriving, Connection]]:
    """A deriver that wants a row for each of three hosts and has written them."""

    def heard(changes: Any) -> None:  # as the controller's process does it
        writer.note(changes)
        deriver.south_changed(changes)

    connection = Connection([remote], schema.SOUTH, TABLES, name="c1", on_changes=heard)
    writer = PolicyWriter(connection, "c1")
    deriver = Deriving(writer, Underlay(), name="c1", heartbeats=dict, holder=lambda: "")
    for name in NAMES:
        ref = f"/servers/{name}"
        deriver.engine.put(ServerFact, ref, ServerFact(ref, name))
    await connection.start()
    await connection.loaded(LONGEST_S)
    task = asyncio.create_task(deriver.run())
    try:
        await until(lambda: hosts(connection) == {*NAMES} and not deriver.pending)
        yield deriver, connection
    finally:
        task.cancel()
        await asyncio.wait([task])
        await connection.stop()


def hosts(connection: Connection) -> set[str]:
    return {row.id for row in connection.table(Host).values()}


def test_whatever_another_does_to_a_desired_row_it_is_written_back_and_told(
    directory: Path,
) -> None:
    async def go() -> None:
        async with south(directory) as remote, deriving(remote) as (deriver, connection):
            wanted = {row.id: row for row in connection.table(Host).values()}
            assert deriver.foreign.told == ""

            async def is_mended(count: int, *names: str) -> None:
                await until(lambda: deriver.foreign.count == count)
                await until(
                    lambda: {row.id: row for row in connection.table(Host).values()} == wanted
                )
                assert all(f"Host {name}" in deriver.foreign.told for name in names)

            stranger = Connection([remote], schema.SOUTH, TABLES, name="stranger")
            await stranger.start()
            await stranger.loaded(LONGEST_S)
            by_name = {row.id: (i, row) for i, row in stranger.table(Host).items()}
            row_id, row = by_name["h1"]
            evil = msgspec.structs.replace(row, certificate_name="mine")
            await stranger.transact([update(Host.TABLE, row_id, evil, ["certificate_name"])])
            await is_mended(1, "h1")
            await stranger.transact([delete(Host.TABLE, by_name["h2"][0])])
            await is_mended(2, "h2")
            await stranger.transact([insert(Host.TABLE, msgspec.structs.replace(row, id="h9"))])
            await is_mended(3, "h9")
            renamed = msgspec.structs.replace(row, id="h8")
            await stranger.transact([update(Host.TABLE, by_name["h3"][0], renamed, ["id"])])
            await is_mended(5, "h3", "h8")
            open_set = RuleSet(id="acl\n", in_default="allow")
            await stranger.transact([insert(RuleSet.TABLE, open_set)])
            await until(lambda: deriver.foreign.count == 6 and not connection.table(RuleSet))
            assert deriver.foreign.told.isprintable()
            await stranger.stop()

    asyncio.run(go())


def test_what_the_deriver_itself_writes_is_no_news(directory: Path) -> None:
    async def go() -> None:
        async with south(directory) as remote, deriving(remote) as (deriver, connection):
            for name in ("h4", "h5"):
                ref = f"/servers/{name}"
                deriver.engine.put(ServerFact, ref, ServerFact(ref, name))
                deriver.changed(())
                await until(functools.partial(_has, connection, name))
            await until(lambda: not deriver.pending)
            assert deriver.foreign.count == 0

    asyncio.run(go())


@pytest.mark.parametrize("error", [ValueError("x"), OSError(24, "x"), RuntimeError("x")], ids=repr)
def test_whatever_fails_in_deriving_it_goes_on_and_says_so(
    error: Exception, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with south(directory) as remote, deriving(remote) as (deriver, connection):
            failing, settle = [error, error], deriver.engine.settle

            def at_last() -> None:
                if failing:
                    raise failing.pop()
                settle()

            monkeypatch.setattr(deriver.engine, "settle", at_last)
            deriver.engine.put(ServerFact, "/servers/h4", ServerFact("/servers/h4", "h4"))
            deriver.changed(())
            await until(lambda: deriver.tending.faults)
            assert any(repr(error) in one for one in deriver.told)
            await until(lambda: "h4" in hosts(connection))
            await until(lambda: not deriver.tending.faults)

    asyncio.run(go())


def _has(connection: Connection, name: str) -> bool:
    return name in hosts(connection)
