# SPDX-License-Identifier: Apache-2.0
"""A cluster that grows by servers on other machines, and shrinks again.

A cluster of one that stays on its machine is moved to an address that others reach (`share`);
others `join`; one `leave`s, or is `remove`d when it will not come back. Each waits until it is so,
for a bounded time, and can be repeated. After `leave` no server is started there in its place: an
empty one would tell hosts that there is no policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import Conflict, Invalid, NotFound, Unavailable
from isthmus.store.clusters import JOINING, MEMBER, ClusterStatus, cluster_status, problem_of
from isthmus.store.commands import output_of
from isthmus.store.databases import address_of, check, convert, create, members_of, move
from isthmus.store.exposure import ServerTls, refuse_exposed
from isthmus.store.files import Placement, ServerFiles, State, placement, remember
from isthmus.store.schema import Schema
from isthmus.store.servers import held, process_of, running, start, stop_server

PORT = 6641
_CLIENT = {"north": 0, "south": 1}
_RAFT = {"north": 2, "south": 3}
POLL_S = 0.2


class Place(NamedTuple):
    """Where the servers of a machine are reached: four ports, for clients and for servers of either
    store."""

    host: str
    """With brackets, if it is IPv6."""
    port: int = PORT

    def raft(self, name: str) -> str:
        """Where other servers reach that of a store."""
        return f"ssl:{self.host}:{self.port + _RAFT[name]}"

    def listen(self, name: str) -> str:
        """Where that of a store listens for clients."""
        return f"pssl:{self.port + _CLIENT[name]}:{self.host}"

    def remote(self, name: str) -> str:
        """How clients say that."""
        return f"ssl:{self.host}:{self.port + _CLIENT[name]}"


def parse_place(text: str) -> Place:
    """``192.0.2.1``, ``192.0.2.1:6641``, ``[2001:db8::1]:6641``. Raises Invalid."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = text, str(PORT)
    try:
        address = ip_address(host.strip("[]"))
        number = int(port) if port.isdecimal() else 0
        if not 0 < number <= 65535 - max(_RAFT.values()):
            raise ValueError(port)
    except ValueError as error:
        raise Invalid(
            f"{text!r} is no address of a machine: write 192.0.2.1, or 192.0.2.1:6641 with the"
            " first of its four ports",
            target=text,
        ) from error
    return Place(f"[{address}]" if address.version == 6 else str(address), number)


# -- a first server that others reach --------------------------------------------------------------


async def share(
    files: ServerFiles,
    schema: Schema,
    *,
    raft_address: str,
    listen: Sequence[str],
    tls: ServerTls | None,
    configured: Sequence[str] = (),
    alone: bool = False,
) -> Path | None:
    """Have the server of a store be where others can reach it; the path that the old data base was
    moved to, if it had to become another. `listen` is remembered, `configured` is not.

    What clients were told stays true: the server is stopped, its log is carried over, and it starts
    with another identity. With `alone`, also one of several: a new cluster of this server, for when
    most of the old one is lost. Raises Conflict for one of several otherwise, Invalid, Unavailable.
    """
    refuse_exposed([*listen, *configured], [raft_address], tls)
    aside = None
    async with held(files):
        if files.database.exists():
            members = await asyncio.to_thread(members_of, files.database)
            moves = alone or await address_of(files) != raft_address
            if moves and len(members) > 1 and not alone:
                raise Conflict(
                    f"the {files.name} store has {len(members)} servers already"
                    f" ({', '.join(members)}): this one cannot move. `isthmus store leave` and"
                    " `store join` with the new address"
                )
            await stop_server(files)
            await check(files, schema)
            if moves:
                aside = await move(files, raft_address)
        else:
            await create(files, schema, raft_address)
        remember(files, Placement(State.SERVES, tuple(listen)))
        await start(files, configured, tls)
        await convert(files, schema)
    await wait_until_member(files, str(schema["name"]), timeout_s=30.0)
    return aside


# -- another server --------------------------------------------------------------------------------


async def join(
    files: ServerFiles,
    database: str,
    *,
    raft_address: str,
    members: Sequence[str],
    listen: Sequence[str] = (),
    tls: ServerTls | None = None,
    configured: Sequence[str] = (),
) -> None:
    """Have a server on this machine ask to be taken into a cluster: `members` are RAFT addresses of
    servers in it. `wait_until_member` tells when it is. Asked again, it goes on.

    Raises Conflict where there is another data base already, Invalid, Unavailable.
    """
    refuse_exposed([*listen, *configured], [raft_address, *members], tls)
    async with held(files):
        if not files.database.exists():
            await output_of(
                "ovsdb-tool", "join-cluster", str(files.database), database, raft_address, *members
            )
        elif await address_of(files) != raft_address:
            raise Conflict(
                f"{files.database} exists: this machine has a server of {files.name} already. Move"
                " the file away to join with an empty one",
                target=str(files.database),
            )
        remember(files, Placement(State.SERVES, tuple(listen)))
        if await running(files) is None:
            await start(files, configured, tls)


