# SPDX-License-Identifier: Apache-2.0
"""Two controllers on the same stores: both serve REST, one derives, the other takes over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from isthmus.api.client import Client
from isthmus.errors import IsthmusError

pytestmark = pytest.mark.system

LONGEST_S = 60.0


class Controller:
    """The real process; `stores` is the run directory of whose servers it uses."""

    def __init__(self, folder: Path, name: str, stores: Path | None = None) -> None:
        self.name = name
        self.run_directory = folder / name
        self.socket = self.run_directory / "rest.sock"
        self._arguments = [
            *("--name", name, "--run-dir", str(self.run_directory)),
            *("--data-dir", str(folder / "data"), "--listen", f"unix:{self.socket}"),
        ]
        if stores is not None:
            self._arguments += [
                *("--store-north", f"unix:{stores}/north.sock"),
                *("--store-south", f"unix:{stores}/south.sock"),
            ]
        self.process: subprocess.Popen[bytes] | None = None

    def use_store(self, remote: str) -> None:
        """Of a server that somebody else keeps."""
        self._arguments += ["--store", remote]

    def start(self) -> None:
        self.run_directory.mkdir(exist_ok=True)
        with (self.run_directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "isthmus.cli.main", "controller", *self._arguments],
                stdout=log,
                stderr=log,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    close = kill

    def client(self) -> Client:
        return Client(f"unix:{self.socket}")

    def answers(self) -> bool:
        # Not by a client: httpcore drops the socket of a failed attempt without closing it.
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.socket)) != 0:
                return False
        with contextlib.suppress(IsthmusError), self.client() as client:
            client.discovery()
            return True
        return False

    def deriver(self) -> tuple[str | None, int | None, bool]:
        """Whom it sees deriving, in which generation, and whether all is written."""
        with self.client() as client:
            told = client.status()["deriver"]
        return told["holder"], told["generation"], not told["pending"]

    def problem(self) -> str:
        """What it says is wrong with deriving."""
        with self.client() as client:
            return str(client.status()["deriver"]["problem"])


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end, holds
        time.sleep(0.02)


@pytest.fixture
def pair() -> Iterator[tuple[Controller, Controller]]:
    folder = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    first = Controller(folder, "c1")
    second = Controller(folder, "c2", stores=first.run_directory)
    try:
        first.start()
        until(first.answers)
        until(lambda: first.deriver()[0] == "c1")
        second.start()
        until(second.answers)
        yield first, second
    finally:
        for controller in (first, second):
            if controller.process is not None:
                controller.signal(signal.SIGCONT)
            controller.kill()
        subprocess.run(
            [
                *(sys.executable, "-m", "isthmus.cli.main", "store", "stop"),
                *("--run-dir", str(first.run_directory), "--data-dir", str(folder / "data")),
            ],
            check=True,
            capture_output=True,
        )
        shutil.rmtree(folder, ignore_errors=True)


def ports(controller: Controller) -> int:
    with controller.client() as client:
        total: int = client.status()["ports"]["total"]
        return total


def heartbeats(controller: Controller) -> set[str]:
    """Whose it sees, moving or not."""
    with controller.client() as client:
        return {one["name"] for one in client.status()["controllers"]}


def furnish(controller: Controller) -> None:
    with controller.client() as client:
        client.put("/logicalNetworks/u", {"properties": {"networkVirtualizationEnabled": "True"}})
        client.put(
            "/macPools/m",
            {
                "properties": {
                    "startMacAddress": "02-00-00-00-00-00",
                    "endMacAddress": "02-00-00-00-FF-FF",
                }
            },
        )
        client.put(
            "/virtualNetworks/v",
            {
                "properties": {
                    "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                    "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                    "subnets": [
                        {"resourceId": "s", "properties": {"addressPrefix": "10.0.0.0/20"}}
                    ],
                }
            },
        )


def add_port(controller: Controller, name: str) -> None:
    config = {"subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"}}
    with controller.client() as client:
        client.put(
            f"/networkInterfaces/{name}",
            {"properties": {"ipConfigurations": [{"resourceId": "c", "properties": config}]}},
        )


def test_both_serve_and_what_either_takes_is_derived_by_one(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(second)
    for number in range(5):
        add_port(first, f"a{number}")
        add_port(second, f"b{number}")
    until(lambda: ports(first) == ports(second) == 10)
    until(lambda: first.deriver()[:2] == second.deriver()[:2] == ("c1", 1))


def test_when_the_deriver_is_killed_the_other_takes_over_and_loses_nothing(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(first)
    add_port(first, "before")
    first.kill()
    add_port(second, "meanwhile")
    until(lambda: second.deriver() == ("c2", 2, True))
    until(lambda: ports(second) == 2)
    first.start()
    until(first.answers)
    add_port(first, "after")
    until(lambda: ports(second) == ports(first) == 3)
    until(lambda: first.deriver()[0] == "c2")


def test_a_deriver_that_hung_writes_nothing_after_its_successor(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    furnish(first)
    first.signal(signal.SIGSTOP)
    add_port(second, "meanwhile")
    until(lambda: second.deriver() == ("c2", 2, True))
    first.signal(signal.SIGCONT)
    for number in range(10):
        add_port(first, f"late{number}")
    until(lambda: ports(first) == ports(second) == 11)
    until(lambda: first.deriver()[:2] == ("c2", 2))
    # That it was replaced is in order, and nothing for the operator to look after.
    until(lambda: first.problem() == "")
    log = (first.run_directory / "log").read_text()
    assert "Traceback" not in log


def test_one_that_ends_orderly_is_replaced_at_once(
    pair: tuple[Controller, Controller],
) -> None:
    first, second = pair
    first.signal(signal.SIGTERM)
    assert first.process is not None
    assert first.process.wait(LONGEST_S) == 0
    first.process = None
    assert not first.socket.exists()
    # It takes its heartbeat along: that of one that was killed would stay, and be waited for.
    until(lambda: heartbeats(second) == {"c2"})
    until(lambda: second.deriver()[0] == "c2")
    assert os.path.exists(first.run_directory / "north.sock")  # noqa: PTH110  # a socket


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@contextlib.contextmanager
def server_of_others(folder: Path, versions: Mapping[str, str]) -> Iterator[str]:
    """One that holds both data bases, with other `versions` of their schemas than ours if given;
    its remote."""
    databases = []
    for name in ("north", "south"):
        command = [sys.executable, "-m", "isthmus.cli.main", "store", "schema", name]
        printed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        file = folder / f"{name}.ovsschema"
        file.write_text(json.dumps({**printed, "version": versions.get(name, printed["version"])}))
        databases.append(str(folder / f"{name}.db"))
        subprocess.run(["ovsdb-tool", "create", databases[-1], str(file)], check=True)
    server = subprocess.Popen(
        [
            *("ovsdb-server", "-vconsole:off", f"--remote=punix:{folder}/db.sock"),
            *(f"--unixctl={folder}/ctl", f"--pidfile={folder}/pid", *databases),
        ]
    )
    try:
        yield f"unix:{folder}/db.sock"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.parametrize("store", ["north", "south"])
@pytest.mark.parametrize(
    ("version", "advice"), [("0.1.0", "ovsdb-client convert"), ("99.0.0", "newer program")]
)
def test_a_schema_of_others_that_is_not_ours_is_refused_with_what_to_do(
    folder: Path, store: str, version: str, advice: str
) -> None:
    controller = Controller(folder, "c1")
    with server_of_others(folder, {store: version}) as remote:
        controller.use_store(remote)
        controller.start()
        assert controller.process is not None
        try:
            assert controller.process.wait(LONGEST_S) == 1
        finally:
            controller.kill()
    log = (controller.run_directory / "log").read_text()
    assert f"{remote} has schema version {version}" in log
    assert advice in log
    assert "Traceback" not in log


def test_a_controller_works_on_any_server_that_holds_both_data_bases(folder: Path) -> None:
    controller = Controller(folder, "c1")
    with server_of_others(folder, {}) as remote, contextlib.closing(controller):
        controller.use_store(remote)
        controller.start()
        until(controller.answers)
        furnish(controller)
        add_port(controller, "n")
        until(lambda: controller.deriver() == ("c1", 1, True) and ports(controller) == 1)
        assert not (folder / "data" / "north.db").exists()
