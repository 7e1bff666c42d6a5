# SPDX-License-Identifier: Apache-2.0
"""What is remembered of how a server is to be run."""

from __future__ import annotations

import stat
from pathlib import Path

from isthmus.store.files import Placement, ServerFiles, State, placement, remember


def test_it_is_there_again_and_what_lies_beside_it_is_not_written_to(tmp_path: Path) -> None:
    files = ServerFiles("north", tmp_path, tmp_path)
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    files.placement.with_suffix(".json.new").symlink_to(precious)
    assert placement(files) == Placement()
    for found in (Placement(State.STOPPED), Placement(State.SERVES, ("ssl:192.0.2.1:6641",))):
        remember(files, found)
        assert placement(files) == found
        assert stat.S_IMODE(files.placement.stat().st_mode) == 0o600
    assert precious.read_text() == "of somebody else"
