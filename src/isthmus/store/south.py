# SPDX-License-Identifier: Apache-2.0
"""Writing policy: only the deriver does, and only while the fence is its own.

The one `Deriver` row holds a generation. Who takes over increments it, and every transaction of a
deriver begins with a ``wait`` on the generation that it took: after the first write of a new
deriver, none of the old one's can happen, however late it arrives (RFC 7047 section 5.2.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from isthmus.errors import Conflict
from isthmus.policy.observed import MOST_COUNT
from isthmus.policy.rows import DESIRED, Deriver, Row
from isthmus.store.connection import Change, Connection
from isthmus.store.failures import Duplicate, WaitFailed
from isthmus.wire.ovsdb import Operation, RowId, delete, insert, update, wait

Observed = TypeVar("Observed", bound=Row)

Place = tuple[type[Row], object]
"""The table and the key of a row."""

TRANSACTION_ROWS = 100
"""RAFT commits one transaction after the other; more rows in each make it no faster."""

_GUARDED = ("generation", "holder")
"""What every transaction of a deriver waits on. The holder counts as well: in a store that was
restored from a backup a generation may come a second time."""

Wanted = tuple[Row | None, Row | None]
"""The row as it was wanted and as it is wanted now; None is absent."""


class FenceLost(Conflict):
    """Another controller has taken over: nothing was written."""

    default_code = "DeriverFenced"


def deriver_of(connection: Connection) -> tuple[RowId, Deriver] | None:
    """The one row that names the deriver, and where it is. A row of another name is none, whoever
    has written it: of two, two controllers could each take one for theirs."""
    rows = connection.table(Deriver).items()
    return next(((row_id, row) for row_id, row in rows if row.name == Deriver().name), None)


class _Fence(NamedTuple):
    """The `Deriver` row as this controller itself has written it."""

    row_id: RowId
    row: Deriver


class PolicyWriter:
    """Brings the desired tables of the south store to what is wanted. One call at a time.

    `note` must be given every change of the connection's replica.
    """

    def __init__(self, connection: Connection, holder: str) -> None:
        self._connection = connection
        self._holder = holder
        self._fence: _Fence | None = None
        self._row_ids: dict[Place, RowId] = {}

    @property
    def generation(self) -> int | None:
        """The generation that we hold; None while we are not the deriver."""
        return None if self._fence is None else self._fence.row.generation

    def note(self, changes: Iterable[Change]) -> None:
        """Remember where rows are."""
        for _, row_id, old, new in changes:
            if isinstance(old, DESIRED) and (not isinstance(new, DESIRED) or new.key != old.key):
                place: Place = (type(old), old.key)
                if self._row_ids.get(place) == row_id:
                    del self._row_ids[place]
        for _, row_id, _, new in changes:
            if isinstance(new, DESIRED):
                self._row_ids[type(new), new.key] = row_id

    def stored(self, table: type[Row], key: object) -> Row | None:
        """The row as the store has it."""
        row_id = self._row_ids.get((table, key))
        return None if row_id is None else self._connection.table(table).get(row_id)

    def observed(self, table: type[Observed]) -> Mapping[RowId, Observed]:
        """The rows of a table that hosts write."""
        return self._connection.table(table)

    async def take_out(self, table: type[Row], row_ids: Iterable[RowId]) -> None:
        """Delete rows that hosts have written. Raises FenceLost, Unavailable."""
        await self._send([delete(table.TABLE, row_id) for row_id in row_ids])

    async def take_over(self) -> int:
        """Become the deriver; the new generation. Raises FenceLost when another was faster.

        The generation held afterwards is the one that was written here. The replica cannot tell it:
        whoever is stopped before it reads the answer reads what a successor has written as well.
        """
        self._fence = None
        found = deriver_of(self._connection)
        generation = 1 if found is None else found[1].generation + 1
        if not 0 < generation <= MOST_COUNT:
            generation = 1  # no deriver has counted so far; the holder's name is the fence as well
        taken = Deriver(generation=generation, holder=self._holder)
        try:
            if found is None:
                await self._connection.transact([insert(Deriver.TABLE, taken)])
            else:
                row_id, row = found
                await self._connection.transact(
                    [
                        wait(Deriver.TABLE, row_id, row, _GUARDED),
                        update(Deriver.TABLE, row_id, taken, _GUARDED),
                    ]
                )
        except (WaitFailed, Duplicate) as error:
            raise FenceLost("another controller has taken over at the same moment") from error
        # An inserted row has come with the answer; its name is unique, so there is no other.
        found = found or deriver_of(self._connection)
        if found is None:
            raise FenceLost("the row of the deriver was deleted at the same moment")
        self._fence = _Fence(found[0], taken)
        return generation

    def notice_successor(self) -> bool:
        """Stop being the deriver if the replica says that another has taken over since; whether it
        does. A write would find that out as well, but there may be nothing to write for long."""
        if self._fence is None:
            return False
        stored = self._connection.table(Deriver).get(self._fence.row_id)
        if stored == self._fence.row:
            return False
        self._fence = None
        return True

    async def write_all(self, wanted: Iterable[Row]) -> int:
        """Make the desired tables hold exactly `wanted`; the number of rows changed."""
        rows: dict[Place, Row] = {(type(row), row.key): row for row in wanted}
        operations: list[Operation] = []
        for place, row in rows.items():
            operations += self._operations(place, row)
        for gone in [place for place in self._row_ids if place not in rows]:
            operations += self._operations(gone, None)
        await self._send(operations)
        return len(operations)

    async def write(self, changes: Iterable[Wanted]) -> int:
        """Make what has changed be so; the number of rows changed.

        Raises FenceLost, Unavailable; part may then be written, and `write_all` mends it.
        """
        operations: list[Operation] = []
        for old, new in changes:
            row = new if new is not None else old
            assert row is not None, "a change has a row before it or after it"
            operations += self._operations((type(row), row.key), new)
        await self._send(operations)
        return len(operations)

    def _operations(self, place: Place, wanted: Row | None) -> list[Operation]:
        row_id = self._row_ids.get(place)
        table = place[0].TABLE
        if row_id is None:
            return [] if wanted is None else [insert(table, wanted)]
        if wanted is None:
            return [delete(table, row_id)]
        stored = self._connection.rows[place[0]][row_id]
        fields = wanted.__struct_fields__
        changed = [name for name in fields if getattr(stored, name) != getattr(wanted, name)]
        return [update(table, row_id, wanted, changed)] if changed else []

    async def _send(self, operations: Sequence[Operation]) -> None:
        for start in range(0, len(operations), TRANSACTION_ROWS):
            if self._fence is None:
                raise FenceLost("this controller is not the deriver")
            row_id, held = self._fence
            guard = wait(Deriver.TABLE, row_id, held, _GUARDED)
            try:
                await self._connection.transact(
                    [guard, *operations[start : start + TRANSACTION_ROWS]]
                )
            except WaitFailed as error:
                self._fence = None
                raise FenceLost(
                    f"generation {held.generation} of {self._holder} is over: another controller"
                    " derives now"
                ) from error
