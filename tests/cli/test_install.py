# SPDX-License-Identifier: Apache-2.0
"""A first machine and a further host, under a root of their own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus.cli.configuration import load
from isthmus.store import schema
from isthmus.store.backups import backup
from isthmus.store.servers import ServerFiles, ensure_server, stop_server
from tests.cli.conftest import run
from tests.ports import free_ports
from tests.store.cloud import opened

pytestmark = pytest.mark.system


@pytest.fixture
def root() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def _init(root: Path, *more: str) -> tuple[int, str, str]:
    where = ("--root", str(root), "--host", "H1", "--provider-address", "192.0.2.1")
    return run(["init", *where, *more])


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "etc").rglob("*"))
        if path.is_file()
    }


def test_init_makes_what_is_missing_and_changes_nothing_the_second_time(root: Path) -> None:
    assert _init(root)[0] == 0
    files = _files(root)
    assert "etc/isthmus/isthmus.toml" in files
    assert "etc/isthmus/tls/h1-key.pem" in files
    found = load(root / "etc/isthmus/isthmus.toml")
    assert (found.controller.name, found.agent.host) == ("h1", "h1")
    assert found.agent.provider_address == "192.0.2.1"
    assert found.agent.underlay_interface == ""
    code, out, _ = _init(root)
    assert code == 0
    assert "left as it is" in out
    assert _files(root) == files


def test_a_dry_run_makes_nothing(root: Path) -> None:
    code, out, _ = _init(root, "--dry-run")
    assert code == 0
    assert "would write" in out
    assert not (root / "etc").exists()
    assert not (root / "var").exists()


def test_the_default_resources_are_in_the_store_and_no_server_is_left_running(root: Path) -> None:
    _init(root)
    assert not (root / "run/isthmus/north.pid").exists()

    async def go() -> set[str]:
        files = ServerFiles("north", root / "var/lib/isthmus", root / "run/isthmus")
        server = await ensure_server(
            "north",
            schema.north_schema(),
            directory=files.directory,
            run_directory=files.run_directory,
        )
        try:
            async with opened(server.remote, replica="") as north:
                return set(north.view.row_ids)
        finally:
            await stop_server(files)

    assert asyncio.run(go()) == {
        "/logicalnetworks/underlay",
        "/macpools/default",
        "/virtualnetworkmanager/configuration",
        "/servers/h1",
    }


def test_units_are_written_where_systemd_runs(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    _init(root)
    unit = (root / "etc/systemd/system/isthmus-controller.service").read_text()
    assert "ExecStart=" in unit
    assert "KillMode=process" in unit
    assert (root / "etc/systemd/system/isthmus-agent.service").exists()


def test_the_unit_of_a_package_is_not_written_a_second_time(root: Path) -> None:
    (root / "run/systemd/system").mkdir(parents=True)
    packaged = root / "usr/lib/systemd/system/isthmus-agent.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("[Unit]\n")
    _init(root)
    assert (root / "etc/systemd/system/isthmus-controller.service").exists()
    assert not (root / "etc/systemd/system/isthmus-agent.service").exists()


def test_a_further_host_joins_with_certificates_of_its_own_name(root: Path) -> None:
    _init(root)
    bundle = root / "bundle"
    tls = ("--folder", str(root / "etc/isthmus/tls"))
    assert run(["certs", "host", "kvm2", *tls, "--into", str(bundle)])[0] == 0
    other = root / "other"
    where = ("--root", str(other), "--provider-address", "192.0.2.2")
    arguments = ["join", "ssl:192.0.2.1:6642", "--certificates", str(bundle), *where]
    code, _, said = run([*arguments, "--host", "kvm3"])
    assert code == 1
    assert "kvm3.pem" in said
    assert run([*arguments, "--host", "KVM2", "--underlay-interface", "eth1"])[0] == 0
    found = load(other / "etc/isthmus/isthmus.toml").agent
    assert found.underlay_interface == "eth1"
    assert (found.host, found.south) == ("kvm2", ("ssl:192.0.2.1:6642",))
    assert found.tls.certificate == "/etc/isthmus/tls/kvm2.pem"
    key = other / "etc/isthmus/tls/kvm2-key.pem"
    assert key.stat().st_mode & 0o077 == 0


def test_what_is_no_backup_is_refused_and_what_is_there_stays(root: Path) -> None:
    _init(root)
    place = ("--data-dir", str(root / "var/lib/isthmus"), "--run-dir", str(root / "run/isthmus"))
    database = root / "var/lib/isthmus/north.db"
    before = database.read_bytes()
    south = root / "south"
    (root / "south.ovsschema").write_text(run(["store", "schema", "south"])[1])
    subprocess.run(["ovsdb-tool", "create", south, root / "south.ovsschema"], check=True)
    south.write_bytes(south.read_bytes() * 2)  # two records, as a backup has
    text = root / "text"
    text.write_text("resourceRef: /servers/x\n")
    for file, words in (
        (text, "is no backup"),
        (root / "empty", "is no backup"),
        (root, "is no backup"),
        (database, "is no backup"),
        (south, "not of Isthmus_North"),
        (root / "absent", "there is no file"),
    ):
        (root / "empty").touch()
        code, out, said = run(["restore", str(file), *place])
        assert (code, out) == (1, ""), file
        assert words in said and str(file) in said
        assert database.read_bytes() == before
        assert sorted(one.name for one in database.parent.glob("north*")) == ["north.db"]


def test_a_backup_that_was_cut_off_is_refused(root: Path) -> None:
    """ovsdb-tool would take it for an older one, with less in it."""
    _init(root)
    data, runtime = root / "var/lib/isthmus", root / "run/isthmus"
    copy = root / "copy"

    async def go() -> None:
        async with running_store(data, runtime) as remote:
            await backup(remote, schema.NORTH, copy)

    asyncio.run(go())
    place = ("--data-dir", str(data), "--run-dir", str(runtime))
    whole = copy.read_bytes()
    second = whole.index(b"\nOVSDB JSON") + 1
    for damaged in (whole[:-10], whole[:second], whole[:-10] + b"x" * 10, whole + b"more"):
        copy.write_bytes(damaged)
        code, _, said = run(["restore", str(copy), *place])
        assert code == 1
        assert "no whole one" in said
    copy.write_bytes(whole)
    code, out, said = run(["restore", str(copy), *place])
    assert code == 0, said
    assert "start the controller again" in out


@asynccontextmanager
async def running_store(data: Path, runtime: Path) -> AsyncIterator[str]:
    """The north store's server."""
    server = await ensure_server(
        "north", schema.north_schema(), directory=data, run_directory=runtime
    )
    try:
        yield server.remote
    finally:
        await stop_server(ServerFiles("north", data, runtime))


