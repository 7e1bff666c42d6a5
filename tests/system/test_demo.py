# SPDX-License-Identifier: Apache-2.0
"""The demonstration, as a newcomer runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.system


def test_every_check_of_the_demonstration_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isthmus_lab.demo"], capture_output=True, text=True, check=False
    )
    last = done.stdout.rstrip().splitlines()[-1]
    found = re.fullmatch(r"demo: (\d+) of (\d+) checks passed", last)
    assert found is not None, done.stdout[-3000:] + done.stderr[-1000:]
    assert found[1] == found[2], done.stdout[-3000:]
    assert int(found[2]) >= 49
    assert done.returncode == 0
