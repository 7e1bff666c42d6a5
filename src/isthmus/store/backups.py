# SPDX-License-Identifier: Apache-2.0
"""Copies of a data base, and putting one in its place."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from pathlib import Path

from isthmus.errors import Conflict, Invalid, NotFound, Unavailable
from isthmus.files import replace_file
from isthmus.store.commands import output_of
from isthmus.store.databases import create_cluster, members_of, refuse_newer
from isthmus.store.files import ServerFiles
from isthmus.store.schema import Schema
from isthmus.store.servers import held, running

_RECORD = re.compile(rb"OVSDB JSON (\d+) ([0-9a-f]{40})\n")
"""The head of a record: how many bytes follow, and their SHA-1."""


async def backup(remote: str, database: str, file: Path) -> int:
    """Write a consistent copy of a data base while it is in use; its size in bytes."""
    text = await output_of("ovsdb-client", "--timeout=60", "backup", remote, database)
    await asyncio.to_thread(replace_file, file, text)
    return len(text)


async def restore(files: ServerFiles, schema: Schema, file: Path) -> Path | None:
    """Make a new cluster of one out of a backup, where the old one was; the path that the old data
    base was moved to.

    The server must not run. Raises Invalid for a file that is no backup of that store, Conflict
    where other servers have the old data.
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
        await _require_backup(files, schema, file)
        address = await _old_address(files)
        aside = None
        if files.database.exists():
            aside = files.database.with_suffix(f".db.before-restore-{int(time.time())}")
            aside.hardlink_to(files.database)
        try:
            await create_cluster(files, file, address)
        except Unavailable as error:
            if aside is not None:
                aside.unlink()
            raise _no_backup(file, error.message) from error
        return aside


async def _old_address(files: ServerFiles) -> str:
    """Where the server was, as far as that can be read."""
    if not files.database.exists():
        return files.local_address
    members = await asyncio.to_thread(members_of, files.database)
    if len(members) > 1:
        raise Conflict(
            f"other servers have the {files.name} store as well ({', '.join(members)}) and would go"
            " on with what is to be replaced: `isthmus store leave` there first"
        )
    return members[0] if members else files.local_address


async def _require_backup(files: ServerFiles, schema: Schema, file: Path) -> None:
    """Raises Invalid unless the file is a whole backup of that store, of a version that we know."""
    await asyncio.to_thread(_require_whole, file)
    try:
        name = (await output_of("ovsdb-tool", "db-name", str(file))).decode().strip()
        version = (await output_of("ovsdb-tool", "db-version", str(file))).decode().strip()
    except Unavailable as error:
        raise _no_backup(file, error.message) from error
    if name != schema["name"]:
        raise Invalid(
            f"{file} is a backup of {name}, not of {schema['name']}: give one that `isthmus backup`"
            " wrote",
            target=str(file),
        )
    refuse_newer(files, schema, version)


def _require_whole(file: Path) -> None:
    """Read all records (ovsdb(5), Standalone and Active-Backup Database Format): ovsdb-tool takes
    a file that was cut off for one that ends there."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _no_backup(file, error.strerror or str(error)) from error
    at = records = 0
    # `ovsdb-client backup` writes two, the schema and all that is there.
    while at < len(content) or records < 2:
        found = _RECORD.match(content, at)
        if found is None:
            raise _no_backup(file, f"at byte {at} no record begins")
        at = found.end() + int(found[1])
        if hashlib.sha1(content[found.end() : at]).hexdigest().encode() != found[2]:
            raise _no_backup(file, f"the record that begins at byte {found.start()} is damaged")
        records += 1


def _no_backup(file: Path, why: str) -> Invalid:
    return Invalid(
        f"{file} is no backup, or no whole one ({why}): give a file that `isthmus backup` wrote."
        " Nothing was changed",
        target=str(file),
    )