def test_a_store_grows_by_join_and_shrinks_by_leave(root: Path) -> None:
    import json

    ports = free_ports(2)

    def places(name: str) -> list[str]:
        return ["--data-dir", str(root / name / "d"), "--run-dir", str(root / name / "r")]

    async def first() -> None:
        await ensure_server(
            "north",
            schema.north_schema(),
            directory=root / "a" / "d",
            run_directory=root / "a" / "r",
            raft_address=f"tcp:127.0.0.1:{ports[0]}",
        )

    def shown(name: str) -> list[str]:
        """The table's row of the north."""
        code, out, _ = run(["store", "status", *places(name)])
        assert code == 1  # no server of the south is here
        columns, *rows = [line.split("\t") for line in out.splitlines()]
        assert columns[0] == "STORE"
        return next(row for row in rows if row[0] == "north")

    def members(name: str) -> str:
        _, out, _ = run(["store", "status", "--json", *places(name)])
        north = next(row for row in json.loads(out) if row["store"] == "north")
        return str(north["members"])

    asyncio.run(first())
    try:
        address = f"tcp:127.0.0.1:{ports[1]}"
        joined = ["store", "join", "north", f"tcp:127.0.0.1:{ports[0]}", "--address", address]
        code, out, said = run([*joined, *places("b")])
        assert code == 0, said
        assert "a server joins" in out
        _until(lambda: address in members("a") and address in members("b"))
        _until(lambda: shown("b")[1:3] == ["cluster member", "follower"])
        _until(lambda: shown("a")[1:3] == ["cluster member", "leader"])
        assert "exists" in run([*joined, *places("b")])[2]
        assert "no store" in run(["store", "join", "nothing", "x", "--address", "y"])[2]
        assert run(["store", "leave", "north", *places("b")])[0] == 0
        _until(lambda: address not in members("a"))
    finally:
        for name in ("a", "b"):
            run(["store", "stop", *places(name)])


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
