# SPDX-License-Identifier: Apache-2.0
"""Two derivers on one south store: after the new one's first write the old one writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
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
from isthmus.wire.ovsdb import Operation, update
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory
from tests.store.gate import ANSWERS, QUESTIONS, gate_before
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


async def take_over_at_last(writer: PolicyWriter) -> int:
    """What another has just sent may be faster; then once more."""
    for _ in range(10):
        with contextlib.suppress(FenceLost):
            return await writer.take_over()
    raise AssertionError("it never became the deriver")


async def take_over_and_write(writer: PolicyWriter, rows: Sequence[Port]) -> None:
    await writer.take_over()
    await writer.write_all(rows)


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


@pytest.mark.parametrize("is_first", [True, False], ids=["the first ever", "a later one"])
@pytest.mark.parametrize("way", [QUESTIONS, ANSWERS])
def test_wherever_a_take_over_is_interrupted_only_the_last_deriver_writes(
    directory: Path, way: str, is_first: bool
) -> None:
    """The interrupted controller is held before each piece that it sends or is sent, from its
    take-over to its last write. Its successors take over meanwhile, and it goes on."""
    interrupted = []

    async def once(remote: str, after: int, n_successors: int) -> bool:
        path = directory / "gate"
        async with (
            gate_before(remote, path) as gate,
            writing(f"unix:{path}", "c1") as (old, _),
            writing(remote, "c2") as (new, connection),
        ):
            gate.hold(way, after)
            task = asyncio.create_task(take_over_and_write(old, PORTS))
            held = asyncio.create_task(gate.holding.wait())
            await asyncio.wait([task, held], return_when=asyncio.FIRST_COMPLETED)
            was_held = not task.done()
            held.cancel()
            for _ in range(n_successors):
                generation = await take_over_at_last(new)
            await new.write_all(PORTS[:10])
            gate.release()
            # Done before its successor took over, or refused; whichever: it is over.
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            assert outcome is None or isinstance(outcome, FenceLost)
            with pytest.raises(FenceLost):
                await old.write([(None, msgspec.structs.replace(PORTS[30], revision="late"))])
            with pytest.raises(FenceLost):
                await old.write_all(PORTS)
            assert old.generation is None
            await new.write([(None, PORTS[11])])
            assert ids(connection) == {row.id for row in (*PORTS[:10], PORTS[11])}
            (row,) = connection.table(Deriver).values()
            assert (row.generation, row.holder) == (generation, "c2") == (new.generation, "c2")
        interrupted.append(was_held)
        return was_held

    async def go() -> None:
        # A store of its own for each point: the first take-over of all inserts the row.
        for n_successors in (1, 2):
            for after in range(40):
                if is_first:
                    async with south(directory / f"{n_successors}-{after}") as remote:
                        if not await once(remote, after, n_successors):
                            break
                    continue
                async with south(directory) as remote, writing(remote, "c0") as (zeroth, _):
                    await zeroth.take_over()
                    await zeroth.write_all(PORTS[::2])
                    if not await once(remote, after, n_successors):
                        break

    asyncio.run(go())
    # The take-over and two writes at least, with each number of successors.
    assert interrupted.count(True) >= 2 * 3


def test_a_controller_that_has_nothing_to_write_hears_of_its_successor(directory: Path) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            writing(remote, "c1") as (old, watching),
            writing(remote, "c2") as (new, _),
        ):
            await old.take_over()
            assert not old.notice_successor()
            await take_over_at_last(new)
            await until(lambda: _has_reached(watching, 2))
            assert old.notice_successor()
            assert old.generation is None
            assert not old.notice_successor()

    asyncio.run(go())


def test_a_generation_that_comes_again_after_a_restore_is_not_taken_for_one_s_own(
    directory: Path,
) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            writing(remote, "c1") as (old, connection),
            writing(remote, "c2") as (new, _),
        ):
            assert await old.take_over() == 1
            assert await old.take_over() == 2
            ((row_id, row),) = connection.table(Deriver).items()
            earlier = msgspec.structs.replace(row, generation=1)
            await connection.transact([update(Deriver.TABLE, row_id, earlier, ["generation"])])
            assert await take_over_at_last(new) == 2
            with pytest.raises(FenceLost):
                await old.write([(None, PORTS[0])])
            await new.write([(None, PORTS[1])])

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
