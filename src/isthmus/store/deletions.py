# SPDX-License-Identifier: Apache-2.0
"""What requests have deleted, remembered so that a replay is answered alike by every controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.store.connection import Change
from isthmus.store.north_rows import Deletion
from isthmus.wire.ovsdb import Operation, RowId, delete

FORGET_S = 24 * 3600
MOST = 10_000
AT_ONCE = 100


class Deletions:
    """The stored ones, by the request and by the operation that made them."""

    def __init__(self) -> None:
        self.by_operation: dict[str, Deletion] = {}
        self.by_request: dict[str, Deletion] = {}

    def change(self, change: Change) -> None:
        """Follow one changed row of the table."""
        old, new = change.old, change.new
        if isinstance(old, Deletion) and new is None:
            self.by_operation.pop(old.operation_id, None)
            self.by_request.pop(old.request_id, None)
        if isinstance(new, Deletion):
            self.by_operation[new.operation_id] = new
            if new.request_id:
                self.by_request[new.request_id] = new


def outdated(rows: Mapping[RowId, Deletion], now_s: float) -> Iterator[Operation]:
    """What forgets those that nobody will ask for again: the old ones, and where there are too many
    the oldest. A few at a time.
    """
    old = [row_id for row_id, row in rows.items() if row.at_s < now_s - FORGET_S]
    excess = len(rows) - len(old) - MOST
    if excess > 0:
        old = sorted(rows, key=lambda row_id: rows[row_id].at_s)[: len(old) + excess]
    for row_id in old[:AT_ONCE]:
        yield delete(Deletion.TABLE, row_id)
