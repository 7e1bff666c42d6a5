# SPDX-License-Identifier: Apache-2.0
"""Hosts that do not answer within three seconds are unknown, long before they count as dead; and
what a dead host has said can be removed. On a real store, with the rows that hosts write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
import pytest

from isthmus.controller import probes as probing
from isthmus.controller.asking import Asking
from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.controller.probes import Probes
from isthmus.controller.removing import remove_host
from isthmus.controller.tracing import Tracing
from isthmus.errors import Conflict, NotFound
from isthmus.policy.rows import (
    TABLES,
    Answer,
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    PortStatus,
    Probe,
    Query,
    Row,
    row_or_none,
)
from isthmus.reach.trace import Question
from isthmus.reach.world import World
from isthmus.store import schema
from isthmus.store.connection import Change, Connection
from isthmus.wire.ovsdb import delete, insert, update
from tests.controller.clocks import Clock
from tests.controller.test_fence import south
from tests.reach.cloud import port, red
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory
from tests.switches.policy_rows import claim

__all__ = ["directory"]

pytestmark = pytest.mark.system

WEB, DB = port("a", 4), port("a", 5)


class Controller:
    """What a controller has to ask hosts with."""

    def __init__(self, remote: str) -> None:
        self.clock = Clock()
        self.picture = Picture(lambda: 1e9, Hearing(self.clock))
        self.south = Connection([remote], schema.SOUTH, TABLES, name="c1", on_changes=self._changed)
        self.asking = Asking(self.south, self.picture.is_alive)
        self.probes = Probes(self.south, self.picture, self.asking, lambda: False)

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.picture.change(row_or_none(change.old), row_or_none(change.new))
        self.probes.south_changed()
        self.asking.south_changed()

    async def put(self, *rows: Row) -> None:
        await self.south.transact([insert(row.TABLE, row) for row in rows])

    def rows(self, *tables: type[Row]) -> set[tuple[str, str]]:
        """What the store has of each host in some tables."""
        return {
            (table.TABLE, getattr(row, "host", ""))
            for table in tables
            for row in self.south.table(table).values()
        }


@asynccontextmanager
async def controller(remote: str) -> AsyncIterator[Controller]:
    made = Controller(remote)
    await made.south.start()
    try:
        await made.south.loaded(LONGEST_S)
        yield made
    finally:
        await made.south.stop()


@asynccontextmanager
async def living(remote: str, host: str, *, programs: bool = True) -> AsyncIterator[None]:
    """A host that answers questions, and probes if it `programs`; else it only beats."""

    async def answer(connection: Connection) -> None:
        done: set[object] = set()
        beat = 1
        while True:
            for row_id, query in list(connection.table(Query).items()):
                if query.host == host and row_id not in done:
                    done.add(row_id)
                    told = Answer(id=query.id, host=host, result='{"error": "no such question"}')
                    await connection.transact(
                        [insert(Answer.TABLE, told), delete(Query.TABLE, row_id)]
                    )
            number = max((row.number for row in connection.table(Probe).values()), default=0)
            for row_id, row in list(connection.table(Heartbeat).items()):
                if row.host == host and row.probe != number:
                    beat += 1
                    wanted = number if programs else row.probe
                    now = Heartbeat(host=host, at_s=beat, probe=wanted)
                    if now != row and (programs or beat < 4):
                        columns = ["at_s", "probe"]
                        await connection.transact([update(row.TABLE, row_id, now, columns)])
            await asyncio.sleep(0.01)

    connection = Connection([remote], schema.SOUTH, TABLES, name=host)
    await connection.start()
    await connection.loaded(LONGEST_S)
    task = asyncio.create_task(answer(connection))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.stop()


def run(directory: Path, work: Callable[[Controller, str], Awaitable[None]]) -> None:
    async def go() -> None:
        async with south(directory) as remote, controller(remote) as made:
            await made.put(*(Host(id=f"h{n}", certificate_name=f"h{n}") for n in (1, 2, 3)))
            await made.put(*(Heartbeat(host=f"h{n}", at_s=1) for n in (1, 2)))
            await work(made, remote)

    asyncio.run(go())


def test_a_host_that_has_just_died_is_unknown_and_since_when(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(made: Controller, remote: str) -> None:
        async with living(remote, "h1"):
            made.clock.go_on(12)
            assert made.picture.is_alive("h2")
            assert await made.probes.unknown() == {
                "h2": "does not answer, and was last heard of 12 s ago",
                "h3": "was never heard of",
            }
            assert await made.probes.unknown(["h1"]) == {}

    # A host that is there answers in milliseconds; this test waits for one that is not.
    monkeypatch.setattr(probing, "ANSWER_S", 1.5)
    run(directory, work)


def test_a_host_that_lives_and_does_not_program_is_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(made: Controller, remote: str) -> None:
        async with living(remote, "h1", programs=False), living(remote, "h2"):
            (said,) = (await made.probes.unknown(["h1", "h2"])).values()
            assert said.startswith("is behind: it lives, and has not programmed what it was to")

    monkeypatch.setattr(probing, "ANSWER_S", 1.5)
    run(directory, work)


def test_a_trace_over_a_host_that_does_not_answer_has_no_verdict(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(made: Controller, remote: str) -> None:
        world = World((*red(), WEB, DB, claim(WEB, "h1"), claim(DB, "h2")))
        tracing = Tracing(lambda: world, made.asking, made.probes.unknown)
        question = Question(WEB.id, DB.id)
        async with living(remote, "h1"), living(remote, "h2"):
            told = await tracing.trace(question, by_switches=False)
            assert (told["verdict"], told.get("unknown")) == ("delivered", None)
        made.clock.go_on(3)
        async with living(remote, "h1"):
            await asyncio.sleep(probing.FRESH_S)
            told = await tracing.trace(question, by_switches=False)
            why = "does not answer, and was last heard of 3 s ago"
            assert (told["verdict"], told["unknown"]) == ("unknown", [{"host": "h2", "why": why}])

    monkeypatch.setattr(probing, "ANSWER_S", 1.5)
    run(directory, work)


def everything(host: str) -> list[Row]:
    place: dict[str, Any] = {"port": WEB.id, "host": host, "segment": WEB.segment}
    return [
        HostStatus(host=host, provider_addresses=(IPv4Address("192.0.2.1"),)),
        Claim(**place, provider_address=IPv4Address("192.0.2.1")),
        PortStatus(**place),
        LearnedAddress(**place, address="10.0.1.9", mac=WEB.mac),
        Answer(id=f"of {host}", host=host, result="{}"),
    ]


SAID = (HostStatus, Heartbeat, Claim, PortStatus, Answer)


def test_what_a_dead_host_has_said_is_removed_and_nothing_else(directory: Path) -> None:
    async def work(made: Controller, remote: str) -> None:
        await made.put(*everything("h1"))
        (other,) = [row for row in everything("h2") if isinstance(row, Claim)]
        await made.put(other)
        many = [msgspec.structs.replace(other, host="h1", port=f"p{n}") for n in range(250)]
        await made.put(*many)
        told = await remove_host("h1", made.south, made.asking)
        assert told["removed"] == {
            **{"Answer": 1, "Claim": 251, "Heartbeat": 1, "Host_Status": 1},
            **{"Learned_Address": 1, "Port_Status": 1},
        }
        await until(lambda: made.rows(*SAID) == {("Heartbeat", "h2"), ("Claim", "h2")})
        assert not made.rows(LearnedAddress)
        assert made.picture.host_view("h1").age_s is None
        assert set(made.picture.hosts) == {"h1", "h2", "h3"}  # servers are intent
        with pytest.raises(NotFound):
            await remove_host("h1", made.south, made.asking)

    run(directory, work)


def test_a_host_that_answers_is_not_removed(directory: Path) -> None:
    async def work(made: Controller, remote: str) -> None:
        async with living(remote, "h1"):
            with pytest.raises(Conflict) as caught:
                await remove_host("h1", made.south, made.asking)
            assert "systemctl disable --now isthmus-agent" in caught.value.message
        assert ("Heartbeat", "h1") in made.rows(Heartbeat)

    run(directory, work)
