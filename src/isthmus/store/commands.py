# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's own commands for data bases, run for their output."""

from __future__ import annotations

import asyncio
import contextlib

from isthmus.errors import NotFound, Unavailable

TIMEOUT_S = 90.0
OWNER_ONLY = 0o077
"""The umask: what these commands and servers make, now or when they compact, is born closed."""


async def output_of(*command: str, because: str = "", timeout_s: float = TIMEOUT_S) -> bytes:
    """What a command prints. Raises Unavailable with what it complains of, NotFound where it is
    not installed. `because` begins the complaint."""
    code, out, complaint = await _run(command, timeout_s)
    if code != 0:
        said = complaint.decode(errors="replace").strip() or f"exit status {code}"
        text = f"{because}: {said}" if because else said
        raise Unavailable(f"{command[0]} {_verb(command)}: {text}")
    return out


async def succeeds(*command: str, timeout_s: float = 5.0) -> bool:
    """Whether a command ends well within the time."""
    try:
        code, _, _ = await _run(command, timeout_s)
    except Unavailable:
        return False
    return code == 0


async def _run(command: tuple[str, ...], timeout_s: float) -> tuple[int, bytes, bytes]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            umask=OWNER_ONLY,
        )
    except FileNotFoundError as error:
        raise NotFound(
            f"{command[0]} is not installed: it comes with openvswitch-switch"
        ) from error
    try:
        out, complaint = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError as error:
        raise Unavailable(
            f"{command[0]} {_verb(command)} did not end in {timeout_s:g} s"
        ) from error
    finally:
        if process.returncode is None:  # it took too long, or nobody waits any more
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None, "it has ended"
    return process.returncode, out, complaint


def _verb(command: tuple[str, ...]) -> str:
    return next((word for word in command[1:] if not word.startswith("-")), "")
