# SPDX-License-Identifier: Apache-2.0
"""A first machine and a further host, under a root of their own."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from isthmus.cli.configuration import load
from isthmus.store import schema
from isthmus.store.backups import backup
from isthmus.store.servers import ServerFiles, ensure_server, stop_server
from tests.cli.conftest import run
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
    assert "etc/isthmus/tls/north/controller-key.pem" in files
    found = load(root / "etc/isthmus/isthmus.toml")
    assert found.controller.north_tls.ca == "/etc/isthmus/tls/north/ca.pem"
    assert files["etc/isthmus/tls/north/ca.pem"] != files["etc/isthmus/tls/ca.pem"]
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
    assert "StartLimitIntervalSec=0" in unit
    assert "StateDirectoryMode=0700" in unit
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
    stores = ("ssl:192.0.2.1:6642", "ssl:192.0.2.2:6642")
    arguments = ["join", *stores, "--certificates", str(bundle), *where]
    code, _, said = run([*arguments, "--host", "kvm3"])
    assert code == 1
    assert "kvm3.pem" in said
    assert run([*arguments, "--host", "KVM2", "--underlay-interface", "eth1"])[0] == 0
    found = load(other / "etc/isthmus/isthmus.toml").agent
    assert found.underlay_interface == "eth1"
    assert (found.host, found.south) == ("kvm2", stores)
    assert found.tls.certificate == "/etc/isthmus/tls/kvm2.pem"
    key = other / "etc/isthmus/tls/kvm2-key.pem"
    assert key.stat().st_mode & 0o077 == 0


def test_a_key_is_never_there_for_others_not_even_for_a_moment(root: Path) -> None:
    """Whoever looks before each opening, renaming and narrowing of a file finds none."""
    _init(root)
    bundle, other = root / "bundle", root / "other"
    tls = ("--folder", str(root / "etc/isthmus/tls"))
    assert run(["certs", "host", "kvm2", *tls, "--into", str(bundle)])[0] == 0
    folder = other / "etc/isthmus/tls"
    seen: list[str] = []
    looking = [False]

    def look(event: str, _arguments: tuple[object, ...]) -> None:
        if not looking[0] or event not in ("open", "os.chmod", "os.rename"):
            return
        looking[0] = False  # what we open ourselves is no event
        for one in folder.glob("*"):
            if b"PRIVATE KEY" in one.read_bytes() and one.stat().st_mode & 0o077:
                seen.append(one.name)
        looking[0] = True

    sys.addaudithook(look)
    looking[0] = True
    where = ("--root", str(other), "--provider-address", "192.0.2.2", "--host", "kvm2")
    code, _, said = run(["join", "ssl:192.0.2.1:6642", "--certificates", str(bundle), *where])
    looking[0] = False
    assert code == 0, said
    assert (folder / "kvm2-key.pem").stat().st_mode & 0o077 == 0
    assert seen == []


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
