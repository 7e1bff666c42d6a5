# SPDX-License-Identifier: Apache-2.0
"""What an agent is told when it starts, whatever its switch."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Settings(NamedTuple):
    """What the agent is told."""

    south: tuple[str, ...]
    version: str = "0"
    tls: Callable[[], ssl.SSLContext] | None = None
    """Of each connection to the south store that is made."""
    scope_file: Path | None = None
    """Where the scope is remembered, so that a restart asks for all of it at once."""
