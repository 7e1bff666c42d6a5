# SPDX-License-Identifier: Apache-2.0
"""The client against real ovsdb-servers: rows, conditions, refusals, losses."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from isthmus.store.connection import Change, Conditions, Connection
from isthmus.store.failures import (
    Duplicate,
    IntegrityRefused,
    OutcomeUnknown,
    Refused,
    Unavailable,
    WaitFailed,
)
from isthmus.wire.ovsdb import RowId, delete, insert, mutate, named, update, wait
from tests.store.client import names, until
from tests.store.database import LONGEST_S, Part, Server, Thing

pytestmark = pytest.mark.system


class Listener:
    """What a connection told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.connected: list[bool] = []

    def take(self, changes: Sequence[Change]) -> None:
        self.changes += changes


@asynccontextmanager
async def connected(
    *remotes: str,
    conditions: Conditions | None = None,
    listener: Listener | None = None,
    leader_only: bool = False,
    probe_s: float = 5.0,
) -> AsyncIterator[Connection]:
    told = listener or Listener()
    made = Connection(
        remotes,
        "Things",
        (Thing, Part),
        name="test",
        conditions=conditions,
        on_changes=told.take,
        on_connected=told.connected.append,
        leader_only=leader_only,
        probe_s=probe_s,
    )
    await made.start()
    try:
        await made.loaded(LONGEST_S)
        yield made
    finally:
        await made.stop()


def the_thing(connection: Connection, name: str = "a") -> tuple[RowId, Thing]:
    return next((i, row) for i, row in connection.table(Thing).items() if row.name == name)


FULL = Thing(
    name="a",
    size=7,
    weight=1.5,
    good=True,
    note="n",
    words=("x", "y"),
    numbers=frozenset({3, 4}),
    labels={"k": "v"},
)


def test_what_one_client_writes_both_hold_the_writer_before_its_answer(server: Server) -> None:
    async def run() -> None:
        async with connected(server.remote) as one, connected(server.remote) as other:
            await one.transact(
                [
                    insert("Part", Part(name="p"), "p1"),
                    insert("Thing", msgspec.structs.replace(FULL, parts=frozenset([named("p1")]))),
                ]
            )
            row_id, row = the_thing(one)
            assert row.parts == frozenset(one.table(Part))
            assert msgspec.structs.replace(row, parts=frozenset()) == FULL
            await until(lambda: other.table(Thing).get(row_id) == row)
            for size in range(50):
                changed = msgspec.structs.replace(row, size=size)
                await one.transact([update("Thing", row_id, changed, ["size"])])
                assert one.table(Thing)[row_id].size == size
            await one.transact([mutate("Thing", row_id, [("size", "+=", 1)])])
            assert one.table(Thing)[row_id].size == 50
            await one.transact([delete("Thing", row_id)])
            assert not one.table(Thing)
            await until(lambda: not other.table(Thing))

    asyncio.run(run())


def test_each_kind_of_change_is_told_once_in_order(server: Server) -> None:
    async def run() -> None:
        listener = Listener()
        async with connected(server.remote, listener=listener) as one:
            await one.transact([insert("Thing", Thing(name="a"))])
            row_id, row = the_thing(one)
            grown = msgspec.structs.replace(row, words=("w",), labels={"k": "v"})
            await one.transact([update("Thing", row_id, grown, ["words", "labels"])])
            shrunk = msgspec.structs.replace(row, labels={"k": "w"})
            await one.transact([update("Thing", row_id, shrunk, ["words", "labels"])])
            await one.transact([delete("Thing", row_id)])
            assert listener.changes == [
                Change(Thing, row_id, None, row),
                Change(Thing, row_id, row, grown),
                Change(Thing, row_id, grown, shrunk),
                Change(Thing, row_id, shrunk, None),
            ]

    asyncio.run(run())


