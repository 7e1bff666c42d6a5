# SPDX-License-Identifier: Apache-2.0
"""Rows of the south store as an agent meets them: changes of any, and its own with their ids."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from isthmus.policy.rows import Row
from isthmus.wire.ovsdb import RowId

OurRow = TypeVar("OurRow", bound=Row)


class SouthChange(NamedTuple):
    """One row of the south store that came, changed or went."""

    row_id: RowId
    old: Row | None
    new: Row | None


class Stored(NamedTuple, Generic[OurRow]):
    """A row of ours in the store."""

    row_id: RowId
    row: OurRow


def keep(
    rows: dict[str, Stored[OurRow]], key: str, row_id: RowId, row: OurRow, *, gone: bool
) -> None:
    """Note what the store has under a key. A row that goes takes only itself along: the one that
    replaces it may have come before."""
    if not gone:
        rows[key] = Stored(row_id, row)
    elif key in rows and rows[key].row_id == row_id:
        del rows[key]
