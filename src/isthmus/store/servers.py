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
import resource
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from isthmus.errors import Conflict, NotFound, Unavailable
from isthmus.store.commands import output_of, succeeds
from isthmus.store.databases import address_of, check, convert, create
from isthmus.store.exposure import ServerTls, refuse_exposed
from isthmus.store.files import ServerFiles, State, placement, remember
from isthmus.store.schema import Schema

__all__ = ["Server", "ServerFiles", "ServerTls", "ensure_server", "running", "stop_server"]

START_S = 10.0
STOP_S = 10.0
MOST_FILES = 65_536
"""As the controller's unit has it. A connection that says nothing costs a server 50 kB."""


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

    `listen` are addresses for clients, ``ptcp:6641:127.0.0.1``, ``pssl:6641``, beside those that
    the machine remembers; `raft_address` is where other servers of a cluster reach this one, fixed
    when the data base is made; empty for a cluster that shall not leave this machine.

    Raises Invalid for a data base that is corrupt, of another kind or newer than we, and for an
    address that is open to anybody; Conflict where a server has left its cluster; Unavailable when
    the server does not start.
    """
    files = ServerFiles(name, directory, run_directory)
    async with held(files):
        _refuse_left(files)
        _want(files, State.SERVES)
        pid = await running(files)
        if pid is not None:
            server = Server(files.remote, pid, False)
        else:
            if not files.database.exists():
                refuse_exposed(listen, [raft_address or files.local_address], tls)
                await create(files, schema, raft_address)
            await check(files, schema)
            server = Server(files.remote, await start(files, listen, tls), True)
        await convert(files, schema)
    return server


async def running(files: ServerFiles) -> int | None:
    """The process that serves, if there is one and it answers. Raises Unavailable if it does not
    answer."""
    pid = process_of(files)
    if pid is None or await succeeds("ovs-appctl", "-t", str(files.control), "version"):
        return pid
    raise Unavailable(
        f"the ovsdb-server {pid} of {files.database} runs and does not answer: look at"
        f" {files.log}; `kill {pid}` lets it be started anew"
    )


def process_of(files: ServerFiles) -> int | None:
    """The process of the server, if there is one, whether it answers or not."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(files.pid.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        ours = any(word.endswith(b"ovsdb-server") for word in command[:2])
        if ours and str(files.database).encode() in command:
            return pid
    return None


async def stop_server(files: ServerFiles) -> bool:
    """End the server, one that hangs as well; False when none ran."""
    pid = process_of(files)
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


async def stop_for_good(files: ServerFiles) -> bool:
    """End the server, and have nobody start it again unasked; False when none ran."""
    async with held(files):
        if files.database.exists():
            _want(files, State.STOPPED)
        return await stop_server(files)


async def start_again(
    files: ServerFiles, listen: Sequence[str] = (), tls: ServerTls | None = None
) -> Server:
    """Have the server of a data base run that is there. Raises NotFound where none is, Conflict
    where it has left its cluster, Invalid, Unavailable."""
    async with held(files):
        _refuse_left(files)
        if not files.database.exists():
            raise NotFound(
                f"there is no {files.database}: the controller makes one at its first start, and"
                " `isthmus store join` one of a cluster",
                target=str(files.database),
            )
        _want(files, State.SERVES)
        pid = await running(files)
        if pid is not None:
            return Server(files.remote, pid, False)
        return Server(files.remote, await start(files, listen, tls), True)


def _want(files: ServerFiles, state: State) -> None:
    remember(files, msgspec.structs.replace(placement(files), state=state))


def _refuse_left(files: ServerFiles) -> None:
    if placement(files).state is State.LEFT:
        name = files.name
        raise Conflict(
            f"the server of the {name} store here has left its cluster: `isthmus store join` it"
            f" again, or name other servers in `{name}` of the configuration. To begin with an"
            f" empty store, remove {files.placement}",
            target=str(files.placement),
        )


def _is_alive(pid: int) -> bool:
    """Not when it has ended and only waits for its parent to notice (proc(5), state Z): all of its
    threads, for until the last has gone its files, and what it has locked, are open."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False


@contextlib.asynccontextmanager
async def held(files: ServerFiles) -> AsyncIterator[None]:
    """Make the directories, and hold the lock: of several that start a server at once, one does."""
    for folder in (files.directory, files.run_directory):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(files.lock, os.O_CREAT | os.O_WRONLY, 0o600), "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.02)
        yield


async def start(files: ServerFiles, listen: Sequence[str], tls: ServerTls | None) -> int:
    """Start the server of a data base; its process. Raises Invalid for an address that is open to
    anybody, Unavailable."""
    remotes = tuple(dict.fromkeys((*listen, *placement(files).listen)))
    refuse_exposed(remotes, [await address_of(files)], tls)
    arguments = [f"--remote=punix:{files.socket}", *(f"--remote={one}" for one in remotes)]
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
    _allow_files(pid)
    return pid


def _allow_files(pid: int) -> None:
    """Let a server have as many connections as it may. It never closes those of clients that say
    nothing, and one without a file left serves nobody, not even this machine."""
    with contextlib.suppress(ProcessLookupError):  # whoever keeps it sees that it has ended
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))
