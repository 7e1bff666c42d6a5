# SPDX-License-Identifier: Apache-2.0
"""The north store as `intent.model.View`: the committed resources, and what is free.

It follows the replica row by row. Look-ups are O(1) or O(result); a free number is found by binary
search, however many are held.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from isthmus.intent.model import Allocation, Stored
from isthmus.store import north_rows
from isthmus.wire.ovsdb import RowId

_NONE: frozenset[str] = frozenset()
INSTANCE = "instance"
"""The one scope whose values are no numbers, and which is a column of its own."""


LANE_BLOCK = 64
"""Numbers that one controller gives out before it goes past those of the others."""


class Lane(NamedTuple):
    """Where a controller looks for free numbers first, so that several seldom meet: in every block
    whose number is `number` modulo `of`."""

    number: int = 0
    of: int = 1


class StoredChange(NamedTuple):
    """One resource before and after; None is absent."""

    key: str
    old: Stored | None
    new: Stored | None


class NorthView:
    """A `View` of what is committed."""

    def __init__(self) -> None:
        self.lane = Lane()
        self.row_ids: dict[str, RowId] = {}
        """Of resources, by key."""
        self.by_request: defaultdict[str, set[str]] = defaultdict(set)
        self.by_operation: defaultdict[str, set[str]] = defaultdict(set)
        """Keys of the resources whose last write had that id."""
        self._rows: dict[str, Stored] = {}
        self._below: defaultdict[tuple[str, str], dict[str, Stored]] = defaultdict(dict)
        self._kinds: defaultdict[str, dict[str, Stored]] = defaultdict(dict)
        self._referrers: defaultdict[str, set[str]] = defaultdict(set)
        self._holders: dict[Allocation, str] = {}
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._rows)

    # -- intent.model.View -------------------------------------------------------------------------

    def get(self, key: str) -> Stored | None:
        return self._rows.get(key)

    def children(self, key: str, kind: str) -> Sequence[Stored]:
        rows = self._below.get((key, kind))
        if not rows:
            return ()
        return sorted(rows.values(), key=lambda row: (row.position, row.key))

    def collection(self, kind: str) -> Iterable[Stored]:
        rows = self._kinds.get(kind, {})
        return [rows[key] for key in sorted(rows)]

    def referrers(self, key: str) -> Collection[str]:
        return self._referrers.get(key, _NONE)

    def holder(self, allocation: Allocation) -> str | None:
        return self._holders.get(allocation)

    def free(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        """See `View.free`. Plans are made one after the other, each over those before it
        (`store.north`), so none is proposed twice.
        """
        taken = self._numbers.get(scope, ())
        for first, last in ranges:
            number = self._free_in_lane(taken, first, last)
            if number is None:
                number = _first_gap(taken, first)
            if number <= last:
                return number
        return None

    def _free_in_lane(self, taken: Sequence[int], first: int, last: int) -> int | None:
        """The lowest free number in the blocks that are this controller's to begin with."""
        lane, start = self.lane, first
        while True:
            number = _first_gap(taken, start)
            if number > last:
                return None
            block = number // LANE_BLOCK
            ahead = (lane.number - block) % lane.of
            if ahead == 0:
                return number
            start = (block + ahead) * LANE_BLOCK

    def held(self, scope: str, first: int, last: int) -> int:
        taken = self._numbers.get(scope, [])
        return max(0, bisect_left(taken, last + 1) - bisect_left(taken, first))

    # -- following the replica ---------------------------------------------------------------------

    def change(
        self, row_id: RowId, old: north_rows.Resource | None, new: Stored | None
    ) -> StoredChange:
        """Take in one changed row. Of two rows with one key, the one that goes comes first."""
        key = new.key if new is not None else old.key if old is not None else ""
        before = self._rows.get(key) if self.row_ids.get(key) == row_id else None
        if before is not None:
            self._take(before)
        if new is not None:
            self.row_ids[key] = row_id
            self._give(new)
        elif before is not None:
            del self.row_ids[key]
        return StoredChange(key, before, new)

    def _take(self, row: Stored) -> None:
        del self._rows[row.key]
        if row.parent:
            place = row.parent, row.kind
            del self._below[place][row.key]
            if not self._below[place]:
                del self._below[place]
        else:
            del self._kinds[row.kind][row.key]
            if not self._kinds[row.kind]:
                del self._kinds[row.kind]
        for key in row.requires | row.mentions:
            _discard(self._referrers, key, row.key)
        if row.request_id:
            _discard(self.by_request, row.request_id, row.key)
        if row.operation_id:
            _discard(self.by_operation, row.operation_id, row.key)
        for allocation in row.allocations:
            if self._holders.get(allocation) == row.key:
                del self._holders[allocation]
                if allocation.scope != INSTANCE:
                    self._release(allocation.scope, int(allocation.value))

    def _give(self, row: Stored) -> None:
        self._rows[row.key] = row
        if row.parent:
            self._below[row.parent, row.kind][row.key] = row
        else:
            self._kinds[row.kind][row.key] = row
        for key in row.requires | row.mentions:
            self._referrers[key].add(row.key)
        if row.request_id:
            self.by_request[row.request_id].add(row.key)
        if row.operation_id:
            self.by_operation[row.operation_id].add(row.key)
        for allocation in row.allocations:
            if allocation not in self._holders and allocation.scope != INSTANCE:
                insort(self._numbers[allocation.scope], int(allocation.value))
            self._holders[allocation] = row.key

    def _release(self, scope: str, number: int) -> None:
        taken = self._numbers[scope]
        place = bisect_left(taken, number)
        if place < len(taken) and taken[place] == number:
            del taken[place]
        if not taken:
            del self._numbers[scope]


def _first_gap(taken: Sequence[int], start: int) -> int:
    """The lowest number from `start` on that is not in `taken`, which is sorted.

    Where numbers are held without gaps this is O(log n); each repeated number costs a step more.
    """
    low = bisect_left(taken, start)
    while True:
        if low == len(taken) or taken[low] != start:
            return start
        # The longest run from `low` without a gap: there taken[i] - i is constant.
        bottom, top = low, len(taken)
        while bottom < top:
            middle = (bottom + top) // 2
            if taken[middle] - middle <= start - low:
                bottom = middle + 1
            else:
                top = middle
        start = taken[bottom - 1] + 1
        low = bisect_left(taken, start, bottom)


def _discard(sets: dict[str, set[str]], key: str, member: str) -> None:
    members = sets.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del sets[key]
