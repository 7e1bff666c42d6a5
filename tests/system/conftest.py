# SPDX-License-Identifier: Apache-2.0
"""What several files of these tests ask pytest for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: paths of sockets have room for 107 bytes only."""
    made = Path(tempfile.mkdtemp(prefix="ct", dir="/tmp"))
    yield made
    shutil.rmtree(made)
