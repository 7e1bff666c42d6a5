# SPDX-License-Identifier: Apache-2.0
"""Two derivers on one south store: after the new one's first write the old one writes nothing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from isthmus.policy.rows import TABLES, Deriver, Port
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.store.servers import ServerFiles, ensure_server, stop_server
from isthmus.store.south import FenceLost, PolicyWriter
from isthmus.wire.ovsdb import Operation
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory
from tests.switches.policy_rows import port

__all__ = ["directory"]

pytestmark = pytest.mark.system

PORTS = [port("red", "a", number) for number in range(4, 254)]


@asynccontextmanager
async def south(folder: Path) -> AsyncIterator[str]:
    files = ServerFiles("south", folder / "data", folder / "run")
    server = await ensure_server(
        "south",
        schema.south_schema(),
        directory=files.directory,
        run_directory=files.run_directory,
    )
    yield server.remote
    await stop_server(files)


@asynccontextmanager
async def writing(remote: str, holder: str) -> AsyncIterator[tuple[PolicyWriter, Connection]]:
    connection = Connection(
        [remote],
        schema.SOUTH,
        TABLES,
        name=holder,
        on_changes=lambda changes: writer.note(changes),
    )
    writer = PolicyWriter(connection, holder)
    await connection.start()
    try:
        await connection.loaded(LONGEST_S)
        yield writer, connection
    finally:
        await connection.stop()


def ids(connection: Connection) -> set[str]:
    return {row.id for row in connection.table(Port).values()}


def test_the_old_deriver_is_fenced_by_the_new_one_s_take_over(directory: Path) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            writing(remote, "c1") as (old, watching),
            writing(remote, "c2") as (new, _),
        ):
            assert await old.take_over() == 1
            await old.write_all(PORTS[:10])
            assert await new.take_over() == 2
            with pytest.raises(FenceLost):
                await old.write([(None, PORTS[20])])
            assert old.generation is None
            with pytest.raises(FenceLost):
                await old.write_all(PORTS)
            await new.write([(None, PORTS[11])])
            await until(lambda: len(ids(watching)) == 11)
            assert ids(watching) == {row.id for row in (*PORTS[:10], PORTS[11])}
            (row,) = watching.table(Deriver).values()
            assert (row.generation, row.holder) == (2, "c2")

    asyncio.run(go())


def test_of_two_that_take_over_at_once_one_does(directory: Path) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            writing(remote, "c1") as (one, _),
            writing(remote, "c2") as (other, connection),
        ):
            for round_number in range(10):
                results = await asyncio.gather(
                    one.take_over(), other.take_over(), return_exceptions=True
                )
                generations = [r for r in results if isinstance(r, int)]
                assert all(isinstance(r, int | FenceLost) for r in results)
                assert generations
                await until(functools.partial(_has_reached, connection, max(generations)))
                # A writer whose take-over was itself overtaken cannot write either.
                for writer, result in zip((one, other), results, strict=True):
                    if result != _generation(connection):
                        with pytest.raises(FenceLost):
                            await writer.write([(None, PORTS[round_number])])

    asyncio.run(go())


def _has_reached(connection: Connection, generation: int) -> bool:
    return _generation(connection) >= generation


def _generation(connection: Connection) -> int:
    return max((row.generation for row in connection.table(Deriver).values()), default=0)


def test_a_take_over_in_the_middle_of_a_long_write_ends_it_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            writing(remote, "c1") as (old, watching),
            writing(remote, "c2") as (new, connection),
        ):
            await old.take_over()
            taken_over, transact = asyncio.Event(), watching.transact

            async def slowly(operations: Sequence[Operation]) -> list[object]:
                if ids(watching):
                    await taken_over.wait()
                return await transact(operations)

            monkeypatch.setattr(watching, "transact", slowly)
            task = asyncio.create_task(old.write_all(PORTS))
            await until(lambda: ids(connection))
            await new.take_over()
            taken_over.set()
            with pytest.raises(FenceLost):
                await task
            at_take_over = ids(connection)
            assert len(at_take_over) < len(PORTS)
            await new.write([(None, PORTS[-1])])
            assert ids(connection) == at_take_over | {PORTS[-1].id}

    asyncio.run(go())


def test_comparing_all_mends_what_was_missing_changed_or_too_much(directory: Path) -> None:
    async def go() -> None:
        async with south(directory) as remote, writing(remote, "c1") as (writer, connection):
            await writer.take_over()
            await writer.write_all(PORTS)
            assert await writer.write_all(PORTS) == 0
            changed = msgspec.structs.replace(PORTS[0], revision="new")
            assert await writer.write_all([changed, *PORTS[2:]]) == 2
            rows = {row.id: row for row in connection.table(Port).values()}
            assert rows == {row.id: row for row in (changed, *PORTS[2:])}
            assert await writer.write([(PORTS[2], None), (PORTS[3], PORTS[3])]) == 1

    asyncio.run(go())
