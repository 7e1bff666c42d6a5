# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced whole or not at all, and errors that say what to do about a missing
one."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from isthmus.errors import Invalid, NotFound, Unavailable


def write_file(path: Path, content: bytes, *, secret: bool) -> None:
    """Replace `path` atomically and durably; mode 0600 for a secret, else 0644, whatever the umask.

    Raises Unavailable when the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                os.fchmod(file.fileno(), 0o600 if secret else 0o644)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except OSError:
                Path(file.name).unlink()
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise Unavailable(
            f"cannot write {path}: {error.strerror}", code="FileNotWritten", target=str(path)
        ) from error


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
