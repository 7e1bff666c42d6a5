# SPDX-License-Identifier: Apache-2.0
"""A first machine and a further host, under a root of their own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus.cli.configuration import load
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
        from isthmus.store import schema
        from isthmus.store.servers import ServerFiles, ensure_server, stop_server

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
    assert run([*arguments, "--host", "KVM2"])[0] == 0
    found = load(other / "etc/isthmus/isthmus.toml").agent
    assert (found.host, found.south) == ("kvm2", ("ssl:192.0.2.1:6642",))
    assert found.tls.certificate == "/etc/isthmus/tls/kvm2.pem"
    key = other / "etc/isthmus/tls/kvm2-key.pem"
    assert key.stat().st_mode & 0o077 == 0


def test_a_store_grows_by_join_and_shrinks_by_leave(root: Path) -> None:
    import json

    ports = free_ports(2)

    def places(name: str) -> list[str]:
        return ["--data-dir", str(root / name / "d"), "--run-dir", str(root / name / "r")]

    async def first() -> None:
        from isthmus.store import schema
        from isthmus.store.servers import ensure_server

        await ensure_server(
            "north",
            schema.north_schema(),
            directory=root / "a" / "d",
            run_directory=root / "a" / "r",
            raft_address=f"tcp:127.0.0.1:{ports[0]}",
        )

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
