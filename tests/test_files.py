# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole, and how it is noticed that one was."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from isthmus.errors import Unavailable
from isthmus.files import replace_file, stamp, write_file


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"old", b"new"):
        replace_file(file, content)
        assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_replaced_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", b"new")
    with pytest.raises(Unavailable, match="folder"):
        write_file(tmp_path / "folder", b"new", secret=False)
    assert [one.name for one in tmp_path.iterdir()] == ["folder"]


def test_a_stamp_is_another_when_a_file_is_written_replaced_made_or_removed(
    tmp_path: Path,
) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    found = [stamp([file, other])]
    file.write_text("a")
    found.append(stamp([file, other]))
    file.write_text("ab")
    found.append(stamp([file, other]))
    before = file.stat()
    replace_file(file, b"cd")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    found.append(stamp([file, other]))
    other.write_text("a")
    found.append(stamp([file, other]))
    file.unlink()
    found.append(stamp([file, other]))
    assert len(set(found)) == len(found)
    assert stamp([file, other]) == found[-1]
