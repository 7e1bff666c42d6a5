# SPDX-License-Identifier: Apache-2.0
"""ovsdb-servers of our own: RAFT clusters of one, until they are grown.

A server runs detached and outlives the controller that started it; whoever asks for it next takes
it over. It keeps its data in ``<data>/<name>.db`` and everything else in the run directory:
``<name>.sock`` for clients, ``.pid``, ``.ctl`` (ovs-appctl), ``.log``, ``.lock``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import Invalid, Unavailable
from isthmus.store.commands import output_of, succeeds
from isthmus.store.schema import Schema, encoded, numbers

START_S = 10.0
_RECORD = b"\nOVSDB CLUSTER "
"""How every record but the first begins (ovsdb(5), Clustered Database Format)."""
_FRESH = "all logs are empty"
"""ovsdb-tool's complaint of a data base that no server has opened yet."""
STOP_S = 10.0


class ServerFiles(NamedTuple):
    """Where one server keeps what."""

    name: str
    directory: Path
    run_directory: Path

    @property
    def database(self) -> Path:
        return self.directory / f"{self.name}.db"

    @property
    def socket(self) -> Path:
        return self.run_directory / f"{self.name}.sock"

    @property
    def control(self) -> Path:
        return self.run_directory / f"{self.name}.ctl"

    @property
    def pid(self) -> Path:
        return self.run_directory / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.run_directory / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        return self.run_directory / f"{self.name}.lock"

    @property
    def remote(self) -> str:
        """How clients on this machine reach it."""
        return f"unix:{self.socket}"


class ServerTls(NamedTuple):
    """The PEM files by which a server proves itself, and whose clients it takes."""

    certificate: Path
    key: Path
    ca: Path


class Server(NamedTuple):
    """A server that runs."""

    remote: str
    pid: int
    started: bool
    """By us, just now; else it was taken over."""


async def ensure_server(
    name: str,
    schema: Schema,
    *,
    directory: Path,
    run_directory: Path,
    listen: Sequence[str] = (),
    raft_address: str = "",
    tls: ServerTls | None = None,
) -> Server:
    """Have the server of a store run: the one that does, or a new one on the old or a new data
    base. An older schema is converted.

    `listen` are further addresses for clients, ``ptcp:6641:127.0.0.1``, ``pssl:6641``;
    `raft_address` is where other servers of a cluster reach this one, fixed when the data base is
    made; empty for a cluster that shall not leave this machine. Raises Invalid for a data base that
    is corrupt, of another kind or newer than we; Unavailable when the server does not start.
    """
    files = ServerFiles(name, directory, run_directory)
    async with held(files):
        pid = await running(files)
        if pid is not None:
            server = Server(files.remote, pid, False)
        else:
            if not files.database.exists():
                await _create(files, schema, raft_address)
            await _check(files, schema)
            server = Server(files.remote, await start(files, listen, tls), True)
        await _convert(files, schema)
    return server


async def running(files: ServerFiles) -> int | None:
    """The process that serves, if there is one and it answers."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(files.pid.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ours = any(word.endswith(b"ovsdb-server") for word in command[:2])
        if ours and str(files.database).encode() in command:
            if await succeeds("ovs-appctl", "-t", str(files.control), "version"):
                return pid
            raise Unavailable(
                f"the ovsdb-server {pid} of {files.database} runs and does not answer: look at"
                f" {files.log}; `kill {pid}` lets it be started anew"
            )
    return None


async def stop_server(files: ServerFiles) -> bool:
    """End the server; False when none ran."""
    pid = await running(files)
    if pid is None:
        return False
    # Not by ovs-appctl's exit, which takes two seconds to look for another leader.
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_S
    while _is_alive(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            until += STOP_S
        await asyncio.sleep(0.02)
    return True


def _is_alive(pid: int) -> bool:
    """Not when it has ended and only waits for its parent to notice (proc(5), state Z)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextlib.asynccontextmanager
async def held(files: ServerFiles) -> AsyncIterator[None]:
    """Make the directories, and hold the lock: of several that start a server at once, one does."""
    for folder in (files.directory, files.run_directory):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with files.lock.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.02)
        yield


