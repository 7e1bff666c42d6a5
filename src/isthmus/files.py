# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole or not at all, that several commands change one after the other;
what tells that one was replaced, and errors that say what to do about a missing one."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from isthmus.errors import Invalid, NotFound, Unavailable

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Of files: inode, size and time of each; None for one that is not there."""


def write_file(path: Path, content: bytes, *, secret: bool) -> None:
    """Replace `path` atomically and durably; mode 0600 for a secret, else 0644, whatever the umask.

    Raises Unavailable when the folder cannot be written.
    """
    replace_files([(path, content, secret)])


def replace_files(files: Sequence[tuple[Path, bytes, bool]]) -> None:
    """Replace files that belong together: each as `write_file` does, and one right after the other
    in the order given, when all of them are on the disk. Each comes with its content and whether
    it is secret. Raises Unavailable, naming the file that cannot be written.
    """
    fresh: list[Path] = []
    path = Path()
    try:
        for path, content, secret in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.append(_write_beside(path, content, 0o600 if secret else 0o644))
        for new, (path, _, _) in zip(fresh, files, strict=True):
            new.replace(path)
        for path in sorted({path for path, _, _ in files}):
            _sync_folder(path.parent)
    except OSError as error:
        raise Unavailable(
            f"cannot write {path}: {error.strerror}", code="FileNotWritten", target=str(path)
        ) from error
    finally:
        for new in fresh:
            new.unlink(missing_ok=True)


def pair(
    certificate: Path, certificate_pem: bytes, key: Path, key_pem: bytes
) -> tuple[tuple[Path, bytes, bool], tuple[Path, bytes, bool]]:
    """A certificate and its key, in the order in which `replace_files` is to write them.

    Open vSwitch looks at its certificate only where it sees that the key is another one, and notes
    the key at once (lib/stream-ssl.c, stream_ssl_set_key_and_cert): one that finds the key before
    the certificate stays with what it had until both change again.
    """
    return (certificate, certificate_pem, False), (key, key_pem, True)


@contextlib.contextmanager
def locked(*folders: Path) -> Iterator[None]:
    """Keep other commands from changing the files of these folders, which are made where they are
    missing. Hold it from before a file is read until after it is written. Not to be nested: who
    locks a folder twice waits for itself. Raises Unavailable."""
    with contextlib.ExitStack() as stack:
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            # All lock in one order, so no two wait for each other.
            for folder in sorted({folder.resolve() for folder in folders}):
                descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise Unavailable(
                f"cannot lock {folder}: {error.strerror}", code="FileNotWritten", target=str(folder)
            ) from error
        yield


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """The file as it was, or all of the new one, durably. Raises OSError."""
    new = _write_beside(path, content, mode)
    try:
        new.replace(path)
    except OSError:
        new.unlink()
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


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    # Under a name of chance and closed to others from the beginning (mkstemp(3)): in a folder that
    # others write to, nobody can have laid something there.
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
