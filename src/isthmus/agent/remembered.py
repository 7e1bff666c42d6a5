# SPDX-License-Identifier: Apache-2.0
"""The scope on disk, so that an agent that starts again asks for all of it at once. A hint: what
is missing or out of date costs some more questions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from isthmus.agent.scope import READ, Clause, Conditions


def save(conditions: Conditions, file: Path | None) -> None:
    """Remember a scope; where it cannot be written, a restart takes a little longer."""
    if file is not None:
        named = {table.TABLE: clauses for table, clauses in conditions.items()}
        new = file.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_bytes(msgspec.json.encode(named))
            new.replace(file)


def load(file: Path | None) -> Conditions:
    """The remembered scope; empty where there is none."""
    if file is None:
        return {}
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[Clause, ...]])
    except (OSError, msgspec.DecodeError):
        return {}
    return {table: found.get(table.TABLE, ()) for table in READ}
