# SPDX-License-Identifier: Apache-2.0
"""Checking passwords without becoming slow, guessable or a way to stop the controller.

A password that was right stays known as a keyed digest in memory, so that a client pays for scrypt
once and not with every request. Wrong ones are answered at once while their sender is backing off;
scrypt runs in one thread at a time, so that guesses cannot take more than one core or 32 MB.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isthmus.api.http.users import PasswordHash, hash_password, read_users
from isthmus.errors import Unauthorized, Unavailable
from isthmus.files import Stamp, stamp

FREE_FAILURES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
REMEMBERED_S = 600.0
"""How long a right password is believed without scrypt; a change of the file ends it at once."""
LONGEST_QUEUE = 32
"""Sign-ins that may wait for scrypt: 3 s of it. Those who are known already never wait."""
REMEMBERED = 1024
"""Entries of each table; an attacker with more addresses than that is slowed down by scrypt
alone."""


@dataclass(slots=True)
class _Failures:
    count: int
    until_s: float


class Passwords:
    """Who the sender of a user name and a password is."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Reads the file of users. Raises NotFound, Invalid."""
        self._path = path
        self._clock = clock
        self._users: Mapping[str, PasswordHash] = {}
        self._known: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._stamp: Stamp = (None,)
        self._nobody = hash_password(secrets.token_hex())
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0
        self.reload()

    @property
    def path(self) -> Path:
        return self._path

    def reload(self) -> None:
        """Read the file again and forget who was known. Raises NotFound, Invalid; then nothing
        changes."""
        found = stamp([self._path])
        self._users = read_users(self._path)
        self._stamp = found
        self._known.clear()

    def has_changed(self) -> bool:
        """Whether the file is another one than at the last successful `reload`."""
        return stamp([self._path]) != self._stamp

    async def check(self, user: str, password: str, sender: str) -> None:
        """Return if it is that user's password.

        Raises Unauthorized, with a pause when there were many failures; Unavailable when too many
        passwords are waiting to be looked at.
        """
        proof = hmac.digest(self._secret, f"{user}:{password}".encode(), "sha256")
        if self._is_known(proof):
            return
        self._refuse_during_pause(sender, user)
        if self._waiting >= LONGEST_QUEUE:
            raise Unavailable("too many sign-ins at once", retry_after_s=1)
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                # What another request has found out in the meantime holds for this one too.
                if not self._is_known(proof):
                    self._refuse_during_pause(sender, user)
                    await self._check_slowly(user, password, sender, proof)
        finally:
            self._waiting -= 1

    async def _check_slowly(self, user: str, password: str, sender: str, proof: bytes) -> None:
        # An unknown user takes as long as a known one with a wrong password.
        stored = self._users.get(user, self._nobody)
        if not await asyncio.to_thread(stored.matches, password):
            raise _refusal(self._count_failure(sender, user))
        self._failures.pop((sender, user), None)
        self._known[proof] = self._clock() + REMEMBERED_S
        _shorten(self._known)

    def _is_known(self, proof: bytes) -> bool:
        return self._known.get(proof, 0.0) > self._clock()

    def _refuse_during_pause(self, sender: str, user: str) -> None:
        failures = self._failures.get((sender, user))
        if failures is not None and failures.until_s > self._clock():
            raise _refusal(failures.until_s - self._clock())

    def _count_failure(self, sender: str, user: str) -> float:
        """The pause in seconds before the next attempt is looked at; doubles with each failure."""
        failures = self._failures.setdefault((sender, user), _Failures(0, 0.0))
        self._failures.move_to_end((sender, user))
        _shorten(self._failures)
        failures.count += 1
        if failures.count <= FREE_FAILURES:
            return 0.0
        doublings = min(failures.count - FREE_FAILURES - 1, 10)
        pause = min(FIRST_PAUSE_S * (1 << doublings), LONGEST_PAUSE_S)
        failures.until_s = self._clock() + pause
        return pause


def _refusal(pause_s: float) -> Unauthorized:
    if pause_s <= 0:
        return Unauthorized("the user name or the password is wrong")
    return Unauthorized(
        "the user name or the password was wrong too often: wait before the next attempt",
        retry_after_s=int(pause_s) + 1,
    )


def _shorten(table: OrderedDict[bytes, float] | OrderedDict[tuple[str, str], _Failures]) -> None:
    while len(table) > REMEMBERED:
        table.popitem(last=False)
