# SPDX-License-Identifier: Apache-2.0
"""Real ovsdb-servers for one test, in the foreground, with a small schema of every column type."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from isthmus.store.connection import Change, Connection
from isthmus.wire.ovsdb import NO_ROW, RowId

LONGEST_S = 20.0


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Thing"
    name: str
    count: int = 0
    ratio: float = 0.0
    flag: bool = False
    holder: RowId = NO_ROW
    nick: str | None = None
    number: int | None = None
    tags: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    friends: frozenset[RowId] = frozenset()
    options: dict[str, str] = {}


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Holds a thing by a strong reference."""

    TABLE: ClassVar[str] = "Holder"
    label: str = ""
    thing: RowId | None = None


ROWS = (Thing, Holder)


def _set(kind: object, most: object = "unlimited") -> dict[str, object]:
    return {"type": {"key": kind, "min": 0, "max": most}}


SCHEMA: dict[str, Any] = {
    "name": "Things",
    "version": "1.0.0",
    "tables": {
        "Thing": {
            "columns": {
                "name": {"type": "string"},
                "count": {"type": {"key": {"type": "integer", "minInteger": 0}}},
                "ratio": {"type": "real"},
                "flag": {"type": "boolean"},
                "holder": {"type": "uuid"},
                "nick": _set("string", 1),
                "number": _set("integer", 1),
                "tags": _set("string"),
                "numbers": _set("integer"),
                "friends": _set({"type": "uuid", "refTable": "Thing", "refType": "weak"}),
                "options": {
                    "type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}
                },
            },
            "indexes": [["name"]],
            "isRoot": True,
        },
        "Holder": {
            "columns": {
                "label": {"type": "string"},
                "thing": _set({"type": "uuid", "refTable": "Thing", "refType": "strong"}, 1),
            },
            "isRoot": True,
        },
    },
}


class DatabaseServer:
    """One ovsdb-server, with sockets and files in `directory`, whose path must be short.

    Standalone, or the first of a cluster, or one that joins the cluster of `peer`.
    """

    def __init__(
        self,
        directory: Path,
        name: str = "db",
        *,
        clustered: bool = False,
        peer: DatabaseServer | None = None,
        schema: dict[str, Any] = SCHEMA,
        remotes: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.remote = f"unix:{directory}/{name}.sock"
        self.directory = directory
        self._name = name
        self._file = directory / f"{name}.ovsdb"
        self._raft = f"unix:{directory}/{name}.raft"
        self._remotes = [f"--remote=p{self.remote}", *(f"--remote={one}" for one in remotes)]
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        schema_file = directory / f"{name}.ovsschema"
        schema_file.write_text(json.dumps(schema))
        if peer is not None:
            _run("ovsdb-tool", "join-cluster", self._file, schema["name"], self._raft, peer._raft)
        elif clustered:
            _run("ovsdb-tool", "create-cluster", self._file, schema_file, self._raft)
        else:
            _run("ovsdb-tool", "create", self._file, schema_file)

    def start(self) -> None:
        """Returns when it answers."""
        self._process = subprocess.Popen(
            [
                "ovsdb-server",
                str(self._file),
                *self._remotes,
                *self._options,
                f"--unixctl={self.directory}/{self._name}.ctl",
                f"--log-file={self.directory}/{self._name}.log",
                "-vconsole:off",
                "-vsyslog:off",
            ],
            stdin=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + LONGEST_S
        while not self.answers():
            assert self._process.poll() is None, "ovsdb-server did not start"
            assert time.monotonic() < deadline_s, "ovsdb-server does not answer"
            time.sleep(0.02)

    def answers(self) -> bool:
        command = ["ovsdb-client", "--timeout=2", "list-dbs", self.remote]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def kill(self, signal: int = 9) -> None:
        assert self._process is not None
        self._process.send_signal(signal)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def appctl(self, *command: str) -> str:
        return _run("ovs-appctl", "-t", self.directory / f"{self._name}.ctl", *command)

    def dump(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as another client sees them, with their JSON values."""
        select = json.dumps(["Things", {"op": "select", "table": table, "where": []}])
        rows = json.loads(_run("ovsdb-client", "query", self.remote, select))[0]["rows"]
        assert isinstance(rows, list)
        return rows


def _run(*command: object) -> str:
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True
    ).stdout


@asynccontextmanager
async def client(
    *remotes: str,
    row_types: Sequence[type[msgspec.Struct]] = ROWS,
    changes: list[Change] | None = None,
    wait: bool = True,
    **options: Any,
) -> AsyncIterator[Connection]:
    """A connection to the data base of `SCHEMA`, loaded unless `wait` is False."""
    if changes is not None:
        options["on_changes"] = changes.extend
    connection = Connection(remotes, "Things", row_types, name="test", **options)
    await connection.start()
    try:
        if wait:
            await connection.loaded(LONGEST_S)
        yield connection
    finally:
        await connection.stop()


async def until(condition: Callable[[], bool], longest_s: float = LONGEST_S) -> None:
    """Poll; what is waited for happens in another process."""
    deadline_s = time.monotonic() + longest_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        await asyncio.sleep(0.005)
