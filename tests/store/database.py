# SPDX-License-Identifier: Apache-2.0
"""A real ovsdb-server for one test, that can be killed, stopped and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from isthmus.wire.ovsdb import RowId

LONGEST_S = 30.0


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """A row with a column of every type."""

    TABLE: ClassVar[str] = "Thing"
    name: str
    size: int = 0
    weight: float = 0.0
    good: bool = False
    note: str | None = None
    words: tuple[str, ...] = ()
    numbers: frozenset[int] = frozenset()
    labels: dict[str, str] = {}
    owner: RowId | None = None
    parts: frozenset[RowId] = frozenset()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Part"
    name: str


def _set(key: object, most: int | str = "unlimited") -> dict[str, object]:
    return {"type": {"key": key, "min": 0, "max": most}}


SCHEMA = {
    "name": "Things",
    "version": "1.0.0",
    "tables": {
        "Thing": {
            "columns": {
                "name": {"type": "string"},
                "size": {"type": "integer"},
                "weight": {"type": "real"},
                "good": {"type": "boolean"},
                "note": _set("string", 1),
                "words": _set("string"),
                "numbers": _set("integer"),
                "labels": {
                    "type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
                },
                "owner": _set({"type": "uuid", "refTable": "Thing", "refType": "weak"}, 1),
                "parts": _set({"type": "uuid", "refTable": "Part", "refType": "strong"}),
            },
            "indexes": [["name"]],
            "isRoot": True,
        },
        "Part": {"columns": {"name": {"type": "string"}}, "isRoot": True},
    },
}


class Server:
    """Keeps one data base; use as a context manager. `directory` must have a short path.

    Standalone, or the first server of a cluster, or one that joins the cluster of `peer`.
    """

    def __init__(
        self,
        directory: Path,
        schema: Mapping[str, object] = SCHEMA,
        *,
        clustered: bool = False,
        peer: Server | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.directory = directory
        self.socket = directory / "db.sock"
        self.remote = f"unix:{self.socket}"
        self.database = directory / "db"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        schema_file = directory / "schema.json"
        schema_file.write_text(json.dumps(schema))
        command = ["ovsdb-tool", "create", str(self.database), str(schema_file)]
        raft = f"unix:{directory}/raft"
        if peer is not None:
            command = ["ovsdb-tool", "join-cluster", str(self.database), str(schema["name"]), raft]
            command.append(f"unix:{peer.directory}/raft")
        elif clustered:
            command = ["ovsdb-tool", "create-cluster", str(self.database), str(schema_file), raft]
        subprocess.run(command, check=True, capture_output=True)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                "ovsdb-server",
                "-vconsole:off",
                f"--remote=punix:{self.socket}",
                f"--unixctl={self.directory}/ctl",
                f"--pidfile={self.directory}/pid",
                *self._arguments,
                str(self.database),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + LONGEST_S
        while subprocess.run(
            ["ovs-appctl", "-t", f"{self.directory}/ctl", "version"], capture_output=True
        ).returncode:
            assert time.monotonic() < until, "ovsdb-server does not start"
            time.sleep(0.01)

    def kill(self) -> None:
        """End it with -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            (self.directory / "pid").unlink(missing_ok=True)

    def appctl(self, *command: str) -> str:
        return subprocess.run(
            ["ovs-appctl", "-t", f"{self.directory}/ctl", *command],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)
