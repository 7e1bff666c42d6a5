# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole or not at all, what tells that one was replaced, and errors that
say what to do about a missing one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from isthmus.errors import Invalid, NotFound, Unavailable

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of files: inode, size and time of each; None for one that is not there."""


def write_file(path: Path, content: bytes, *, secret: bool) -> None:
    """Replace `path` atomically and durably; mode 0600 for a secret, else 0644, whatever the umask.

    Raises Unavailable when the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, 0o600 if secret else 0o644)
    except OSError as error:
        raise Unavailable(
            f"cannot write {path}: {error.strerror}", code="FileNotWritten", target=str(path)
        ) from error


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """The file as it was, or all of the new one, durably. Raises OSError."""
    # Under a name of chance and closed to others from the beginning (mkstemp(3)): in a folder that
    # others write to, nobody can have laid something there.
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink()
            raise
    _sync_folder(path.parent)


def stamp(files: Sequence[Path]) -> Stamp:
    """Changes whenever one of the files is replaced or written."""
    return tuple(_stamp_of(file) for file in files)


def _stamp_of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_file(path: Path, what: str) -> bytes:
    """The content of `path`, which is to hold `what`. Raises NotFound or Invalid, naming both."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"{path} does not exist; it is to hold {what}", code="FileNotFound", target=str(path)
        ) from error
    except OSError as error:
        raise Invalid(
            f"cannot read {path} ({what}): {error.strerror}", code="FileNotRead", target=str(path)
        ) from error


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