async def wait_until_member(
    files: ServerFiles, database: str, *, timeout_s: float
) -> ClusterStatus:
    """Until a server is in its cluster and knows its leader. Raises Unavailable with what is in the
    way."""
    until = time.monotonic() + timeout_s
    problem = ""
    while time.monotonic() < until:
        try:
            found = await cluster_status(files, database)
        except Unavailable as error:
            problem = error.message
        else:
            if found.status == MEMBER and found.leader not in ("", "unknown"):
                return found
            problem = problem_of(found)
        await asyncio.sleep(POLL_S)
    raise Unavailable(
        f"the server of the {files.name} store is not in its cluster after {timeout_s:g} s:"
        f" {problem}{_last_complaint(files)}. It goes on trying; `isthmus store status` tells, and"
        " `isthmus store leave` gives up"
    )


def _last_complaint(files: ServerFiles) -> str:
    """The server's own words on why."""
    with contextlib.suppress(OSError):
        lines = files.log.read_text(errors="replace").splitlines()
        words = ("|WARN|", "|ERR|", "failed")
        for line in reversed(lines[-200:]):
            if any(word in line for word in words):
                return f" ({line.split('|', 2)[-1]})"
    return ""


# -- one less --------------------------------------------------------------------------------------


async def leave(files: ServerFiles, database: str, *, timeout_s: float) -> Path | None:
    """Take the server out of its cluster, and keep what it held aside; the path. None for one that
    was not in it yet.

    Raises Conflict for the only server and where the others would be too few without it,
    Unavailable.
    """
    found = await cluster_status(files, database)
    if found.status == JOINING:
        await _put_aside(files, keep=False)
        return None
    _refuse_to_leave(found)
    async with held(files):
        before = placement(files)
        remember(files, Placement(State.LEFT))
    try:
        command = ("ovs-appctl", "-t", str(files.control), "cluster/leave", database)
        await output_of(*command)
        await _left(files, database, timeout_s)
    except BaseException:
        async with held(files):
            remember(files, before)
        raise
    return await _put_aside(files, keep=True)


def _refuse_to_leave(found: ClusterStatus) -> None:
    others = [member for member in found.members if not member.is_self]
    if not others:
        raise Conflict("it is the only server: there is no cluster to leave")
    if found.leader in ("", "unknown"):
        raise Unavailable(
            f"{problem_of(found)}; so it cannot leave in order. If the others will not come back,"
            " `isthmus store share ADDRESS --alone` goes on with what is here; if they go on"
            " without it, `isthmus store leave --drop`"
        )
    there = [member for member in others if member.connected]
    if 2 * len(there) <= len(others):
        away = ", ".join(member.address for member in others if not member.connected)
        raise Conflict(
            f"without this server the others could not decide anything: {away} is away. Bring it"
            " back, or `isthmus store remove` it first"
        )


async def _left(files: ServerFiles, database: str, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        try:
            await cluster_status(files, database)
        except Unavailable as error:
            if "unknown cluster" in error.message:  # what ovsdb-server says once it has left
                return
        await asyncio.sleep(POLL_S)
    raise Unavailable(
        f"the server of the {files.name} store has not left its cluster after {timeout_s:g} s: do"
        " most of the others run?"
    )


async def drop(files: ServerFiles) -> Path | None:
    """Give up the server here without asking its cluster; the path where its data is kept. For one
    that the others have removed while it was away."""
    return await _put_aside(files, keep=True)


async def _put_aside(files: ServerFiles, *, keep: bool) -> Path | None:
    async with held(files):
        remember(files, Placement(State.LEFT))
        await stop_server(files)
        if not files.database.exists():
            return None
        if not keep:
            files.database.unlink()
            return None
        aside = files.database.with_suffix(f".db.left-{int(time.time())}")
        return files.database.rename(aside)


async def remove(files: ServerFiles, database: str, address: str, *, timeout_s: float) -> None:
    """Take a server that will not come back out of the cluster, at a server of it that runs.
    Raises NotFound, Conflict for one that is there, Unavailable."""
    if process_of(files) is None:
        raise Unavailable(f"no server of the {files.name} store runs here: `isthmus store start`")
    found = await cluster_status(files, database)
    member = next((one for one in found.members if one.address == address), None)
    if member is None:
        known = ", ".join(one.address for one in found.members)
        raise NotFound(f"{address} is no server of the {files.name} store: there are {known}")
    if member.is_self or member.connected:
        raise Conflict(f"{address} is there: `isthmus store leave` on its machine")
    control, until = str(files.control), time.monotonic() + timeout_s
    while True:
        try:
            await output_of("ovs-appctl", "-t", control, "cluster/kick", database, member.server_id)
            break
        except Unavailable:
            # Only the leader removes, and it may be the one that is gone: the others elect another.
            if time.monotonic() > until:
                raise
        await asyncio.sleep(POLL_S)
    while time.monotonic() < until:
        found = await cluster_status(files, database)
        if all(one.address != address for one in found.members):
            return
        await asyncio.sleep(POLL_S)
    raise Unavailable(
        f"{address} is still in the cluster after {timeout_s:g} s: {problem_of(found)}"
    )
