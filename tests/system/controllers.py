# SPDX-License-Identifier: Apache-2.0
"""Controllers as processes of their own, and the stores that they use."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from isthmus.api.client import Client
from isthmus.errors import IsthmusError

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


def ports(controller: Controller) -> int:
    with controller.client() as client:
        total: int = client.status()["ports"]["total"]
        return total


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
