# SPDX-License-Identifier: Apache-2.0
"""Servers that die, give up, hang or are stopped: what their keeper does, and says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from isthmus.errors import Unavailable
from isthmus.store import schema
from isthmus.store.clusters import cluster_status, parse_cluster_status, problem_of
from isthmus.store.files import Placement, ServerFiles, State, remember
from isthmus.store.north import North
from isthmus.store.servers import process_of, stop_server
from isthmus.store.supervising import Keeper
from tests.store.cloud import furnish, interface, north_server, opened, put, until

STATUS = """8d78
Name: Isthmus_North
Cluster ID: 9b17 (9b17d6f1-3ef6-45c7-8996-c695af0345c2)
Server ID: 8d78 (8d788f00-86b0-4bad-92bf-6e13423f48f3)
Address: ssl:192.0.2.1:6643
Status: {status}
Role: {role}
Term: 3
Leader: {leader}
Vote: self

Connections: {connections}
Disconnections: 0
Servers:
    8d78 (8d78 at ssl:192.0.2.1:6643) (self) next_index=2 match_index=4
    31f0 (31f0 at ssl:192.0.2.2:6643) next_index=5 match_index=4 last msg {silence} ms ago
"""


def test_a_server_that_is_away_is_named_by_followers_too() -> None:
    for connections, words in (("<-31f0", ""), ("(->31f0)", "ssl:192.0.2.2:6643 is away")):
        text = STATUS.format(
            status="cluster member",
            role="follower",
            leader="77aa",
            silence=1,
            connections=connections,
        )
        assert problem_of(parse_cluster_status(text)) == words


@pytest.mark.parametrize(
    ("status", "role", "leader", "silence", "words"),
    [
        ("cluster member", "leader", "self", 323, ""),
        ("cluster member", "follower", "31f0", 50_000, ""),
        ("cluster member", "leader", "self", 34_567, "ssl:192.0.2.2:6643 is silent for 34 s"),
        ("cluster member", "candidate", "unknown", 323, "no leader"),
        ("joining cluster", "follower", "unknown", 1, "do they reach ssl:192.0.2.1:6643?"),
        ("failed", "leader", "self", 1, "error of its disk"),
        ("disconnected from the cluster (election timeout)", "candidate", "unknown", 1, "away"),
        ("leaving cluster", "follower", "31f0", 1, "leaving"),
    ],
)
def test_what_is_wrong_with_a_server_is_told_in_words(
    status: str, role: str, leader: str, silence: int, words: str
) -> None:
    text = STATUS.format(
        status=status, role=role, leader=leader, silence=silence, connections="<-31f0 ->31f0"
    )
    told = problem_of(parse_cluster_status(text))
    assert words in told
    assert bool(told) == bool(words)


# -- real servers ----------------------------------------------------------------------------------


def files_in(directory: Path) -> ServerFiles:
    return ServerFiles("north", directory / "data", directory / "run")


@contextlib.asynccontextmanager
async def kept(directory: Path) -> AsyncIterator[tuple[Keeper, North]]:
    """A north store in use, and the keeper of its server."""
    async with north_server(directory) as server, opened(server.remote) as north:
        keeper = Keeper(files_in(directory), schema.north_schema(), serves=lambda: north.connected)
        task = asyncio.create_task(keeper.run())
        await furnish(north)
        try:
            yield keeper, north
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.system
def test_a_server_that_is_killed_is_started_again_and_it_is_told(directory: Path) -> None:
    async def go() -> None:
        async with kept(directory) as (keeper, north):
            for number in range(1, 3):
                pid = process_of(files_in(directory))
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await until(lambda: keeper.restarts == number)  # noqa: B023  # awaited here
                await until(lambda: north.connected and not keeper.problem)
                await put(north, f"/networkInterfaces/n{number}", interface())
            assert process_of(files_in(directory)) != pid
            assert north.view.get("/networkinterfaces/n1") is not None

    asyncio.run(go())


@pytest.mark.system
def test_what_the_operator_stops_stays_stopped_until_he_starts_it(directory: Path) -> None:
    async def go() -> None:
        files = files_in(directory)
        async with kept(directory) as (keeper, north):
            remember(files, Placement(state=State.STOPPED))
            await stop_server(files)
            await until(lambda: "isthmus store start" in keeper.problem)
            await until(lambda: not north.connected)
            assert process_of(files) is None
            remember(files, Placement())
            await until(lambda: north.connected and not keeper.problem)

    asyncio.run(go())


@pytest.mark.system
def test_a_keeper_makes_no_data_base_in_the_place_of_one_that_is_gone(directory: Path) -> None:
    async def go() -> None:
        files = files_in(directory)
        async with kept(directory) as (keeper, _):
            aside = files.database.rename(directory / "aside")
            await stop_server(files)
            await until(lambda: "is missing" in keeper.problem)
            assert not files.database.exists()
            aside.rename(files.database)
            await until(lambda: keeper.restarts == 1)

    asyncio.run(go())


@pytest.mark.system
def test_a_server_that_hangs_is_told_and_left_alone(directory: Path) -> None:
    async def go() -> None:
        async with kept(directory) as (keeper, north):
            pid = process_of(files_in(directory))
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: "did not end" in keeper.problem)
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(lambda: north.connected and not keeper.problem)
            assert keeper.restarts == 0

    asyncio.run(go())


# -- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    place = directory / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.system
def test_a_server_that_a_full_disk_has_wedged_serves_again_when_there_is_room(
    small_disk: Path,
) -> None:
    async def go() -> None:
        files = files_in(small_disk)
        async with kept(small_disk) as (keeper, north):
            filler = small_disk / "filler"
            free = os.statvfs(small_disk)
            filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 20_000))
            stored = []
            with pytest.raises(Unavailable):
                for number in range(200):
                    await put(north, f"/networkInterfaces/n{number}", interface())
                    stored.append(f"/networkinterfaces/n{number}")
            await until(lambda: "make room" in keeper.problem)
            found = await cluster_status(files, schema.NORTH)
            assert "error of its disk" in problem_of(found)
            command = [
                *(sys.executable, "-m", "isthmus.cli.main", "store", "status"),
                *("--data-dir", str(files.directory), "--run-dir", str(files.run_directory)),
            ]
            told = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
            assert told.returncode == 1
            assert "error of its disk" in told.stdout
            filler.unlink()
            await until(lambda: north.connected and not keeper.problem)
            assert keeper.restarts == 1
            assert all(north.view.get(key) is not None for key in stored)
            await put(north, "/networkInterfaces/after", interface())

    asyncio.run(go())
