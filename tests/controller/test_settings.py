# SPDX-License-Identifier: Apache-2.0
"""Settings of a controller that cannot be served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("listen", ["banana", "0.0.0.0:9999", "127.0.0.1:99999"])
def test_are_refused_before_anything_is_started(tmp_path: Path, listen: str) -> None:
    places = ("--data-dir", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-m", "isthmus.cli.main", "controller", "--listen", listen, *places],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert listen in done.stderr
    assert not [*tmp_path.rglob("north*"), *tmp_path.rglob("south*")]
