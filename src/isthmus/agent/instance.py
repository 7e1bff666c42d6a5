# SPDX-License-Identifier: Apache-2.0
"""Tells one machine from another that was given the same name (`host.namesake`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

_MACHINE_MARKS = ("/sys/class/dmi/id/product_uuid", "/etc/machine-id")
"""Of the machine; a clone of a machine has the former anew, and the latter only if it was told."""


def instance_of(switch: str) -> str:
    """The mark of this machine and of the switch on it: the same after a restart of either."""
    marks = [switch]
    for file in map(Path, _MACHINE_MARKS):
        try:
            marks.append(file.read_text().strip())
        except OSError:
            continue  # a machine without it, or not for us to read
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:32]
