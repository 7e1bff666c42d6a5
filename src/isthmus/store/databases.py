# SPDX-License-Identifier: Apache-2.0
"""Data bases as files: made, looked at before a server touches them, converted.

A clustered data base is a log of records (ovsdb(5), Clustered Database Format), each a header with
the length and the SHA-1 of what follows, and a JSON text.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import time
from pathlib import Path

import msgspec

from isthmus.errors import Invalid, Unavailable
from isthmus.store.commands import output_of, succeeds
from isthmus.store.files import ServerFiles
from isthmus.store.schema import Schema, encoded, numbers

ASK_S = 10.0

_MAGIC = b"OVSDB CLUSTER "
_HEADER = re.compile(rb"OVSDB CLUSTER (\d+) ([0-9a-f]{40})\n")
_REST_OF_HEADER = re.compile(rb"\d*( [0-9a-f]{0,40})?")
_FRESH = "all logs are empty"
"""ovsdb-tool's complaint of a data base that no server has opened yet."""


async def create(files: ServerFiles, schema: Schema, raft_address: str) -> None:
    """Make a cluster of one with nothing in it."""
    with tempfile.TemporaryDirectory(dir=files.directory) as folder:
        schema_file = Path(folder) / "schema.json"
        schema_file.write_bytes(encoded(schema))
        await create_cluster(files, schema_file, raft_address or files.local_address)


async def create_cluster(files: ServerFiles, source: Path, raft_address: str) -> None:
    """Put a cluster of one in the place of a data base: out of a schema, a standalone data base or
    a backup. Made beside and renamed, so that a crash leaves no half of one."""
    with tempfile.TemporaryDirectory(dir=files.directory) as folder:
        new = Path(folder) / "new.db"
        await output_of("ovsdb-tool", "create-cluster", str(new), str(source), raft_address)
        new.replace(files.database)


async def address_of(files: ServerFiles) -> str:
    """Where other servers of its cluster reach the server of a data base. Raises Unavailable."""
    command = ("ovsdb-tool", "db-local-address", str(files.database))
    return (await output_of(*command)).decode().strip()


def members_of(database: Path) -> tuple[str, ...]:
    """The RAFT addresses of the cluster, ours among them, as the file has them last: in its first
    record, and wherever that changed. O(size)."""
    content = database.read_bytes()
    at = 0
    found: dict[str, str] = {}
    while header := _HEADER.match(content, at):
        at = header.end() + int(header[1])
        record = msgspec.json.decode(content[header.end() : at], type=_Record)
        found = record.servers or record.prev_servers or found
    return tuple(sorted(found.values()))


class _Record(msgspec.Struct, frozen=True):
    prev_servers: dict[str, str] = {}
    servers: dict[str, str] = {}


async def move(files: ServerFiles, raft_address: str) -> Path:
    """Make of a data base, whose server does not run, a new cluster of one at another address; the
    path where the old one is kept. OVSDB has no other way: the address of a server is a part of its
    identity (ovsdb(7), Clustered Database Service Model)."""
    aside = files.database.with_suffix(f".db.before-move-{int(time.time())}")
    with tempfile.TemporaryDirectory(dir=files.directory) as folder:
        alone = Path(folder) / "standalone.db"
        await output_of("ovsdb-tool", "cluster-to-standalone", str(alone), str(files.database))
        aside.unlink(missing_ok=True)
        aside.hardlink_to(files.database)
        await create_cluster(files, alone, raft_address)
    return aside


async def check(files: ServerFiles, schema: Schema) -> None:
    """Refuse what is no sound data base of ours, before a server touches it. Raises Invalid."""
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
        if _FRESH not in told:
            await asyncio.to_thread(_refuse_damaged, files.database, told, repair)
    name = (await output_of("ovsdb-tool", "db-name", path)).decode().strip()
    if name != schema["name"]:
        raise Invalid(f"{path} holds {name}, not {schema['name']}: {repair}", target=path)


def _refuse_damaged(database: Path, complaint: str, repair: str) -> None:
    """Raises Invalid unless all that is wrong is a last record that a crash cut short: nobody was
    told that it had been written, and the server drops it. It would drop as readily all that
    follows a record damaged in the middle, and what a disk gives back as zeros: that may have been
    acknowledged, so the operator decides."""
    content = database.read_bytes()
    end = _sound_end(content)
    rest = content[end:]
    if _is_cut_short(rest):
        return
    lost = f"{database} is corrupt: {complaint}. {repair}"
    if rest and _MAGIC not in rest[1:]:
        what = f"{len(rest)} zeros" if not rest.strip(b"\0") else "a damaged record"
        lost += (
            f". It ends in {what}, where something acknowledged may have been; to go on without:"
            f" truncate -s {end} {database}"
        )
    raise Invalid(lost, target=str(database))


def _sound_end(content: bytes) -> int:
    """Where the first record begins that is not whole or not what its header says."""
    at = 0
    while found := _HEADER.match(content, at):
        end = found.end() + int(found[1])
        if hashlib.sha1(content[found.end() : end]).hexdigest().encode() != found[2]:
            break
        at = end
    return at


def _is_cut_short(rest: bytes) -> bool:
    """Whether it is the beginning of a record, and not all of it."""
    header = _HEADER.match(rest)
    if header is not None:
        return len(rest) < header.end() + int(header[1]) and _MAGIC not in rest[1:]
    if not rest or len(rest) <= len(_MAGIC):
        return rest != b"" and _MAGIC.startswith(rest)
    return rest.startswith(_MAGIC) and bool(_REST_OF_HEADER.fullmatch(rest[len(_MAGIC) :]))


def refuse_newer(files: ServerFiles, schema: Schema, found: str) -> None:
    if numbers(found) > numbers(str(schema["version"])):
        raise Invalid(
            f"{files.database} has schema version {found}, this program knows"
            f" {schema['version']}: use the newer program that wrote it",
            target=str(files.database),
        )


async def convert(files: ServerFiles, schema: Schema) -> None:
    """Bring an older schema to ours while the server runs. Raises Invalid for a newer one."""
    name = str(schema["name"])
    asked = ("ovsdb-client", f"--timeout={ASK_S:g}", "get-schema-version", files.remote, name)
    found = (await output_of(*asked)).decode().strip()
    refuse_newer(files, schema, found)
    if found == schema["version"]:
        return
    with tempfile.NamedTemporaryFile(suffix=".json") as schema_file:
        schema_file.write(encoded(schema))
        schema_file.flush()
        await output_of("ovsdb-client", "--timeout=60", "convert", files.remote, schema_file.name)
