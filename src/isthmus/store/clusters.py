# SPDX-License-Identifier: Apache-2.0
"""Clusters of several servers: growing and shrinking one, and what its servers say of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from isthmus.errors import Broken, Conflict
from isthmus.store.commands import output_of
from isthmus.store.exposure import ServerTls, refuse_exposed
from isthmus.store.files import ServerFiles
from isthmus.store.servers import Server, held, start


class Member(NamedTuple):
    """A server of a cluster, as another sees it."""

    server_id: str
    address: str
    is_self: bool


class ClusterStatus(NamedTuple):
    """ovsdb-server's word on its cluster (ovsdb-server(1), cluster/status)."""

    database: str
    address: str
    status: str
    """``cluster member``, ``joining cluster``, ``leaving cluster``…"""
    role: str
    term: int
    leader: str
    members: tuple[Member, ...]


async def join_server(
    files: ServerFiles,
    database: str,
    *,
    raft_address: str,
    members: Sequence[str],
    listen: Sequence[str] = (),
    tls: ServerTls | None = None,
) -> Server:
    """Grow a cluster by a server on this machine: `members` are RAFT addresses of servers in it.

    Raises Conflict where there is a data base already.
    """
    refuse_exposed(listen, [raft_address, *members], tls)
    async with held(files):
        if files.database.exists():
            raise Conflict(
                f"{files.database} exists: this machine has a server of {files.name} already. Move"
                " the file away to join with an empty one",
                target=str(files.database),
            )
        await output_of(
            "ovsdb-tool", "join-cluster", str(files.database), database, raft_address, *members
        )
        return Server(files.remote, await start(files, listen, tls), True)


async def cluster_status(files: ServerFiles, database: str) -> ClusterStatus:
    """What a server on this machine says of its cluster. Raises Unavailable."""
    text = await output_of("ovs-appctl", "-t", str(files.control), "cluster/status", database)
    return parse_cluster_status(text.decode())


async def leave_cluster(files: ServerFiles, database: str) -> None:
    """Have a server leave its cluster, which then counts one less. Raises Unavailable."""
    await output_of("ovs-appctl", "-t", str(files.control), "cluster/leave", database)


_FIELD = re.compile(r"^([A-Z][A-Za-z ]+): (.*)$", re.MULTILINE)
_MEMBER = re.compile(r"^\s+(\w+) \(\w+ at ([^)]+)\)(.*)$", re.MULTILINE)


def parse_cluster_status(text: str) -> ClusterStatus:
    """Read ``cluster/status``. Raises Broken for what is none."""
    fields = dict(_FIELD.findall(text))
    try:
        return ClusterStatus(
            database=fields["Name"],
            address=fields["Address"],
            status=fields["Status"],
            role=fields["Role"],
            term=int(fields["Term"]),
            leader=fields["Leader"],
            members=tuple(
                Member(server, address, "(self)" in rest)
                for server, address, rest in _MEMBER.findall(text)
            ),
        )
    except (KeyError, ValueError) as error:
        raise Broken(f"ovsdb-server's cluster/status cannot be read: {text!r}") from error
