# SPDX-License-Identifier: Apache-2.0
"""The OVSDB client against a server that lies, stammers, lags or falls silent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from isthmus.store.connection import Change
from isthmus.store.failures import OutcomeUnknown, Unavailable
from isthmus.wire.ovsdb import insert
from isthmus.wire.ovsdb_framing import Framer
from tests.store.client import client, names, until
from tests.store.database import SCHEMA, Thing

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
FIRST = "dddddddd-0000-4000-8000-000000000001"
SECOND = "dddddddd-0000-4000-8000-000000000002"
CLUSTER = "cccccccc-0000-4000-8000-000000000001"

Answers = Mapping[str, Callable[[list[Any]], object]]
"""By method: what is sent for its parameters. Bytes are sent as they are, anything else is the
result."""

SERVER_COLUMNS = ("name", "model", "connected", "leader", "index", "cid")
SERVER_SCHEMA: dict[str, Any] = {
    "tables": {"Database": {"columns": {name: {} for name in SERVER_COLUMNS}}}
}


def database(**columns: object) -> dict[str, object]:
    row = {"name": "Things", "model": "standalone", **columns}
    return {"Database": {B: {"initial": row}}}


def picture(**things: Mapping[str, object]) -> dict[str, object]:
    """By row id, of which only the letter is given."""
    return {
        "Thing": {(A if letter == "a" else B): {"initial": row} for letter, row in things.items()}
    }


def update(tables: object, transaction: str = SECOND) -> bytes:
    params = ["rows", transaction, tables]
    return json.dumps({"method": "update3", "params": params, "id": None}).encode()


def usual() -> dict[str, Callable[[list[Any]], object]]:
    """What a server with one thing in its data base answers."""
    return {
        "get_schema": lambda params: SERVER_SCHEMA if params == ["_Server"] else SCHEMA,
        "monitor_cond": lambda params: database(),
        "monitor_cond_since": lambda params: [False, FIRST, picture(a={"name": "a"})],
        "monitor_cond_change": lambda params: {},
        "echo": lambda params: params,
    }


class Scripted:
    def __init__(self, path: Path) -> None:
        self.remote = f"unix:{path}"
        self.answers = usual()
        self.requests: list[dict[str, Any]] = []
        self._path = path
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, self._path)
        async with server:
            yield
            self.hang_up()

    def say(self, data: bytes) -> None:
        for writer in self._writers:
            writer.write(data)

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        framer = Framer()
        try:
            while data := await reader.read(65536):
                for piece in framer.feed(data):
                    self._answer(json.loads(piece), writer)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        if "method" not in request or request["method"] not in self.answers:
            return
        answer = self.answers[request["method"]](request["params"])
        if not isinstance(answer, bytes):
            reply = {"id": request["id"], "result": answer, "error": None}
            answer = json.dumps(reply).encode()
        writer.write(answer)

    def asked(self, method: str) -> list[list[Any]]:
        return [one["params"] for one in self.requests if one.get("method") == method]


@pytest.fixture
def server(directory: Path) -> Scripted:
    return Scripted(directory / "s")


def test_a_first_picture_that_cannot_be_read_is_asked_for_again_at_once(server: Scripted) -> None:
    bad = [[False, FIRST, picture(a={"name": 7})], {}, [False, FIRST, []]]

    def answer(_: list[Any]) -> object:
        return bad.pop() if bad else [False, FIRST, picture(a={"name": "a"})]

    server.answers["monitor_cond_since"] = answer

    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            assert names(connection) == {"a"}
            assert connection.counters.malformed == 3

    asyncio.run(steps())


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense",
        b'{"method":"update3","params":',
        b'{"id":[1],"result":{}}',
        b'{"method":"update3","params":["rows"],"id":null}',
        b'{"method":"echo","params":7,"id":"echo"}',
        update({"Thing": {A: {"modify": {"size": "7"}}}}),
        update({"Thing": {B: {"modify": {"size": 7}}}}),
        update({"Thing": {B: {"insert": {"name": "b"}}, A: {"modify": {"words": {}}}}}),
        update({"Thing": [A]}),
        b"{" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"id":' + b"9" * 5000 + b"}",
    ],
)
def test_what_cannot_be_read_changes_nothing_and_everything_is_read_again(
    server: Scripted, said: bytes
) -> None:
    """Half of an update would make all later differences wrong."""
    changes: list[Change] = []

    async def steps() -> None:
        async with (
            server.listening(),
            client(server.remote, on_changes=changes.extend) as connection,
        ):
            server.say(said)
            if said.endswith(b'"params":') or said.startswith(b"{{"):
                server.hang_up()  # it could yet become a message
            await until(lambda: len(server.asked("monitor_cond_since")) == 2)
            await until(lambda: connection.connected)
            assert names(connection) == {"a"}
            assert len(changes) == 1
            half = said.endswith(b'"params":') or said.startswith(b"{{")
            assert connection.counters.malformed == (0 if half else 1)
            since = server.asked("monitor_cond_since")[1][3]
            assert since == FIRST or since.startswith("00000000-")

    asyncio.run(steps())


def test_after_an_update_that_cannot_be_read_nothing_is_resumed(server: Scripted) -> None:
    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            server.say(update({"Thing": {B: {"modify": {"size": 7}}}}))
            await until(lambda: len(server.asked("monitor_cond_since")) == 2)
            assert server.asked("monitor_cond_since")[1][3].startswith("00000000-")
            await until(lambda: connection.connected)

    asyncio.run(steps())


def test_an_update_that_can_be_read_is_where_it_resumes(server: Scripted) -> None:
    def answer(params: list[Any]) -> object:
        if params[3] == SECOND:
            return [True, SECOND, {}]
        return [False, FIRST, picture(a={"name": "a"})]

    server.answers["monitor_cond_since"] = answer

    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            server.say(update({"Thing": {B: {"insert": {"name": "b"}}, A: {"delete": None}}}))
            await until(lambda: names(connection) == {"b"})
            server.hang_up()
            await until(lambda: connection.counters.resumes == 1)
            assert names(connection) == {"b"}

    asyncio.run(steps())


def test_of_a_cluster_s_servers_one_that_is_behind_is_not_read(server: Scripted) -> None:
    """It would take back what was told."""
    indexes = [10, 9, 9, 10]
    changes: list[Change] = []
    server.answers["monitor_cond"] = lambda _: database(
        model="clustered", connected=True, leader=True, index=indexes.pop(0), cid=["uuid", CLUSTER]
    )

    async def steps() -> None:
        async with (
            server.listening(),
            client(server.remote, on_changes=changes.extend) as connection,
        ):
            server.hang_up()
            await until(lambda: not indexes)
            await until(lambda: connection.connected)
            assert len(server.asked("monitor_cond_since")) == 2
            assert len(changes) == 1

    asyncio.run(steps())


def test_another_cluster_s_index_is_another_count(server: Scripted) -> None:
    """A data base that was restored from a backup is a new cluster and begins anew."""
    clusters = [CLUSTER, A]
    server.answers["monitor_cond"] = lambda _: database(
        model="clustered",
        connected=True,
        leader=True,
        index=10 * len(clusters),
        cid=["uuid", clusters.pop(0)],
    )

    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            server.hang_up()
            await until(lambda: not clusters)
            await until(lambda: connection.connected)

    asyncio.run(steps())


def test_a_server_that_no_longer_leads_is_left_by_who_wants_the_leader(server: Scripted) -> None:
    server.answers["monitor_cond"] = lambda _: database(
        model="clustered", connected=True, leader=True
    )
    row = {"modify": {"leader": False}}
    params = ["server", {"Database": {B: row}}]

    async def steps() -> None:
        async with (
            server.listening(),
            client(server.remote, leader_only=True) as connection,
        ):
            server.answers["monitor_cond"] = lambda _: database(
                model="clustered", connected=True, leader=False
            )
            server.say(json.dumps({"method": "update2", "params": params, "id": None}).encode())
            await until(lambda: not connection.connected)
            await until(lambda: "does not lead" in connection.problem)

    asyncio.run(steps())


def test_a_silent_server_is_asked_and_then_left(server: Scripted) -> None:
    async def steps() -> None:
        async with server.listening(), client(server.remote, probe_s=0.5) as connection:
            await until(lambda: len(server.asked("echo")) >= 2)
            assert connection.counters.reloads == 1
            del server.answers["echo"]
            await until(lambda: connection.counters.reloads >= 2)

    asyncio.run(steps())


def test_the_server_s_own_question_is_answered(server: Scripted) -> None:
    async def steps() -> None:
        async with server.listening(), client(server.remote):
            server.say(b'{"method":"echo","params":["x",1],"id":"echo"}')
            reply = {"result": ["x", 1], "error": None, "id": "echo"}
            await until(lambda: reply in server.requests)

    asyncio.run(steps())


def test_an_answer_to_a_transaction_that_cannot_be_read_leaves_its_outcome_unknown(
    server: Scripted,
) -> None:
    server.answers["transact"] = lambda _: {"no": "list"}

    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            with pytest.raises(OutcomeUnknown):
                await connection.transact([insert("Thing", Thing(name="b"))])
            await until(lambda: connection.counters.reloads == 2)

    asyncio.run(steps())


def test_a_connection_that_is_lost_before_the_answer_leaves_the_outcome_unknown(
    server: Scripted,
) -> None:
    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            task = asyncio.create_task(connection.transact([insert("Thing", Thing(name="b"))]))
            await until(lambda: server.asked("transact"))
            server.hang_up()
            with pytest.raises(OutcomeUnknown):
                await task
            with pytest.raises(Unavailable) as refusal:
                await connection.transact([insert("Thing", Thing(name="c"))])
            assert not isinstance(refusal.value, OutcomeUnknown)
            assert len(server.asked("transact")) == 1

    asyncio.run(steps())


def test_conditions_that_were_on_their_way_when_the_server_was_lost_are_read_anew(
    server: Scripted,
) -> None:
    """Whether the server had them is not known: a resume could miss rows for ever."""
    del server.answers["monitor_cond_change"]

    async def steps() -> None:
        async with server.listening(), client(server.remote) as connection:
            task = asyncio.create_task(connection.set_conditions({Thing: [("name", "==", "a")]}))
            await until(lambda: server.asked("monitor_cond_change"))
            server.hang_up()
            with pytest.raises(Unavailable):
                await task
            await until(lambda: connection.counters.reloads == 2)
            _, _, tables, since = server.asked("monitor_cond_since")[1]
            assert tables["Thing"][0]["where"] == [["name", "==", "a"]]
            assert since.startswith("00000000-")

    asyncio.run(steps())
