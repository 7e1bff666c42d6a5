# SPDX-License-Identifier: Apache-2.0
"""Embedded servers: started, taken over, refused, converted, copied, grown, and out of disk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from isthmus.errors import Conflict, Invalid, NotFound, Unavailable
from isthmus.store import schema
from isthmus.store.backups import backup, restore
from isthmus.store.clusters import cluster_status, parse_cluster_status
from isthmus.store.commands import output_of
from isthmus.store.connection import Connection
from isthmus.store.growing import join
from isthmus.store.servers import ServerFiles, ensure_server, running, stop_server
from tests.ports import free_ports
from tests.store.cloud import (
    LONGEST_S,
    furnish,
    interface,
    north_server,
    opened,
    put,
    restart,
    until,
)

pytestmark = pytest.mark.system


def files_in(directory: Path) -> ServerFiles:
    return ServerFiles("north", directory / "data", directory / "run")


def test_a_server_that_runs_is_taken_over_also_by_two_at_once(directory: Path) -> None:
    async def go() -> None:
        servers = await asyncio.gather(restart(directory), restart(directory))
        try:
            assert len({server.pid for server in servers}) == 1
            assert sorted(server.started for server in servers) == [False, True]
            os.kill(servers[0].pid, signal.SIGKILL)
            await until(lambda: not _listens(files_in(directory).socket))
            again = await restart(directory)
            assert again.started
            assert again.pid != servers[0].pid
        finally:
            assert await stop_server(files_in(directory))
        assert not await stop_server(files_in(directory))

    asyncio.run(go())


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_nobody_else_can_read_the_data_or_reach_the_server(directory: Path) -> None:
    async def go() -> None:
        async with north_server(directory):
            files = files_in(directory)
            for path in (files.directory, files.run_directory, files.database, files.socket):
                assert path.stat().st_mode & 0o077 == 0, path

    asyncio.run(go())


def test_every_file_is_for_its_owner_alone_also_after_compaction_and_restore(
    directory: Path,
) -> None:
    def open_files() -> list[Path]:
        found = [*(directory / "data").rglob("*"), *(directory / "run").rglob("*")]
        return [path for path in found if path.stat().st_mode & 0o077]

    async def go() -> None:
        copy = directory / "copy"
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            assert open_files() == []
            control = str(files_in(directory).control)
            await output_of("ovs-appctl", "-t", control, "ovsdb-server/compact", schema.NORTH)
            assert open_files() == []
            await backup(server.remote, schema.NORTH, copy)
        await restore(files_in(directory), schema.north_schema(), copy)
        assert open_files() == []
        assert copy.stat().st_mode & 0o077 == 0

    asyncio.run(go())


DAMAGES = ("garbage", "middle", "empty", "standalone", "other store", "zeros", "last record")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_corrupt_file_is_refused_with_what_to_do_and_left_alone(
    directory: Path, damage: str
) -> None:
    async def go() -> None:
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await put(north, "/networkInterfaces/n", interface())
        _damage(files_in(directory), damage)
        before = files_in(directory).database.read_bytes()
        with pytest.raises(Invalid) as caught:
            await restart(directory)
        assert str(files_in(directory).database) in caught.value.message
        assert "isthmus restore" in caught.value.message
        assert files_in(directory).database.read_bytes() == before
        assert await running(files_in(directory)) is None

    asyncio.run(go())


def _damage(files: ServerFiles, damage: str) -> None:
    content = bytearray(files.database.read_bytes())
    match damage:
        case "garbage":
            files.database.write_bytes(b"\x00\x01garbage\n" * 100)
        case "middle":
            middle = len(content) // 2
            content[middle : middle + 40] = b"x" * 40
            files.database.write_bytes(content)
        case "empty":
            files.database.write_bytes(b"")
        case "zeros":
            files.database.write_bytes(bytes(content) + bytes(4096))
        case "last record":
            content[-20:-10] = bytes(10)
            files.database.write_bytes(content)
        case _:
            made = schema.north_schema() if damage == "standalone" else schema.south_schema()
            schema_file = files.directory / "schema.json"
            schema_file.write_bytes(schema.encoded(made))
            files.database.unlink()
            command = ["ovsdb-tool", "create", str(files.database), str(schema_file)]
            if damage == "other store":
                address = f"unix:{files.run_directory}/x"
                command = [
                    *("ovsdb-tool", "create-cluster", str(files.database)),
                    *(str(schema_file), address),
                ]
            subprocess.run(command, check=True)


def test_a_file_that_ends_in_a_half_written_record_is_good(directory: Path) -> None:
    async def go() -> None:
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
        database = files_in(directory).database
        digest = b"0123456789" * 4
        for rest in (b"O", b"OVSDB CLUSTER 500 01234", b"OVSDB CLUSTER 500 %b\n{" % digest):
            database.write_bytes(database.read_bytes() + rest)
            async with north_server(directory) as server, opened(server.remote) as north:
                assert north.view.get("/virtualnetworks/v") is not None

    asyncio.run(go())


def _with_version(version: str, drop: str = "") -> dict[str, object]:
    found = dict(schema.north_schema())
    found["version"] = version
    if drop:
        tables = found["tables"]
        assert isinstance(tables, dict)
        columns = dict(tables["Resource"]["columns"])
        del columns[drop]
        found["tables"] = {**tables, "Resource": {**tables["Resource"], "columns": columns}}
    return found


def test_an_older_schema_is_converted_and_a_newer_one_refused(directory: Path) -> None:
    async def go() -> None:
        files = files_in(directory)
        ensure = functools.partial(
            ensure_server, "north", directory=files.directory, run_directory=files.run_directory
        )
        await ensure(_with_version("0.9.0", "operation_id"))
        await stop_server(files)
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            version = await output_of(
                "ovsdb-client", "get-schema-version", server.remote, schema.NORTH
            )
            assert version.decode().strip() == schema.NORTH_VERSION
        async with north_server(directory) as server, opened(server.remote) as north:
            assert north.view.get("/virtualnetworks/v") is not None
            # The same program, older than what it finds.
            with pytest.raises(Invalid, match="newer program"):
                await ensure(_with_version("0.9.0"))

    asyncio.run(go())


def test_what_a_version_without_owners_stored_is_kept_and_nobody_s(directory: Path) -> None:
    async def go() -> None:
        files = files_in(directory)
        old = await ensure_server(
            *("north", _with_version("1.1.0", "owner")),
            directory=files.directory,
            run_directory=files.run_directory,
        )
        names = ("key", "ref", "kind", "resource_id", "instance_id", "etag")
        tag = dict(zip(names, ("/securitytags/t", "/securityTags/t", *"kuie"), strict=True))
        row = {**tag, "kind": "securityTags", "resource_id": "t", "status": 201}
        inserted = [schema.NORTH, {"op": "insert", "table": "Resource", "row": row}]
        await output_of("ovsdb-client", "transact", old.remote, json.dumps(inserted))
        await stop_server(files)
        async with north_server(directory) as server, opened(server.remote) as north:
            found = north.view.get("/securitytags/t")
            assert found is not None
            assert (found.ref, found.status, found.owner) == ("/securityTags/t", 201, "")

    asyncio.run(go())


def test_a_backup_made_under_writes_is_restored_whole(directory: Path) -> None:
    async def go() -> None:
        copy = directory / "copy"
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await put(north, "/networkInterfaces/kept", interface())
            await backup(server.remote, schema.NORTH, copy)
            assert copy.stat().st_mode & 0o077 == 0
            await put(north, "/networkInterfaces/later", interface())
            with pytest.raises(Conflict, match="runs"):
                await restore(files_in(directory), schema.north_schema(), copy)
        aside = await restore(files_in(directory), schema.north_schema(), copy)
        assert aside is not None
        assert aside.exists()
        async with north_server(directory) as server, opened(server.remote) as north:
            assert north.view.get("/networkinterfaces/kept") is not None
            assert north.view.get("/networkinterfaces/later") is None
            await put(north, "/networkInterfaces/new", interface())
        with pytest.raises(NotFound):
            await restore(files_in(directory), schema.north_schema(), directory / "nothing")
        with pytest.raises(Invalid, match="not of"):
            await restore(files_in(directory), schema.south_schema(), copy)

    asyncio.run(go())


# -- clusters --------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def cluster(directory: Path) -> AsyncIterator[list[ServerFiles]]:
    """Three servers of the north store on loopback."""
    addresses = [f"tcp:127.0.0.1:{port}" for port in free_ports(3)]
    members = [ServerFiles("north", directory / f"d{n}", directory / f"r{n}") for n in range(3)]
    await ensure_server(
        "north",
        schema.north_schema(),
        directory=members[0].directory,
        run_directory=members[0].run_directory,
        raft_address=addresses[0],
    )
    try:
        for files, address in zip(members[1:], addresses[1:], strict=True):
            await join(files, schema.NORTH, raft_address=address, members=[addresses[0]])
        for files in members:
            await _joined(files)
        yield members
    finally:
        for files in members:
            with contextlib.suppress(Unavailable):
                await stop_server(files)


async def _joined(files: ServerFiles) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            with contextlib.suppress(Unavailable):
                found = await cluster_status(files, schema.NORTH)
                if found.status == "cluster member" and len(found.members) == 3:
                    return
            await asyncio.sleep(0.05)


async def _leader(members: list[ServerFiles]) -> ServerFiles:
    async with asyncio.timeout(LONGEST_S):
        while True:
            for files in members:
                with contextlib.suppress(Unavailable):
                    found = await cluster_status(files, schema.NORTH)
                    if found.role == "leader":
                        return files
            await asyncio.sleep(0.05)


def _kill(files: ServerFiles) -> None:
    os.kill(int(files.pid.read_text()), signal.SIGKILL)


def test_a_cluster_of_three_survives_its_leader_and_no_acknowledged_write_is_lost(
    directory: Path,
) -> None:
    async def go() -> None:
        async with cluster(directory) as members:
            async with opened(*(files.remote for files in members)) as north:
                await furnish(north)
                acknowledged: set[str] = set()
                stop = asyncio.Event()

                async def write(client: int) -> None:
                    number = 0
                    while not stop.is_set():
                        name = f"n{client}-{number}"
                        number += 1
                        try:
                            await put(north, f"/networkInterfaces/{name}", interface())
                        except Unavailable:
                            await asyncio.sleep(0.05)
                        else:
                            acknowledged.add(name)

                clients = [asyncio.create_task(write(client)) for client in range(4)]
                await until(lambda: len(acknowledged) > 50)
                dead = await _leader(members)
                _kill(dead)
                n_before = len(acknowledged)
                await until(lambda: len(acknowledged) > n_before + 50)
                stop.set()
                await asyncio.gather(*clients)
            alive = [files for files in members if files != dead]
            for files in alive:
                await _has(files, acknowledged)

    asyncio.run(go())


async def _has(files: ServerFiles, interfaces: set[str]) -> None:
    """Wait until a server has them: one that follows hears of the last a moment later."""
    from isthmus.store import north_rows

    connection = Connection([files.remote], schema.NORTH, north_rows.TABLES, name="test")
    await connection.start()
    try:
        await connection.loaded(LONGEST_S)
        rows = connection.table(north_rows.Resource)
        await until(
            lambda: (
                interfaces
                <= {row.resource_id for row in rows.values() if row.kind == "networkInterfaces"}
            )
        )
    finally:
        await connection.stop()


@pytest.mark.long
def test_without_a_majority_writes_are_refused_and_nothing_is_half_written(
    directory: Path,
) -> None:
    async def go() -> None:
        async with cluster(directory) as members:
            remotes = [files.remote for files in members]
            async with opened(*remotes) as north:
                await furnish(north)
                leader = await _leader(members)
                for files in members:
                    if files != leader:
                        _kill(files)
                with pytest.raises(Unavailable):
                    await put(north, "/networkInterfaces/n", interface())
                for files in members:
                    if files != leader:
                        await ensure_server(
                            "north",
                            schema.north_schema(),
                            directory=files.directory,
                            run_directory=files.run_directory,
                        )
                await until(lambda: north.connected)
                written = north.view.get("/networkinterfaces/n")
                below = north.view.children(
                    "/networkinterfaces/n", "networkInterfaces/ipConfigurations"
                )
                assert (written is not None) == bool(below)
                await put(north, "/networkInterfaces/m", interface())

    asyncio.run(go())


def test_joining_needs_an_empty_place(directory: Path) -> None:
    async def go() -> None:
        async with north_server(directory):
            with pytest.raises(Conflict, match="already"):
                await join(
                    files_in(directory),
                    schema.NORTH,
                    raft_address="tcp:127.0.0.1:1",
                    members=["tcp:127.0.0.1:2"],
                )

    asyncio.run(go())


def test_what_is_no_cluster_status_is_called_so() -> None:
    from isthmus.errors import Broken

    with pytest.raises(Broken):
        parse_cluster_status("nothing of the kind")


# -- a full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = directory / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.long
def test_a_full_disk_is_an_error_to_the_writer_and_over_when_there_is_room(
    small_disk: Path,
) -> None:
    async def go() -> None:
        async with north_server(small_disk) as server, opened(server.remote) as north:
            await furnish(north)
            filler = small_disk / "filler"
            free = os.statvfs(small_disk)
            filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 20_000))
            stored = []
            with pytest.raises(Unavailable):
                for number in range(200):
                    await put(north, f"/networkInterfaces/n{number}", interface())
                    stored.append(f"n{number}")
            filler.unlink()
            with contextlib.suppress(Unavailable):
                await stop_server(files_in(small_disk))
        async with north_server(small_disk) as server, opened(server.remote) as north:
            found = {row.resource_id for row in north.view.collection("networkInterfaces")}
            assert set(stored) <= found
            for name in found:
                key = f"/networkinterfaces/{name}"
                assert len(north.view.children(key, "networkInterfaces/ipConfigurations")) == 1
            await put(north, "/networkInterfaces/after", interface())

    asyncio.run(go())
