# SPDX-License-Identifier: Apache-2.0
"""Settings of a controller that cannot be served."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus.controller.process import Settings, run
from isthmus.errors import IsthmusError


@pytest.mark.parametrize("listen", ["banana", "0.0.0.0:9999", "127.0.0.1:99999"])
def test_are_refused_before_anything_is_started(tmp_path: Path, listen: str) -> None:
    data, here = tmp_path / "data", tmp_path / "run"
    settings = Settings(name="c1", data_directory=data, run_directory=here, listen=(listen,))
    with pytest.raises(IsthmusError, match=listen.rpartition(":")[0] or listen):
        asyncio.run(run(settings))
    assert not list(tmp_path.rglob("*.pid"))
    assert not list(tmp_path.rglob("*.db"))
