# SPDX-License-Identifier: Apache-2.0
"""Each scenario comes to exactly what its golden files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.golden.scenario import FIXED, fixed, outcome, scenarios


@pytest.mark.parametrize("folder", scenarios(), ids=lambda folder: folder.name)
def test_a_scenario_comes_to_its_golden_files(folder: Path) -> None:
    golden = {path.name: path.read_text() for path in folder.glob("*.txt")}
    assert outcome(folder) == golden


def test_what_every_host_has_whatever_its_policy_is_in_one_golden_file() -> None:
    assert fixed() == FIXED.read_text().splitlines()


def test_no_golden_file_names_a_stage_or_a_register_by_its_number() -> None:
    files = [FIXED, *(path for folder in scenarios() for path in folder.glob("flows-*.txt"))]
    text = "\n".join(path.read_text() for path in files)
    assert "goto_table:JUDGE" in text and "VSID=" in text
    assert re.findall(r"(?i)x?reg\d+.*|table[:=]\d+.*|resubmit\(,\d+.*", text) == []