def test_refusals_are_told_apart_and_nothing_is_written(server: Server) -> None:
    async def run() -> None:
        async with connected(server.remote) as one:
            await one.transact(
                [
                    insert("Part", Part(name="p"), "p1"),
                    insert("Thing", Thing(name="a", parts=frozenset([named("p1")]))),
                ]
            )
            before = {kind: dict(rows) for kind, rows in one.rows.items()}
            row_id, row = the_thing(one)
            (part_id,) = one.table(Part)
            other = insert("Thing", Thing(name="b"))
            with pytest.raises(Duplicate):
                await one.transact([other, insert("Thing", Thing(name="a"))])
            with pytest.raises(IntegrityRefused):
                await one.transact([other, delete("Part", part_id)])
            stale = msgspec.structs.replace(row, size=99)
            with pytest.raises(WaitFailed):
                await one.transact([wait("Thing", row_id, stale, ["size"]), other])
            gone = RowId("00000000-0000-4000-8000-000000000000")
            with pytest.raises(WaitFailed):
                await one.transact([wait("Thing", gone, row, ["size"]), other])
            with pytest.raises(Refused):
                await one.transact([other, {"op": "nonsense"}])
            assert {kind: dict(rows) for kind, rows in one.rows.items()} == before

    asyncio.run(run())


def test_conditions_choose_rows_and_can_be_changed(server: Server) -> None:
    async def run() -> None:
        listener = Listener()
        async with (
            connected(server.remote) as all_of_it,
            connected(
                server.remote,
                conditions={Thing: [("name", "==", "a")], Part: []},
                listener=listener,
            ) as some,
        ):
            await all_of_it.transact(
                [insert("Thing", Thing(name=name)) for name in "abc"]
                + [insert("Part", Part(name="p"))]
            )
            await until(lambda: names(some) == {"a"})
            await some.set_conditions({Thing: [("name", "==", "b"), ("name", "==", "c")]})
            assert names(some) == {"b", "c"}
            assert len(some.table(Part)) == 1
            await all_of_it.transact([delete("Thing", the_thing(all_of_it, "b")[0])])
            await until(lambda: names(some) == {"c"})
            await some.set_conditions({Thing: []})
            assert names(some) == set()
            assert [c.row_type for c in listener.changes].count(Part) == 1

    asyncio.run(run())


@pytest.mark.parametrize("clustered", [False, True])
def test_after_a_kill_the_replica_is_right_again_and_only_differences_are_told(
    directory: Path, clustered: bool
) -> None:
    async def run(server: Server) -> None:
        listener = Listener()
        async with connected(server.remote, listener=listener) as one:
            await one.transact([insert("Thing", Thing(name=name)) for name in "abc"])
            before = dict(one.table(Thing))
            listener.changes.clear()
            server.kill()
            await until(lambda: not one.connected)
            with pytest.raises(Unavailable):
                await one.transact([insert("Thing", Thing(name="d"))])
            server.start()
            await until(lambda: one.connected)
            assert dict(one.table(Thing)) == before
            assert listener.changes == []
            assert listener.connected == [True, False, True]
            await one.transact([insert("Thing", Thing(name="e"))])
            assert names(one) == {"a", "b", "c", "e"}

    with Server(directory / "s", clustered=clustered) as server:
        asyncio.run(run(server))


def test_what_happened_during_a_gap_is_told_as_a_difference(directory: Path) -> None:
    async def run(server: Server) -> None:
        listener = Listener()
        async with connected(server.remote, listener=listener) as one:
            await one.transact([insert("Thing", Thing(name=name)) for name in "abc"])
            a, c = the_thing(one, "a"), the_thing(one, "c")
            listener.changes.clear()
            server.kill()
            await until(lambda: not one.connected)
            server.start()
            # Somebody else was quicker.
            grown = msgspec.structs.replace(a[1], size=5)
            commands = [update("Thing", a[0], grown, ["size"]), delete("Thing", c[0])]
            await asyncio.to_thread(
                subprocess.run,
                ["ovsdb-client", "transact", server.remote, json.dumps(["Things", *commands])],
                check=True,
                capture_output=True,
            )
            await until(lambda: one.connected and names(one) == {"a", "b"})
            assert sorted(listener.changes, key=str) == sorted(
                [Change(Thing, a[0], a[1], grown), Change(Thing, c[0], c[1], None)], key=str
            )

    for clustered in (False, True):
        with Server(directory / f"s{clustered}", clustered=clustered) as server:
            asyncio.run(run(server))


