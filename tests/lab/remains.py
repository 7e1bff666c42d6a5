# SPDX-License-Identifier: Apache-2.0
"""What of a lab is on the machine: nothing of it may be there before, nor after."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

from isthmus_lab import namespaces
from isthmus_lab.daemon import marked_processes
from isthmus_lab.lab import Lab
from isthmus_lab.state import RUN_DIRECTORY


def unique_name() -> str:
    """A lab of its own for each test, so that several runs on one machine do not meet."""
    return f"t{uuid.uuid4().hex[:10]}"


def remains_of(name: str, directory: Path = RUN_DIRECTORY) -> dict[str, list[str]]:
    """What on the machine belongs to the lab `name`, by kind; empty when nothing does."""
    lab = Lab(name, directory)
    found = {
        "namespaces": namespaces.existing(f"is-{name}-"),
        "processes": [
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for pid in marked_processes(lab.run_directory)
        ],
        "files": [str(lab.run_directory)] if lab.run_directory.exists() else [],
        "mounts": [line for line in Path("/proc/mounts").read_text().splitlines() if name in line],
    }
    return {kind: things for kind, things in found.items() if things}


def machine_links() -> list[str]:
    """Names of the links of the machine's own namespace, where a lab makes none."""
    return sorted(name for _, name in socket.if_nameindex())
