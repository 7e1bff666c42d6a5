# SPDX-License-Identifier: Apache-2.0
"""Files that several commands change at once lose nothing, and files that belong together come
together."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from isthmus.api.certificate_checks import read_certificates
from isthmus.api.certificates import issue, make_authority
from isthmus.api.http.users import read_users, remove_user, set_user
from isthmus.api.issued import read_issued
from isthmus.api.rotation import rotate
from isthmus.errors import Unavailable
from isthmus.files import replace_files

PASSWORD = "correct horse battery staple"


def at_once(*works: Callable[[], object]) -> None:
    """Each in a process of its own, as commands are; all must end well."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(len(works))
    processes = [spawn.Process(target=_together, args=(ready, work)) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(works)


def _together(ready: multiprocessing.synchronize.Barrier, work: Callable[[], object]) -> None:
    ready.wait()
    work()


def test_of_users_added_and_removed_at_once_each_change_stays(tmp_path: Path) -> None:
    file = tmp_path / "users"
    leaving = [f"leaves{number}" for number in range(4)]
    for name in leaving:
        set_user(file, name, PASSWORD)
    coming = [f"comes{number}" for number in range(6)]
    at_once(
        *(partial(set_user, file, name, PASSWORD) for name in coming),
        *(partial(remove_user, file, name) for name in leaving),
    )
    assert sorted(read_users(file)) == coming


def issue_many(folder: Path, name: str) -> None:
    for _ in range(20):
        issue(folder, name)


def rotate_often(folder: Path) -> None:
    for _ in range(8):
        rotate(folder)


def test_a_certificate_that_is_issued_during_a_rotation_takes_no_authority_from_the_bundle(
    tmp_path: Path,
) -> None:
    make_authority(tmp_path)
    names = ("h1", "h2", "h3")
    at_once(
        partial(rotate_often, tmp_path), *(partial(issue_many, tmp_path, name) for name in names)
    )
    assert len(read_certificates(tmp_path / "ca.pem")) == 9
    assert sorted(read_issued(tmp_path)) == list(names)


def test_files_are_replaced_all_or_none_of_them_where_one_cannot_be_written(tmp_path: Path) -> None:
    certificate, key = tmp_path / "h1.pem", tmp_path / "away" / "h1-key.pem"
    certificate.write_bytes(b"old")
    key.parent.write_bytes(b"no folder")
    with pytest.raises(Unavailable, match="h1-key"):
        replace_files([(certificate, b"new", False), (key, b"new", True)])
    assert certificate.read_bytes() == b"old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["away", "h1.pem"]
