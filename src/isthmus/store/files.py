# SPDX-License-Identifier: Apache-2.0
"""Where a server of ours keeps what, and what it remembers of how it is to be run."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from isthmus.errors import Invalid
from isthmus.files import replace_file


class ServerFiles(NamedTuple):
    """Where one server keeps what."""

    name: str
    directory: Path
    run_directory: Path

    @property
    def database(self) -> Path:
        return self.directory / f"{self.name}.db"

    @property
    def placement(self) -> Path:
        return self.directory / f"{self.name}.json"

    @property
    def socket(self) -> Path:
        return self.run_directory / f"{self.name}.sock"

    @property
    def control(self) -> Path:
        return self.run_directory / f"{self.name}.ctl"

    @property
    def pid(self) -> Path:
        return self.run_directory / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return self.run_directory / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        return self.run_directory / f"{self.name}.lock"

    @property
    def remote(self) -> str:
        """How clients on this machine reach it."""
        return f"unix:{self.socket}"

    @property
    def local_address(self) -> str:
        """Where a cluster of one that does not leave this machine would be joined."""
        return f"unix:{self.run_directory}/{self.name}.raft"


class State(Enum):
    """What the operator wants of the server here."""

    SERVES = "serves"
    STOPPED = "stopped"
    LEFT = "left"
    """Its cluster: it must not be started again, and no other in its place unasked."""


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a server is run on this machine, whoever starts it."""

    state: State = State.SERVES
    listen: tuple[str, ...] = ()
    """Where clients of other machines reach it, as `ovsdb-server --remote` has it."""


def placement(files: ServerFiles) -> Placement:
    """What is remembered, or the usual. Raises Invalid for a file that is not ours."""
    try:
        return msgspec.json.decode(files.placement.read_bytes(), type=Placement)
    except FileNotFoundError:
        return Placement()
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid(
            f"{files.placement} cannot be read: {error}. Remove it: the server then listens on this"
            " machine alone, until `isthmus store share`",
            target=str(files.placement),
        ) from error


def remember(files: ServerFiles, found: Placement) -> None:
    """Raises OSError."""
    if found == placement(files):
        return
    replace_file(files.placement, msgspec.json.encode(found))
