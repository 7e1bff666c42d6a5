# SPDX-License-Identifier: Apache-2.0
"""Resources that are nested more deeply than a body may be, stored when there was no bound."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    ("depth", "as_yaml", "as_json"), [(64, 0, 0), (600, 1, 0), (100_000, 1, 1)]
)
def test_a_deep_answer_is_shown_or_refused_in_a_sentence(
    cli: Cli, tmp_path: Path, depth: int, as_yaml: int, as_json: int
) -> None:
    file = tmp_path / "server.json"
    file.write_text('{"resourceRef": "/servers/h"}')
    assert cli.run("apply", "-f", str(file))[0] == 0
    key, rows = "/servers/h", cli.north.view.rows
    row = rows[key]
    rows[key] = msgspec.structs.replace(row, tags=b'{"a":' * depth + b"1" + b"}" * depth)
    for output, refused in (("yaml", as_yaml), ("json", as_json)):
        code, out, error = cli.run("get", row.ref, "-o", output)
        assert code == refused
        assert ("nested too deeply" in error) is bool(refused)
        assert bool(out) is not bool(refused)