def test_conditions_changed_during_a_gap_hold_after_it(server: Server) -> None:
    async def run() -> None:
        async with connected(server.remote, conditions={Thing: [("name", "==", "a")]}) as one:
            await one.transact([insert("Thing", Thing(name=name)) for name in "ab"])
            assert names(one) == {"a"}
            server.kill()
            await until(lambda: not one.connected)
            await one.set_conditions({Thing: [("name", "==", "b")]})
            server.start()
            await until(lambda: one.connected)
            assert names(one) == {"b"}

    asyncio.run(run())


def test_a_kill_in_mid_transaction_is_an_unknown_outcome_or_a_success(server: Server) -> None:
    async def run() -> None:
        outcomes: dict[str, bool | None] = {}
        async with connected(server.remote) as one:

            async def write(name: str) -> None:
                try:
                    await one.transact([insert("Thing", Thing(name=name))])
                except OutcomeUnknown:
                    outcomes[name] = None
                except Unavailable:
                    outcomes[name] = False
                else:
                    outcomes[name] = True

            tasks = [asyncio.create_task(write(f"t{n}")) for n in range(280)]
            await until(lambda: len(outcomes) > 10)
            server.signal(signal.SIGSTOP)  # so that some are surely not answered
            tasks += [asyncio.create_task(write(f"t{n}")) for n in range(280, 300)]
            await asyncio.sleep(0)
            server.kill()
            await asyncio.gather(*tasks)
            server.start()
            await until(lambda: one.connected)
            stored = names(one)
        assert len(outcomes) == 300
        assert None in outcomes.values()
        for name, outcome in outcomes.items():
            if outcome is not None:
                assert (name in stored) == outcome

    asyncio.run(run())


def test_a_server_that_hangs_is_given_up(server: Server) -> None:
    async def run() -> None:
        async with connected(server.remote, probe_s=1.0) as one:
            server.signal(signal.SIGSTOP)
            try:
                with pytest.raises(OutcomeUnknown):
                    await one.transact([insert("Thing", Thing(name="a"))], timeout_s=LONGEST_S)
                assert not one.connected
                assert one.problem
            finally:
                server.signal(signal.SIGCONT)
            await until(lambda: one.connected)

    asyncio.run(run())


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense",
        b'{"id":1,"result":{"tables":7},"error":null}',
        b'{"id":1,"result":"' + b"x" * 5000,
        b'{"id":1,"error":"no","result":null}',
        b"[1,2]",
        b"",
    ],
)
def test_a_hostile_server_is_left_for_the_next_one(
    directory: Path, server: Server, answer: bytes
) -> None:
    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()

        path = directory / "hostile"
        hostile = await asyncio.start_unix_server(serve, path)
        async with hostile, connected(f"unix:{path}", server.remote) as one:
            await one.transact([insert("Thing", Thing(name="a"))])
            assert names(one) == {"a"}

    asyncio.run(run())


def test_an_unknown_data_base_is_named_in_the_problem(server: Server) -> None:
    async def run() -> None:
        one = Connection([server.remote], "Nothing", (Thing,), name="test")
        await one.start()
        try:
            await until(lambda: "no data base Nothing" in one.problem)
            with pytest.raises(Unavailable, match="no data base Nothing"):
                await one.loaded(0.1)
        finally:
            await one.stop()

    asyncio.run(run())


def test_ten_thousand_rows_load_whole(server: Server) -> None:
    async def run() -> None:
        async with connected(server.remote) as one:
            for start in range(0, 10_000, 500):
                await one.transact(
                    [
                        insert("Thing", Thing(name=f"t{n}", size=n, words=("a", "b")))
                        for n in range(start, start + 500)
                    ]
                )
            async with connected(server.remote) as other:
                assert other.table(Thing) == one.table(Thing)
                assert len(other.table(Thing)) == 10_000

    asyncio.run(run())
