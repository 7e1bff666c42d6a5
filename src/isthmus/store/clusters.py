# SPDX-License-Identifier: Apache-2.0
"""What a server says of its cluster, and what of that is wrong."""

from __future__ import annotations

import re
from typing import NamedTuple

from isthmus.errors import Broken
from isthmus.store.commands import output_of
from isthmus.store.files import ServerFiles

MEMBER, JOINING = "cluster member", "joining cluster"
FAILED = "failed"
"""The status of a server that could not write its log. It never leaves it by itself."""
STATUS_S = 5.0
"""A server that works answers at once, or after a large transaction."""
SILENT_AFTER_MS = 10_000
"""Heartbeats of RAFT come every third of a second, when nobody is paused by a large transaction."""


class Member(NamedTuple):
    """A server of a cluster, as another sees it."""

    server_id: str
    address: str
    is_self: bool
    connected: bool = True
    """Whether the server that was asked has a connection to it."""
    silent_ms: int | None = None
    """Since its last word; None where the server that was asked need not hear it."""


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


async def cluster_status(files: ServerFiles, database: str) -> ClusterStatus:
    """What a server on this machine says of its cluster. Raises Unavailable."""
    command = ("ovs-appctl", "-t", str(files.control), "cluster/status", database)
    text = await output_of(*command, timeout_s=STATUS_S)
    return parse_cluster_status(text.decode())


def problem_of(found: ClusterStatus) -> str:
    """What is wrong with a server or its cluster, in a sentence; empty when nothing is."""
    match found.status:
        case "cluster member":
            pass
        case "joining cluster":
            return (
                "it is not in the cluster yet: do most of its servers run, and do they reach"
                f" {found.address}?"
            )
        case "failed":
            return "it has stopped at an error of its disk, and serves nobody until it is restarted"
        case other:
            return f"{other}: most servers of the cluster are away"
    if found.leader in ("", "unknown"):
        return "no leader: most servers of the cluster are away"
    return "; ".join(filter(None, (_absence(found, member) for member in found.members)))


def _absence(found: ClusterStatus, member: Member) -> str:
    if not member.connected:
        return f"{member.address} is away"
    # Followers say nothing to one another.
    heard = found.role == "leader" and member.silent_ms is not None
    if heard and (member.silent_ms or 0) > SILENT_AFTER_MS:
        return f"{member.address} is silent for {(member.silent_ms or 0) // 1000} s"
    return ""


_FIELD = re.compile(r"^([A-Z][A-Za-z ]+): (.*)$", re.MULTILINE)
_MEMBER = re.compile(r"^\s+(\w+) \(\w+ at ([^)]+)\)(.*)$", re.MULTILINE)
_CONNECTED = re.compile(r"(?<!\()(?:->|<-)(\w+)")
"""In either direction; one in parentheses is being tried."""
_SILENCE = re.compile(r"last msg (\d+) ms ago")


def _silence(text: str) -> int | None:
    found = _SILENCE.search(text)
    return None if found is None else int(found[1])


def parse_cluster_status(text: str) -> ClusterStatus:
    """Read ``cluster/status``. Raises Broken for what is none."""
    fields = dict(_FIELD.findall(text))
    connected = set(_CONNECTED.findall(fields.get("Connections", "")))
    try:
        return ClusterStatus(
            database=fields["Name"],
            address=fields["Address"],
            status=fields["Status"],
            role=fields["Role"],
            term=int(fields["Term"]),
            leader=fields["Leader"],
            members=tuple(
                Member(
                    server,
                    address,
                    "(self)" in rest,
                    "(self)" in rest or server in connected,
                    _silence(rest),
                )
                for server, address, rest in _MEMBER.findall(text)
            ),
        )
    except (KeyError, ValueError) as error:
        raise Broken(f"ovsdb-server's cluster/status cannot be read: {text!r}") from error
