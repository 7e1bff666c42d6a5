# SPDX-License-Identifier: Apache-2.0
"""The scope on disk, so that an agent that starts again asks for all of it at once. A hint: what
is missing or out of date costs some more questions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from isthmus.host.scope import COLUMNS, READ, Clause, Conditions
from isthmus.policy.rows import Row


def save(conditions: Conditions, file: Path | None) -> None:
    """Remember a scope; where it cannot be written, a restart takes a little longer."""
    if file is not None:
        named = {table.TABLE: clauses for table, clauses in conditions.items()}
        new = file.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_bytes(msgspec.json.encode(named))
            new.replace(file)


def load(file: Path | None) -> Conditions:
    """The remembered scope; empty where there is none, or where it asks for what is no scope of
    ours: the store would refuse all of it, as often as it is asked."""
    if file is None:
        return {}
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, tuple[Clause, ...]])
    except (OSError, msgspec.DecodeError):
        return {}
    clauses = {table: found.get(table.TABLE, ()) for table in READ}
    if not all(_is_ours(table, one) for table, ones in clauses.items() for one in ones):
        return {}
    return clauses


def _is_ours(table: type[Row], clause: Clause) -> bool:
    column, function, _ = clause
    return function == "==" and column in COLUMNS.get(table, ())
