# SPDX-License-Identifier: Apache-2.0
"""ovs-vswitchd's control socket (``ovs-appctl``): JSON-RPC over a unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from isthmus.errors import Unavailable

ANSWER_S = 5.0
MOST_BYTES = 16 << 20


class _Reply(msgspec.Struct):
    result: object = None
    error: object = None


def control_socket(run_directory: Path) -> Path:
    """The socket of the ovs-vswitchd that runs there. Raises Unavailable."""
    try:
        pid = (run_directory / "ovs-vswitchd.pid").read_text().strip()
    except OSError:
        pid = ""
    for name in (f"ovs-vswitchd.{pid}.ctl", "vswitchd.ctl"):
        if (run_directory / name).exists():
            return run_directory / name
    raise Unavailable(f"no control socket of ovs-vswitchd is in {run_directory}: does it run?")


def forwarding(run_directory: Path) -> str:
    """Names the ovs-vswitchd that runs there, and no other that has run before; empty if that
    cannot be told. Flows may be saved from one to the next (``ovs-ctl restart``), connections of
    its userspace data path are not."""
    pid_file = run_directory / "ovs-vswitchd.pid"
    try:
        return f"{pid_file.read_text().strip()} {pid_file.stat().st_mtime_ns}"
    except OSError:
        return ""


async def ask(run_directory: Path, command: str, arguments: Sequence[str]) -> str:
    """One command's output, as ovs-appctl prints it. Raises Unavailable, also for a refusal."""
    path = control_socket(run_directory)
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=MOST_BYTES)
            try:
                request = {"id": 0, "method": command, "params": list(arguments)}
                writer.write(msgspec.json.encode(request))
                return _result(await _whole(reader), command)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"ovs-vswitchd does not answer at {path}: {error!r}") from error


async def _whole(reader: asyncio.StreamReader) -> _Reply:
    """The socket stays open after the answer, which has no delimiter."""
    data = b""
    while piece := await reader.read(1 << 16):
        data += piece
        if len(data) > MOST_BYTES:
            break
        try:
            return msgspec.json.decode(data, type=_Reply)
        except msgspec.DecodeError:
            continue
    raise Unavailable("ovs-vswitchd's answer ended in the middle")


def _result(reply: _Reply, command: str) -> str:
    if reply.error is not None:
        raise Unavailable(f"ovs-vswitchd refuses {command}: {str(reply.error).strip()}")
    return str(reply.result)
