# SPDX-License-Identifier: Apache-2.0
"""The OVSDB client against a real ovsdb-server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from isthmus.errors import Invalid, Unavailable
from isthmus.store.connection import Change, Connection
from isthmus.store.failures import (
    Duplicate,
    IntegrityRefused,
    OutcomeUnknown,
    Refused,
    WaitFailed,
)
from isthmus.wire.ovsdb import RowId, delete, insert, mutate, named, update, wait
from tests.store.database_server import (
    LONGEST_S,
    SCHEMA,
    DatabaseServer,
    Holder,
    Thing,
    client,
    until,
)

pytestmark = pytest.mark.system

FULL = Thing(
    name='ü "quoted" {brace} \\ \n',
    count=2**62,
    ratio=0.125,
    flag=True,
    holder=RowId("aaaaaaaa-0000-4000-8000-000000000001"),
    nick="nick",
    number=-4,
    tags=("a", "b"),
    numbers=(-1, 5),
    options={"k": "v", "": ""},
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatabaseServer]:
    server = DatabaseServer(tmp_path)
    server.start()
    yield server
    server.stop()


def find(connection: Connection, name: str) -> tuple[RowId, Thing]:
    (found,) = [(i, row) for i, row in connection.table(Thing).items() if row.name == name]
    return found


def names(connection: Connection) -> set[str]:
    return {row.name for row in connection.table(Thing).values()}


async def add(connection: Connection, *rows: Thing) -> None:
    await connection.transact([insert("Thing", row) for row in rows])


# -- rows ------------------------------------------------------------------------------------------


def test_a_row_of_every_column_type_comes_back_at_once_and_at_another_client(
    server: DatabaseServer,
) -> None:
    async def steps() -> None:
        async with client(server.remote) as writer, client(server.remote) as reader:
            await add(writer, FULL, Thing(name="empty"))
            # Without waiting: the server sends the update before the answer.
            assert find(writer, FULL.name)[1] == FULL
            assert find(writer, "empty")[1] == Thing(name="empty")
            await until(lambda: len(reader.table(Thing)) == 2)
            assert reader.rows == writer.rows
        async with client(server.remote) as late:
            assert find(late, FULL.name)[1] == FULL
            assert find(late, "empty")[1] == Thing(name="empty")

    asyncio.run(steps())


def test_changes_are_told_with_the_rows_before_and_after(server: DatabaseServer) -> None:
    changes: list[Change] = []

    async def steps() -> None:
        async with client(server.remote, changes=changes) as connection:
            await add(connection, FULL)
            row_id, old = find(connection, FULL.name)
            new = msgspec.structs.replace(
                old, count=1, nick=None, number=5, tags=("b", "c"), numbers=(), options={"k": "w"}
            )
            await connection.transact([update("Thing", row_id, new, new.__struct_fields__)])
            assert connection.table(Thing)[row_id] == new
            await connection.transact([delete("Thing", row_id)])
            assert row_id not in connection.table(Thing)
            assert changes == [
                Change(Thing, row_id, None, FULL),
                Change(Thing, row_id, FULL, new),
                Change(Thing, row_id, new, None),
            ]

    asyncio.run(steps())


def test_after_many_differences_the_replica_is_what_a_new_client_reads(
    server: DatabaseServer,
) -> None:
    """Sets and maps of all sizes, from each to each other."""
    sets: list[dict[str, Any]] = [
        {},
        {"tags": ("a",), "numbers": (1,), "options": {"a": "1"}, "nick": "x"},
        {"tags": ("a", "b"), "numbers": (1, 2), "options": {"a": "2", "b": "1"}, "number": 0},
        {"tags": ("b",), "numbers": (2,), "options": {"b": "1", "c": "1"}, "flag": True},
        {"tags": ("c", "d", "e"), "options": {"a": "1"}, "ratio": 3.0},
    ]

    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, Thing(name="it"), Thing(name="friend"))
            row_id, _ = find(connection, "it")
            friend_id, _ = find(connection, "friend")
            for before in sets:
                for after in sets:
                    for columns in (before, after):
                        friends = frozenset([friend_id] if "flag" in columns else [])
                        row = Thing(name="it", friends=friends, **columns)
                        await connection.transact(
                            [update("Thing", row_id, row, row.__struct_fields__)]
                        )
                        assert connection.table(Thing)[row_id] == row
            async with client(server.remote) as fresh:
                assert fresh.rows == connection.rows

    asyncio.run(steps())


def test_rows_of_one_transaction_name_each_other(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            holder = Holder(label="h", thing=named("new"))
            await connection.transact(
                [insert("Thing", Thing(name="t"), "new"), insert("Holder", holder)]
            )
            (held,) = connection.table(Holder).values()
            assert held.thing == find(connection, "t")[0]

    asyncio.run(steps())


def test_a_weak_reference_goes_with_what_it_refers_to(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, Thing(name="a"), Thing(name="b"))
            (a, _), (b, _) = find(connection, "a"), find(connection, "b")
            await connection.transact([mutate("Thing", a, [("friends", "insert", frozenset({b}))])])
            assert connection.table(Thing)[a].friends == {b}
            await connection.transact([delete("Thing", b)])
            assert connection.table(Thing)[a].friends == frozenset()

    asyncio.run(steps())


def test_what_the_server_s_schema_lacks_is_left_out(tmp_path: Path) -> None:
    class NewThing(msgspec.Struct, frozen=True, kw_only=True):
        TABLE: ClassVar[str] = "Thing"
        name: str
        invented: str | None = "default"

    class Unknown(msgspec.Struct, frozen=True, kw_only=True):
        TABLE: ClassVar[str] = "Unknown"
        name: str = ""

    server = DatabaseServer(tmp_path)
    server.start()

    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, Thing(name="t"))
        async with client(server.remote, row_types=[NewThing, Unknown]) as connection:
            assert list(connection.table(NewThing).values()) == [NewThing(name="t")]
            assert connection.table(Unknown) == {}

    try:
        asyncio.run(steps())
    finally:
        server.stop()


# -- refusals --------------------------------------------------------------------------------------


def test_a_refused_transaction_says_why_and_changes_nothing(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            holder = insert("Holder", Holder(thing=named("t")))
            await connection.transact([insert("Thing", Thing(name="t", count=1), "t"), holder])
            row_id, row = find(connection, "t")
            other = insert("Thing", Thing(name="other"))
            stale = Thing(name="t", count=9)
            with pytest.raises(Duplicate):
                await connection.transact([other, insert("Thing", Thing(name="t"))])
            with pytest.raises(IntegrityRefused):
                await connection.transact([other, delete("Thing", row_id)])
            with pytest.raises(WaitFailed):
                await connection.transact([wait("Thing", row_id, stale, ["count"]), other])
            with pytest.raises(WaitFailed):
                gone = RowId("aaaaaaaa-0000-4000-8000-00000000000a")
                await connection.transact([wait("Thing", gone, row, ["count"]), other])
            with pytest.raises(Refused):
                await connection.transact([other, insert("Nowhere", row)])
            with pytest.raises(Refused, match="constraint"):
                await connection.transact([other, insert("Thing", Thing(name="x", count=-1))])
            assert names(connection) == {"t"}
            assert [row["name"] for row in server.dump("Thing")] == ["t"]
            await connection.transact([wait("Thing", row_id, row, ["name", "count"]), other])
            assert names(connection) == {"t", "other"}

    asyncio.run(steps())


def test_text_that_the_server_cannot_take_is_refused_and_the_connection_stays(
    server: DatabaseServer,
) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            for text in ("a\x00b", "\ud800"):
                with pytest.raises(Invalid):
                    await add(connection, Thing(name=text))
            await add(connection, Thing(name="\\u0000"))
            assert names(connection) == {"\\u0000"}
            assert connection.counters.reloads == 1

    asyncio.run(steps())


def test_many_transactions_at_once_are_answered_each_with_its_own_result(
    server: DatabaseServer,
) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            results = await asyncio.gather(
                *(
                    connection.transact([insert("Thing", Thing(name=str(n // 2)))])
                    for n in range(200)
                ),
                return_exceptions=True,
            )
            assert [isinstance(result, Duplicate) for result in results] == [False, True] * 100
            assert len(connection.table(Thing)) == 100

    asyncio.run(steps())


# -- conditions ------------------------------------------------------------------------------------


def test_only_rows_that_meet_a_condition_are_read(server: DatabaseServer) -> None:
    changes: list[Change] = []

    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, *(Thing(name=name) for name in "abc"))
            await writer.transact([insert("Holder", Holder(label="h"))])
            conditions = {Thing: [("name", "==", "a"), ("name", "==", "b")], Holder: []}
            async with client(server.remote, conditions=conditions, changes=changes) as reader:
                assert names(reader) == {"a", "b"}
                assert reader.table(Holder) == {}
                await reader.set_conditions({Thing: [("name", "==", "b"), ("name", "==", "c")]})
                # Without waiting: what comes into scope comes before the answer.
                assert names(reader) == {"b", "c"}
                assert len(reader.table(Holder)) == 1
                gone = [change.old for change in changes if change.new is None]
                assert gone == [Thing(name="a")]
                row_id, _ = find(writer, "b")
                await writer.transact([update("Thing", row_id, Thing(name="x"), ["name"])])
                await until(lambda: names(reader) == {"c"})
                await reader.set_conditions({})
                assert reader.rows == writer.rows

    asyncio.run(steps())


def test_conditions_set_while_away_hold_from_the_first_picture_on(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, *(Thing(name=name) for name in "abc"))
        async with client(server.remote, wait=False, conditions={Thing: []}) as reader:
            await reader.set_conditions({Thing: [("name", "==", "a")]})
            await reader.loaded(LONGEST_S)
            assert names(reader) == {"a"}
            server.stop()
            await until(lambda: not reader.connected)
            await reader.set_conditions({Thing: [("name", "==", "c")]})
            server.start()
            await until(lambda: reader.connected)
            assert names(reader) == {"c"}

    asyncio.run(steps())


def test_conditions_set_while_connecting_are_asked_for(server: DatabaseServer) -> None:
    """At each moment of a connect."""

    async def steps() -> None:
        async with client(server.remote) as writer:
            await add(writer, *(Thing(name=name) for name in "abc"))
        for turns in range(40):
            async with client(server.remote, wait=False, conditions={Thing: []}) as reader:
                for _ in range(turns):
                    await asyncio.sleep(0)
                await reader.set_conditions({Thing: [("name", "==", "b")]})
                await until(lambda: reader.connected)
                assert names(reader) == {"b"}

    asyncio.run(steps())


def test_of_conditions_that_follow_each_other_the_last_holds(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            await add(connection, *(Thing(name=name) for name in "abc"))
            await asyncio.gather(
                *(connection.set_conditions({Thing: [("name", "==", name)]}) for name in "abca")
            )
            assert names(connection) == {"a"}
            given_up = asyncio.create_task(connection.set_conditions({Thing: []}))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            await connection.set_conditions({Thing: [("name", "==", "a")]})
            assert names(connection) == {"a"}

    asyncio.run(steps())


def test_a_refused_condition_is_told(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            with pytest.raises(Refused):
                await connection.set_conditions({Thing: [("nonsense", "==", "a")]})
            await connection.set_conditions({})
            await until(lambda: connection.connected)
            await add(connection, Thing(name="a"))

    asyncio.run(steps())


# -- gaps ------------------------------------------------------------------------------------------


def test_after_a_restart_the_difference_is_told_and_nothing_else(server: DatabaseServer) -> None:
    """A standalone server remembers no transactions: everything is read again."""
    changes: list[Change] = []
    told: list[bool] = []

    async def steps() -> None:
        async with client(server.remote, changes=changes, on_connected=told.append) as connection:
            await add(connection, *(Thing(name=name) for name in "abc"))
            (a, _), (b, _) = find(connection, "a"), find(connection, "b")
            live = connection.table(Thing)
            server.stop()
            await until(lambda: not connection.connected)
            assert names(connection) == {"a", "b", "c"}, "the last picture stays"
            with pytest.raises(Unavailable):
                await add(connection, Thing(name="x"))
            changes.clear()
            server.start()
            await asyncio.sleep(0)
            async with client(server.remote) as other:
                await other.transact(
                    [
                        delete("Thing", a),
                        update("Thing", b, Thing(name="b", count=5), ["count"]),
                        insert("Thing", Thing(name="d")),
                    ]
                )
            await until(lambda: connection.connected and names(connection) == {"b", "c", "d"})
            assert {(c.old and c.old.name, c.new and c.new.name) for c in changes} == {  # type: ignore[attr-defined]  # things
                ("a", None),
                ("b", "b"),
                (None, "d"),
            }
            assert connection.table(Thing) is live
            assert connection.counters.resumes == 0
            assert told == [True, False, True]

    asyncio.run(steps())


def test_an_unreachable_server_is_named_and_waited_for(tmp_path: Path) -> None:
    server = DatabaseServer(tmp_path)

    async def steps() -> None:
        async with client(server.remote, wait=False) as connection:
            with pytest.raises(Unavailable, match=r"db\.sock"):
                await connection.loaded(0.2)
            assert not connection.connected
            with pytest.raises(Unavailable, match=r"db\.sock"):
                await add(connection, Thing(name="x"))
            server.start()
            await connection.loaded(LONGEST_S)
            assert connection.problem == ""

    try:
        asyncio.run(steps())
    finally:
        server.stop()


def test_a_server_without_the_data_base_is_said_to_be_so(tmp_path: Path) -> None:
    other = DatabaseServer(tmp_path, schema={**SCHEMA, "name": "Others"})
    other.start()

    async def steps() -> None:
        async with client(other.remote, wait=False) as connection:
            with pytest.raises(Unavailable, match="no data base Things"):
                await connection.loaded(0.3)

    try:
        asyncio.run(steps())
    finally:
        other.stop()


@pytest.mark.parametrize("remote", ["", "unix:", "tcp:host", "tcp:host:port", "http://x", "ssl::1"])
def test_a_remote_that_is_none_is_refused_at_once(remote: str) -> None:
    with pytest.raises(Invalid):
        Connection([remote], "Things", [Thing], name="test")


def test_a_server_that_hangs_is_given_up_and_found_again(server: DatabaseServer) -> None:
    async def steps() -> None:
        async with client(server.remote, probe_s=0.2) as connection:
            server.kill(signal.SIGSTOP)
            try:
                await until(lambda: not connection.connected)
            finally:
                server.kill(signal.SIGCONT)
            await until(lambda: connection.connected)
            await add(connection, Thing(name="a"))

    asyncio.run(steps())


def test_a_transaction_without_an_answer_in_time_has_an_unknown_outcome(
    server: DatabaseServer,
) -> None:
    async def steps() -> None:
        async with client(server.remote) as connection:
            server.kill(signal.SIGSTOP)
            try:
                with pytest.raises(OutcomeUnknown):
                    await connection.transact([insert("Thing", Thing(name="a"))], timeout_s=0.2)
            finally:
                server.kill(signal.SIGCONT)
            await until(lambda: connection.connected and names(connection) == {"a"})

    asyncio.run(steps())


def test_of_a_server_killed_under_writes_nothing_acknowledged_is_lost(
    server: DatabaseServer,
) -> None:
    """Each write ends as a success, or as one whose outcome is unknown, or was not sent."""
    acknowledged: set[str] = set()
    refused: set[str] = set()

    async def write(connection: Connection, number: int) -> None:
        for turn in range(1000):
            name = f"{number}-{turn}"
            try:
                await add(connection, Thing(name=name))
                acknowledged.add(name)
            except OutcomeUnknown:
                return
            except Unavailable:
                refused.add(name)
                return

    async def steps() -> None:
        async with client(server.remote) as connection:
            for kill in range(3):
                writers = [asyncio.create_task(write(connection, 10 * kill + n)) for n in range(8)]
                target = len(acknowledged) + 40
                await until(lambda: len(acknowledged) >= target)
                server.kill()
                await asyncio.gather(*writers)
                await until(lambda: not connection.connected)
                server.restart()
                await until(lambda: connection.connected)
                stored = {row["name"] for row in server.dump("Thing")}
                assert acknowledged <= stored
                assert not refused & stored
                assert names(connection) == stored

    asyncio.run(steps())


def test_a_failing_listener_ends_neither_the_connection_nor_the_replica(
    server: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("in the listener")

    async def steps() -> None:
        async with client(server.remote, on_changes=fail, on_connected=fail) as connection:
            await add(connection, Thing(name="a"))
            assert names(connection) == {"a"}
            assert connection.counters.reloads == 1

    asyncio.run(steps())
    assert "on-changes=failed" in caplog.text
    assert "on-connected=failed" in caplog.text
