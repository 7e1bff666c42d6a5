# SPDX-License-Identifier: Apache-2.0
"""The file of users, and passwords checked without becoming slow or guessable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from isthmus.api.http.passwords import (
    FREE_FAILURES,
    LONGEST_PAUSE_S,
    LONGEST_QUEUE,
    REMEMBERED_S,
    Passwords,
)
from isthmus.api.http.users import PasswordHash, hash_password, read_users, remove_user, set_user
from isthmus.errors import Invalid, NotFound, Unauthorized, Unavailable

RIGHT = "correct horse battery staple"
WRONG = "correct horse battery stable"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    set_user(path, "ann", RIGHT)
    return path


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_stored_password_matches_itself_only_and_is_not_in_the_file(users: Path) -> None:
    stored = read_users(users)["ann"]
    assert stored.matches(RIGHT)
    assert not stored.matches(WRONG)
    assert RIGHT not in users.read_text()
    assert users.stat().st_mode & 0o777 == 0o600


def test_the_same_password_twice_is_two_digests() -> None:
    assert hash_password(RIGHT) != hash_password(RIGHT)


def test_users_are_added_changed_and_removed(users: Path) -> None:
    set_user(users, "bob", WRONG)
    set_user(users, "ann", WRONG)
    found = read_users(users)
    assert set(found) == {"ann", "bob"}
    assert found["ann"].matches(WRONG)
    remove_user(users, "ann")
    assert set(read_users(users)) == {"bob"}
    with pytest.raises(NotFound, match="ann"):
        remove_user(users, "ann")


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "#a", "a\0", " a", "a ", "\ta"])
def test_a_name_that_the_file_or_http_cannot_hold_is_refused(users: Path, name: str) -> None:
    before = users.read_bytes()
    with pytest.raises(Invalid):
        set_user(users, name, RIGHT)
    assert users.read_bytes() == before


def test_a_short_password_is_refused(users: Path) -> None:
    with pytest.raises(Invalid, match="at least 10"):
        set_user(users, "bob", "123456789")
    set_user(users, "bob", "1234567890")


@pytest.mark.parametrize(
    "line", ["nonsense", "a:md5:1:2:3:x:y", "a:scrypt:x:8:1:AA==:AA==", "a:scrypt:2:8:1:A:AA=="]
)
def test_a_line_that_cannot_be_read_is_named(users: Path, line: str) -> None:
    users.write_text(f"{users.read_text()}{line}\n")
    number = len(users.read_text().splitlines())
    with pytest.raises(Invalid, match=f"line {number}"):
        read_users(users)


def checked(users: Path, work: Callable[[Passwords, Clock], Awaitable[None]]) -> None:
    async def go() -> None:
        clock = Clock()
        await work(Passwords(users, clock), clock)

    asyncio.run(go())


async def refusal(checking: Awaitable[None]) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        await checking
    return caught.value


def test_a_wrong_password_and_an_unknown_user_are_told_the_same(users: Path) -> None:
    async def work(known: Passwords, _: Clock) -> None:
        await known.check("ann", RIGHT, "here")
        wrong = await refusal(known.check("ann", WRONG, "here"))
        unknown = await refusal(known.check("bob", RIGHT, "here"))
        assert wrong.message == unknown.message

    checked(users, work)


def test_a_right_password_is_hashed_once_and_a_changed_file_ends_that(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(known: Passwords, clock: Clock) -> None:
        await known.check("ann", RIGHT, "here")
        monkeypatch.setattr(PasswordHash, "matches", never)
        for _ in range(100):
            await known.check("ann", RIGHT, "elsewhere")
        set_user(users, "ann", WRONG)
        assert known.has_changed()
        known.reload()
        assert not known.has_changed()
        await refusal(known.check("ann", RIGHT, "here"))

    def never(*_: object) -> bool:
        return False

    checked(users, work)


def test_a_right_password_is_believed_for_a_while_only(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(known: Passwords, clock: Clock) -> None:
        await known.check("ann", RIGHT, "here")
        monkeypatch.setattr(PasswordHash, "matches", lambda *_: False)
        clock.now_s += REMEMBERED_S - 1
        await known.check("ann", RIGHT, "here")
        clock.now_s += 2
        await refusal(known.check("ann", RIGHT, "here"))

    checked(users, work)


def test_guesses_are_slowed_down_and_only_those_of_their_sender(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0

    def matches(stored: object, password: str) -> bool:
        nonlocal hashed
        hashed += 1
        return password == RIGHT

    monkeypatch.setattr(PasswordHash, "matches", matches)

    async def work(known: Passwords, clock: Clock) -> None:
        pauses = []
        for _ in range(FREE_FAILURES + 12):
            pauses.append((await refusal(known.check("ann", WRONG, "there"))).retry_after_s)
            before = hashed
            if pauses[-1] is not None:
                # Not looked at, even if it were right.
                await refusal(known.check("ann", RIGHT, "there"))
                assert hashed == before
                clock.now_s += pauses[-1]
        assert pauses[:FREE_FAILURES] == [None] * FREE_FAILURES
        assert pauses[FREE_FAILURES : FREE_FAILURES + 4] == [2, 3, 5, 9]
        assert pauses[-1] == LONGEST_PAUSE_S + 1
        await known.check("ann", RIGHT, "here")
        await known.check("ann", RIGHT, "there")

    checked(users, work)


def test_more_sign_ins_than_can_wait_are_told_to_come_again(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PasswordHash, "matches", lambda _, password: password == RIGHT)

    async def work(known: Passwords, _: Clock) -> None:
        answers = await asyncio.gather(
            *(known.check(f"u{k}", "wrong", f"a{k}") for k in range(LONGEST_QUEUE + 5)),
            return_exceptions=True,
        )
        full = [one for one in answers if isinstance(one, Unavailable)]
        assert len(full) == 5
        assert all(one.retry_after_s for one in full)
        await known.check("ann", RIGHT, "here")

    checked(users, work)


def test_a_missing_file_is_named_and_a_broken_one_leaves_those_who_were_known(
    users: Path,
) -> None:
    async def work(known: Passwords, _: Clock) -> None:
        users.write_text("nonsense\n")
        with pytest.raises(Invalid):
            known.reload()
        assert known.has_changed()
        await known.check("ann", RIGHT, "here")

    checked(users, work)
    with pytest.raises(NotFound, match="missing"):
        Passwords(users.parent / "missing")
