# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.database import Server


@pytest.fixture
def directory() -> Iterator[Path]:
    """One with a path that is short enough for a socket's."""
    made = Path(tempfile.mkdtemp(prefix="st", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def server(directory: Path) -> Iterator[Server]:
    with Server(directory / "s") as running:
        yield running
