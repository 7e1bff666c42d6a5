# SPDX-License-Identifier: Apache-2.0
"""Where a server of ours keeps what."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ServerFiles(NamedTuple):
    """Where one server keeps what."""

    name: str
    directory: Path
    run_directory: Path

    @property
    def database(self) -> Path:
        return self.directory / f"{self.name}.db"

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
