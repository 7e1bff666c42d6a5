# SPDX-License-Identifier: Apache-2.0
"""A scope as bytes, for the agent to remember through a restart."""

from __future__ import annotations

import msgspec

from isthmus.host.scope import COLUMNS, READ, Clause, Conditions
from isthmus.policy.rows import Row


def encoded(conditions: Conditions) -> bytes:
    return msgspec.json.encode({table.TABLE: clauses for table, clauses in conditions.items()})


def decoded(data: bytes) -> Conditions:
    """Empty where it is no scope, or asks for what is none of ours: the store would refuse all of
    it, as often as it is asked."""
    try:
        found = msgspec.json.decode(data, type=dict[str, tuple[Clause, ...]])
    except msgspec.DecodeError:
        return {}
    clauses = {table: found.get(table.TABLE, ()) for table in READ}
    if not all(_is_ours(table, one) for table, ones in clauses.items() for one in ones):
        return {}
    return clauses


def _is_ours(table: type[Row], clause: Clause) -> bool:
    column, function, _ = clause
    return function == "==" and column in COLUMNS.get(table, ())
