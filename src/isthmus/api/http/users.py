# SPDX-License-Identifier: Apache-2.0
"""The file of users who may sign in with a password (HTTP Basic, RFC 7617).

One user a line, ``name:scrypt:N:r:p:salt:digest`` with the last two in base64; lines that begin
with ``#`` are comments. Passwords are stored as scrypt digests only (RFC 7914), each with its own
salt and parameters, so that the parameters can grow without anybody's password becoming invalid.
The file has mode 0600.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from isthmus.errors import Invalid, NotFound
from isthmus.files import locked, read_file, write_file

COST = 1 << 15
BLOCK_SIZE = 8
PARALLELISM = 1
"""With these one check takes 32 MB and about 80 ms on one core of 2020."""

SALT_BYTES = 16
DIGEST_BYTES = 32
SHORTEST_PASSWORD = 10
"""Guesses come over the network and are slowed down there; against a stolen file scrypt must do
it."""

HEADER = "# Users of the Isthmus API: name:scrypt:N:r:p:salt:digest. Written by `isthmus users`.\n"


class PasswordHash(NamedTuple):
    """A scrypt digest and how it was made (RFC 7914 section 2)."""

    cost: int
    block_size: int
    parallelism: int
    salt: bytes
    digest: bytes

    def matches(self, password: str) -> bool:
        """Whether it is the digest of `password`. Takes about 80 ms, whatever the answer."""
        return hmac.compare_digest(self.digest, _digest(password, self))


def hash_password(password: str) -> PasswordHash:
    """A new digest of `password` with a new salt."""
    empty = PasswordHash(COST, BLOCK_SIZE, PARALLELISM, secrets.token_bytes(SALT_BYTES), b"")
    return empty._replace(digest=_digest(password, empty))


def read_users(path: Path) -> Mapping[str, PasswordHash]:
    """All users of the file. Raises NotFound, or Invalid naming the line."""
    users: dict[str, PasswordHash] = {}
    text = read_file(path, "users and their password digests (isthmus users add)").decode()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                name, password_hash = _parse(line.strip())
            except ValueError as error:
                raise Invalid(
                    f"{path} line {number} is not name:scrypt:N:r:p:salt:digest ({error}): "
                    "write it with isthmus users",
                    target=str(path),
                ) from error
            users[name] = password_hash
    return users


def set_user(path: Path, name: str, password: str) -> None:
    """Add a user or change a password. Makes the file where there is none. Raises Invalid."""
    if not name or ":" in name or not name.isprintable() or name.startswith("#"):
        # RFC 7617 section 2: "a user-id containing a colon character is invalid".
        raise Invalid(f"{name!r} cannot be a user's name: write printable characters without ':'")
    if name != name.strip():
        raise Invalid(f"{name!r} cannot be a user's name: take the spaces at its ends away")
    if len(password) < SHORTEST_PASSWORD:
        raise Invalid(f"the password is too short: at least {SHORTEST_PASSWORD} characters")
    hashed = hash_password(password)
    with locked(path.parent):
        users = dict(read_users(path)) if path.exists() else {}
        users[name] = hashed
        _write(path, users)


def remove_user(path: Path, name: str) -> None:
    """Remove a user; raises NotFound for one who is not there."""
    read_users(path)  # where there is no file, no folder is made to lock
    with locked(path.parent):
        users = dict(read_users(path))
        if users.pop(name, None) is None:
            raise NotFound(f"{path} has no user {name!r}", target=name)
        _write(path, users)


def _digest(password: str, how: PasswordHash) -> bytes:
    # OpenSSL wants leave for the memory that it will take: 128 * N * r * p, and some.
    memory = 129 * how.cost * how.block_size * how.parallelism
    return hashlib.scrypt(
        password.encode(),
        salt=how.salt,
        n=how.cost,
        r=how.block_size,
        p=how.parallelism,
        maxmem=memory + (1 << 20),
        dklen=DIGEST_BYTES,
    )


def _parse(line: str) -> tuple[str, PasswordHash]:
    name, scheme, cost, block_size, parallelism, salt, digest = line.split(":")
    if scheme != "scrypt":
        raise ValueError(f"unknown scheme {scheme!r}")
    numbers = int(cost), int(block_size), int(parallelism)
    return name, PasswordHash(*numbers, base64.b64decode(salt), base64.b64decode(digest))


def _write(path: Path, users: Mapping[str, PasswordHash]) -> None:
    lines = [HEADER]
    for name, one in sorted(users.items()):
        salt, digest = base64.b64encode(one.salt), base64.b64encode(one.digest)
        numbers = f"{one.cost}:{one.block_size}:{one.parallelism}"
        lines.append(f"{name}:scrypt:{numbers}:{salt.decode()}:{digest.decode()}\n")
    write_file(path, "".join(lines).encode(), secret=True)
