# SPDX-License-Identifier: Apache-2.0
"""The schemas: a change of columns needs a new version. After a change that is meant, raise it and

.venv/bin/python -m tests.store.test_schema
"""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.store.schema import Schema, encoded, north_schema, south_schema

HERE = Path(__file__).parent / "schemas"


def _golden(found: Schema) -> Path:
    return HERE / f"{found['name']}-{found['version']}.json"


@pytest.mark.parametrize("found", [north_schema(), south_schema()], ids=lambda s: str(s["name"]))
def test_a_schema_is_what_its_version_was(found: Schema) -> None:
    assert encoded(found) == _golden(found).read_bytes()


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for made in (north_schema(), south_schema()):
        _golden(made).write_bytes(encoded(made))