def local_address(files: ServerFiles) -> str:
    return f"unix:{files.run_directory}/{files.name}.raft"


async def _create(files: ServerFiles, schema: Schema, raft_address: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        schema_file = Path(folder) / "schema.json"
        schema_file.write_bytes(encoded(schema))
        address = raft_address or local_address(files)
        # Made beside and renamed, so that a crash leaves no half of a data base.
        new = Path(folder) / "new.db"
        await output_of("ovsdb-tool", "create-cluster", str(new), str(schema_file), address)
        whole = files.database.with_suffix(".new")
        shutil.copyfile(new, whole)
        whole.chmod(0o600)
        whole.replace(files.database)


async def _check(files: ServerFiles, schema: Schema) -> None:
    """Refuse what is no sound data base of ours, before a server touches it."""
    path = str(files.database)
    repair = (
        "move the file away and restore a backup (`isthmus restore FILE`); with more servers in the"
        " cluster, move it away and `isthmus store join`"
    )
    if not await succeeds("ovsdb-tool", "db-is-clustered", path):
        raise Invalid(f"{path} is no clustered OVSDB data base: {repair}", target=path)
    try:
        await output_of("ovsdb-tool", "check-cluster", path)
    except Unavailable as error:
        told = error.message
        if _FRESH not in told and not await asyncio.to_thread(_is_torn_tail, files.database, told):
            raise Invalid(f"{path} is corrupt: {told}. {repair}", target=path) from error
    name = (await output_of("ovsdb-tool", "db-name", path)).decode().strip()
    if name != schema["name"]:
        raise Invalid(f"{path} holds {name}, not {schema['name']}: {repair}", target=path)


def _is_torn_tail(database: Path, complaint: str) -> bool:
    """Whether ovsdb-tool complains of a last record that a crash cut short: nothing follows it, and
    nobody was told that it was written. The server drops it. It would also drop all that follows a
    record damaged in the middle, which must not pass for this.
    """
    found = re.search(r"offset (\d+)", complaint)
    if found is None:
        return False
    rest = database.read_bytes()[int(found[1]) :]
    return _RECORD not in rest[1:]


def refuse_newer(files: ServerFiles, schema: Schema, found: str) -> None:
    if numbers(found) > numbers(str(schema["version"])):
        raise Invalid(
            f"{files.database} has schema version {found}, this program knows"
            f" {schema['version']}: use the newer program that wrote it",
            target=str(files.database),
        )


async def start(files: ServerFiles, listen: Sequence[str], tls: ServerTls | None) -> int:
    arguments = [f"--remote=punix:{files.socket}", *(f"--remote={one}" for one in listen)]
    if tls is not None:
        arguments += [
            f"--certificate={tls.certificate}",
            f"--private-key={tls.key}",
            f"--ca-cert={tls.ca}",
        ]
    await output_of(
        "ovsdb-server",
        "--detach",
        "--no-chdir",
        "-vconsole:off",
        "-vfile:info",
        f"--pidfile={files.pid}",
        f"--log-file={files.log}",
        f"--unixctl={files.control}",
        *arguments,
        str(files.database),
        timeout_s=START_S,
    )
    pid = await running(files)
    if pid is None:
        raise Unavailable(f"ovsdb-server ended as soon as it was started: look at {files.log}")
    files.socket.chmod(0o600)
    return pid


async def _convert(files: ServerFiles, schema: Schema) -> None:
    """Bring an older schema to ours while the server runs."""
    name = str(schema["name"])
    asked = ("ovsdb-client", f"--timeout={START_S:g}", "get-schema-version", files.remote, name)
    found = (await output_of(*asked)).decode().strip()
    refuse_newer(files, schema, found)
    if found == schema["version"]:
        return
    with tempfile.NamedTemporaryFile(suffix=".json") as schema_file:
        schema_file.write(encoded(schema))
        schema_file.flush()
        await output_of("ovsdb-client", "--timeout=60", "convert", files.remote, schema_file.name)
