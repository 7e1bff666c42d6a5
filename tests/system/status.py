# SPDX-License-Identifier: Apache-2.0
"""What `isthmus status` says of a cloud."""

from __future__ import annotations

import json

from isthmus_lab import processes
from tests.cli.conftest import run
from tests.system.cloud import RunningCloud


def problems(cloud: RunningCloud) -> list[str]:
    """What is wrong, each in a sentence."""
    url = f"unix:{processes.rest_socket(cloud.lab.run_directory)}"
    found: list[str] = json.loads(run(["status", "--json"], url)[1])["problems"]
    return found


def is_told(cloud: RunningCloud, *words: str) -> bool:
    """Whether one of the problems has all these words."""
    return any(all(word in one for word in words) for one in problems(cloud))
