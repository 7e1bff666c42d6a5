# SPDX-License-Identifier: Apache-2.0
"""Questions to hosts by rows of a south store, and what hosts tell unasked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from isthmus.controller.asking import UNREAD_S, Asking
from isthmus.policy.answers import Json, Told
from isthmus.policy.questions import Counters
from isthmus.policy.rows import TABLES, Answer, Query
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import insert
from tests.controller.clocks import Clock
from tests.controller.test_fence import south
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory

__all__ = ["directory"]

COUNTED: dict[str, object] = {"rules": [], "dropped": {"DELIVER": 3}, "blocked": {}}

pytestmark = pytest.mark.system


@asynccontextmanager
async def asking(remote: str, name: str = "c1") -> AsyncIterator[tuple[Asking, Connection]]:
    connection = Connection(
        [remote],
        schema.SOUTH,
        TABLES,
        name=name,
        on_changes=lambda _changes: made.south_changed(),
    )
    made = Asking(connection, lambda host: host != "silent")
    await connection.start()
    try:
        await connection.loaded(LONGEST_S)
        yield made, connection
    finally:
        await connection.stop()


def told(name: str, host: str, **result: object) -> Answer:
    return Answer(id=name, host=host, result=msgspec.json.encode(result).decode())


async def tell(connection: Connection, *answers: Answer) -> None:
    await connection.transact([insert(Answer.TABLE, one) for one in answers])
    names = {one.id for one in answers}
    await until(lambda: names <= {one.id for one in connection.table(Answer).values()})


async def take(made: Asking) -> list[Mapping[str, Json]]:
    return [one.shown for one in await made.take("w.", Told)]


def ids(connection: Connection) -> set[str]:
    return {one.id for one in connection.table(Answer).values()}


def test_what_hosts_tell_is_taken_once_in_their_order_and_nobody_else_s(directory: Path) -> None:
    async def go() -> None:
        async with south(directory) as remote, asking(remote) as (made, connection):
            assert await take(made) == []
            numbers = (10, 2, 9, 1, 11)
            mine = [told(f"w.{host}.{n}", host, n=n) for n in numbers for host in ("h2", "h1")]
            await tell(connection, *mine, told("w2.h1.1", "h1"), told("x", "h1"), told("w", "h1"))
            assert [one["n"] for one in await take(made)] == sorted(numbers) * 2
            # At once: a server tells of a change before it answers who made it.
            assert await take(made) == []
            assert ids(connection) == {"w2.h1.1", "x", "w"}
            for n in range(12, 40):
                await tell(connection, told(f"w.h1.{n}", "h1", n=n))
                assert [await take(made), await take(made)] == [[{"n": n}], []]

    asyncio.run(go())


def test_what_is_taken_is_told_by_host_and_of_each_in_its_order(directory: Path) -> None:
    async def go() -> None:
        async with south(directory) as remote, asking(remote) as (made, connection):
            names = [("h2", 1), ("h10", 2), ("h10", 10), ("h2", 9), ("h10", 9)]
            await tell(connection, *(told(f"w.{h}.{n}", h, at=[h, n]) for h, n in names))
            assert [one["at"] for one in await take(made)] == [
                *(["h10", 2], ["h10", 9], ["h10", 10]),
                *(["h2", 1], ["h2", 9]),
            ]

    asyncio.run(go())


def test_a_question_is_answered_by_its_host_and_its_answer_is_gone_then(directory: Path) -> None:
    async def go() -> None:
        async with (
            south(directory) as remote,
            asking(remote) as (made, connection),
            asking(remote, "h1") as (_, host),
        ):

            async def answering() -> None:
                await until(lambda: bool(host.table(Query)))
                (query,) = host.table(Query).values()
                assert (query.host, query.question) == ("h1", "counters")
                await tell(host, told("another", "h1"), told(query.id, "h1", **COUNTED))

            answered, _ = await asyncio.gather(made.ask("h1", Counters()), answering())
            assert answered.shown == COUNTED
            await until(lambda: ids(connection) == {"another"})
            assert (await made.ask("silent", Counters())).shown == {"error": "silent is silent"}

    asyncio.run(go())


def test_a_question_and_an_answer_that_nobody_wants_are_gone_by_the_reader_s_own_clock(
    directory: Path,
) -> None:
    """The clock of whoever has asked is years behind, or ahead: it does not count."""

    async def go() -> None:
        async with (
            south(directory) as remote,
            asking(remote) as (_, connection),
            asking(remote, "c2") as (_, other),
        ):
            questions = [
                Query(id=f"of c2 {at_s}", host="h1", question="counters", deadline_s=at_s)
                for at_s in (1, 1 << 40)
            ]
            await other.transact([insert(Query.TABLE, one) for one in questions])
            await tell(other, told("nobody's", "h1"))
            await until(lambda: len(connection.table(Query)) == 2)
            clock = Clock()
            made = Asking(connection, lambda _host: True, clock)
            await made.forget_unread()
            clock.go_on(UNREAD_S)
            await made.forget_unread()
            assert (len(connection.table(Query)), ids(connection)) == (2, {"nobody's"})
            clock.go_on(1)
            await made.forget_unread()
            await until(lambda: not connection.table(Query) and not ids(connection))

    asyncio.run(go())


def test_what_nobody_wants_is_gone_though_nobody_asks_for_anything(directory: Path) -> None:
    """A watch tells more and more until its hosts hear that whoever looked has gone."""

    async def go() -> None:
        async with south(directory) as remote, asking(remote) as (_, connection):
            clock = Clock()
            made = Asking(connection, lambda _host: True, clock)
            await tell(connection, told("watch-gone.h1.1", "h1"))
            await until(lambda: bool(ids(connection)))
            forgetting = asyncio.create_task(made.keep_forgetting(0.01))

            def is_empty() -> bool:
                clock.go_on(UNREAD_S)
                return not ids(connection)

            await until(is_empty)
            forgetting.cancel()

    asyncio.run(go())
