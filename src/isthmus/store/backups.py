# SPDX-License-Identifier: Apache-2.0
"""Copies of a data base, and putting one in its place."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from isthmus.errors import Conflict, Invalid, NotFound
from isthmus.store.commands import output_of
from isthmus.store.schema import Schema
from isthmus.store.servers import ServerFiles, held, local_address, refuse_newer, running


async def backup(remote: str, database: str, file: Path) -> int:
    """Write a consistent copy of a data base while it is in use; its size in bytes."""
    text = await output_of("ovsdb-client", "--timeout=60", "backup", remote, database)
    await asyncio.to_thread(_write_whole, file, text)
    return len(text)


async def restore(
    files: ServerFiles, schema: Schema, file: Path, *, raft_address: str = ""
) -> Path | None:
    """Make a new cluster of one out of a backup; the path that the old data base was moved to.

    The server must not run. Raises Invalid for a file that is no backup of that store.
    """
    if not file.exists():
        raise NotFound(f"there is no file {file}", target=str(file))
    async with held(files):
        pid = await running(files)
        if pid is not None:
            raise Conflict(
                f"the server of {files.name} runs (process {pid}): stop the controllers and"
                f" `isthmus store stop` first, so that nobody writes to what is replaced"
            )
        found = (await output_of("ovsdb-tool", "db-name", str(file), because="no backup")).strip()
        if found.decode() != schema["name"]:
            raise Invalid(f"{file} is a backup of {found.decode()}, not of {schema['name']}")
        refuse_newer(
            files, schema, (await output_of("ovsdb-tool", "db-version", str(file))).decode().strip()
        )
        aside = None
        if files.database.exists():
            aside = files.database.with_suffix(f".db.before-restore-{int(time.time())}")
            files.database.rename(aside)
        address = raft_address or local_address(files)
        await output_of("ovsdb-tool", "create-cluster", str(files.database), str(file), address)
        return aside


def _write_whole(file: Path, content: bytes) -> None:
    """The file as it was, or all of the new one, for its owner alone."""
    new = file.with_name(f"{file.name}.new")
    new.touch(0o600)
    new.chmod(0o600)
    with new.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
