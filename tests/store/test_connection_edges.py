# SPDX-License-Identifier: Apache-2.0
"""The OVSDB client where it is rarely: every difference, odd text, conditions at odd moments."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from isthmus.errors import Invalid, Unavailable
from isthmus.store.connection import Connection
from isthmus.store.failures import Duplicate, OutcomeUnknown, Refused
from isthmus.wire.ovsdb import delete, insert, mutate, update
from tests.store.client import add, client, find, names, until
from tests.store.database import LONGEST_S, SCHEMA, Part, Server, Thing

pytestmark = pytest.mark.system


def test_after_all_differences_the_replica_is_what_a_new_client_reads(server: Server) -> None:
    """Sets and maps of every size, from each to each other."""
    values: list[dict[str, Any]] = [
        {},
        {"words": ("a",), "numbers": {1}, "labels": {"a": "1"}, "note": "x"},
        {"words": ("a", "b"), "numbers": {1, 2}, "labels": {"a": "2", "b": "1"}, "size": -1},
        {"words": ("b",), "numbers": {2}, "labels": {"b": "1", "c": "1"}, "good": True},
        {"words": ("c", "d", "é"), "labels": {"a": "1", "": ""}, "weight": 3.0, "note": ""},
    ]

    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, "it", "friend")
            (row_id, _), (friend_id, _) = find(connection, "it"), find(connection, "friend")
            for columns in [one for a in values for b in values for one in (a, b)]:
                columns = {**columns, "numbers": frozenset(columns.get("numbers", ()))}
                row = Thing(name="it", owner=friend_id if "good" in columns else None, **columns)
                await connection.transact([update("Thing", row_id, row, row.__struct_fields__)])
                assert connection.table(Thing)[row_id] == row
            async with client(server.remote) as fresh:
                assert fresh.rows == connection.rows

    asyncio.run(steps())


def test_a_weak_reference_goes_with_what_it_refers_to(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, "a", "b")
            (a, row), (b, _) = find(connection, "a"), find(connection, "b")
            owned = msgspec.structs.replace(row, owner=b)
            await connection.transact([update("Thing", a, owned, ["owner"])])
            assert connection.table(Thing)[a].owner == b
            await connection.transact([delete("Thing", b)])
            assert connection.table(Thing)[a].owner is None

    asyncio.run(steps())


def test_references_are_added_to_and_taken_from_a_set(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            parts = [insert("Part", Part(name=name)) for name in "pq"]
            await connection.transact([*parts, insert("Thing", Thing(name="a"))])
            row_id, _ = find(connection, "a")
            both = frozenset(connection.table(Part))
            await connection.transact([mutate("Thing", row_id, [("parts", "insert", both)])])
            assert connection.table(Thing)[row_id].parts == both
            one = frozenset([min(both)])
            await connection.transact([mutate("Thing", row_id, [("parts", "delete", one)])])
            assert connection.table(Thing)[row_id].parts == both - one

    asyncio.run(steps())


def test_what_the_server_s_schema_lacks_is_left_out(server: Server) -> None:
    class NewerThing(msgspec.Struct, frozen=True, kw_only=True):
        TABLE: ClassVar[str] = "Thing"
        name: str
        invented: str | None = "default"

    class Unknown(msgspec.Struct, frozen=True, kw_only=True):
        TABLE: ClassVar[str] = "Unknown"
        name: str = ""

    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, "t")
        async with client(server.remote, row_types=[NewerThing, Unknown]) as connection:
            assert list(connection.table(NewerThing).values()) == [NewerThing(name="t")]
            assert connection.table(Unknown) == {}

    asyncio.run(steps())


def test_a_value_that_its_column_forbids_is_no_duplicate(directory: Path) -> None:
    """The data base has one word for both; one is retried with another value, one never works."""
    schema = msgspec.json.decode(msgspec.json.encode(SCHEMA))
    size = {"type": {"key": {"type": "integer", "minInteger": 0}}}
    schema["tables"]["Thing"]["columns"]["size"] = size

    async def steps(server: Server) -> None:
        async with client(server.remote) as connection:
            with pytest.raises(Refused, match="constraint violation"):
                await connection.transact([insert("Thing", Thing(name="x", size=-1))])
            assert names(connection) == set()

    with Server(directory / "s", schema) as server:
        asyncio.run(steps(server))


def test_text_that_the_server_cannot_take_is_refused_and_the_connection_stays(
    server: Server,
) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            for text in ("a\x00b", "\ud800"):
                with pytest.raises(Invalid):
                    await add(connection, text)
            odd = ("\\u0000", 'ü "quoted" {brace} \\ \n', "\U0001f300", "\x01")
            await add(connection, *odd)
            assert names(connection) == set(odd)
            assert connection.counters.reloads == 1

    asyncio.run(steps())


def test_transactions_at_once_are_answered_each_with_its_own_result(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            outcomes = await asyncio.gather(
                *(add(connection, str(n // 2)) for n in range(200)), return_exceptions=True
            )
            assert [isinstance(outcome, Duplicate) for outcome in outcomes] == [False, True] * 100
            assert len(connection.table(Thing)) == 100

    asyncio.run(steps())


# -- conditions ------------------------------------------------------------------------------------


def test_conditions_set_while_connecting_are_asked_for(server: Server) -> None:
    """At each moment of a connect."""

    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, *"abc")
        for turns in range(40):
            async with client(server.remote, wait=False, conditions={Thing: []}) as reader:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await reader.set_conditions({Thing: [("name", "==", "b")]})
                await reader.loaded(LONGEST_S)
                assert names(reader) == {"b"}

    asyncio.run(steps())


def test_of_conditions_that_follow_each_other_the_last_holds(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, *"abc")
            await asyncio.gather(
                *(connection.set_conditions({Thing: [("name", "==", name)]}) for name in "abca")
            )
            assert names(connection) == {"a"}

    asyncio.run(steps())


def test_who_changes_conditions_is_told_how_long_the_server_took(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote, conditions={Thing: []}) as connection:
            await add(connection, *"ab")
            loop = asyncio.get_running_loop()
            started_s = loop.time()
            taken_s = await connection.set_conditions({})
            assert 0.0 < taken_s <= loop.time() - started_s
            assert names(connection) == {"a", "b"}
            assert await connection.set_conditions({}) == 0.0  # nothing was asked

    asyncio.run(steps())


def test_conditions_whose_setter_was_cancelled_are_taken_back(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, *"ab")
            await connection.set_conditions({Thing: [("name", "==", "a")]})
            cancelled = asyncio.create_task(connection.set_conditions({Thing: []}))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            await connection.set_conditions({Thing: [("name", "==", "a")]})
            assert names(connection) == {"a"}

    asyncio.run(steps())


def test_a_refused_condition_is_told_and_can_be_mended(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            with pytest.raises(Refused):
                await connection.set_conditions({Thing: [("nonsense", "==", "a")]})
            await connection.set_conditions({})
            await until(lambda: connection.connected)
            await add(connection, "a")
            assert names(connection) == {"a"}

    asyncio.run(steps())


# -- gaps ------------------------------------------------------------------------------------------


def test_who_holds_the_rows_of_a_table_sees_those_of_a_reload(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, "a")
            held = connection.table(Thing)
            server.kill()
            await until(lambda: not connection.connected)
            assert len(held) == 1, "the last picture stays"
            server.start()
            await until(lambda: connection.connected)
            await add(connection, "b")
            assert connection.counters.reloads == 2
            assert {row.name for row in held.values()} == {"a", "b"}

    asyncio.run(steps())


def test_an_unreachable_server_is_named_and_waited_for(directory: Path) -> None:
    late = Server(directory / "late")

    async def steps() -> None:
        async with client(late.remote, wait=False) as connection:
            await until(lambda: "late/db.sock" in connection.problem)
            with pytest.raises(Unavailable, match=r"late/db\.sock"):
                await connection.loaded(0.1)
            assert not connection.connected
            with pytest.raises(Unavailable, match=r"late/db\.sock"):
                await add(connection, "x")
            with late:
                await connection.loaded(LONGEST_S)
                assert connection.problem == ""

    asyncio.run(steps())


@pytest.mark.parametrize("remote", ["", "unix:", "tcp:host", "tcp:host:port", "http://x", "ssl::1"])
def test_a_remote_that_is_none_is_refused_at_once(remote: str) -> None:
    with pytest.raises(Invalid):
        Connection([remote], "Things", [Thing], name="test")


def test_a_transaction_without_an_answer_in_time_may_have_happened(server: Server) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            server.signal(signal.SIGSTOP)
            try:
                with pytest.raises(OutcomeUnknown):
                    await connection.transact([insert("Thing", Thing(name="a"))], timeout_s=0.2)
            finally:
                server.signal(signal.SIGCONT)
            await until(lambda: connection.connected and names(connection) == {"a"})

    asyncio.run(steps())


def test_a_failing_listener_ends_neither_the_connection_nor_the_replica(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("in the listener")

    async def steps() -> None:
        async with client(server.remote, on_changes=fail, on_connected=fail) as connection:
            await add(connection, "a")
            assert names(connection) == {"a"}
            assert connection.counters.reloads == 1

    asyncio.run(steps())
    assert "on-changes=failed" in caplog.text
    assert "on-connected=failed" in caplog.text
