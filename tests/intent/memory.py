# SPDX-License-Identifier: Apache-2.0
"""A north store in memory: a whole `View`, and `apply` with the rules that the real store keeps.

What a real store refuses is refused here too: a stale read, a vanished requirement, a deletion of
what is required, an allocation that another resource holds, an insert of what exists.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from isthmus.errors import Conflict, Unavailable
from isthmus.intent.model import Allocation, Plan, Stored


class CountingIds:
    """GUIDs 00000000-0000-4000-8000-000000000001 and up."""

    def __init__(self) -> None:
        self.count = 0

    def guid(self) -> str:
        self.count += 1
        return f"00000000-0000-4000-8000-{self.count:012x}"


class MemoryStore:
    """Look-ups cost O(1) or O(result), `free` O(log n) where numbers are held without gaps."""

    def __init__(self) -> None:
        self.rows: dict[str, Stored] = {}
        self._below: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._kinds: defaultdict[str, set[str]] = defaultdict(set)
        self._referrers: defaultdict[str, set[str]] = defaultdict(set)
        self._holders: dict[Allocation, str] = {}
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)

    # View

    def get(self, key: str) -> Stored | None:
        return self.rows.get(key)

    def children(self, key: str, kind: str) -> Sequence[Stored]:
        rows = [self.rows[below] for below in self._below.get((key, kind), ())]
        return sorted(rows, key=lambda row: (row.position, row.key))

    def collection(self, kind: str) -> Iterable[Stored]:
        return [self.rows[key] for key in sorted(self._kinds.get(kind, ()))]

    def referrers(self, key: str) -> Collection[str]:
        return self._referrers.get(key, ())

    def holder(self, allocation: Allocation) -> str | None:
        return self._holders.get(allocation)

    def free(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        held = self._numbers.get(scope, [])
        for first, last in ranges:
            number = _first_gap(held, first)
            if number <= last:
                return number
        return None

    def held(self, scope: str, first: int, last: int) -> int:
        numbers = self._numbers.get(scope, [])
        return max(0, bisect_left(numbers, last + 1) - bisect_left(numbers, first))

    # Writing

    def apply(self, plan: Plan) -> None:
        """All of it or nothing. Raises Unavailable when the plan must be made again, Conflict when
        something is in use, as the real store does."""
        self._check(plan)
        for key in [*plan.deletes, *(row.key for row in (*plan.replaces, *plan.updates))]:
            self._take(self.rows.pop(key))
        for row in (*plan.inserts, *plan.replaces, *plan.updates):
            self._give(row)

    def _check(self, plan: Plan) -> None:
        for key, etag in plan.reads.items():
            row = self.rows.get(key)
            if row is None or row.etag != etag:
                raise Unavailable(f"{key} has changed since it was read", target=key)
        written = (*plan.inserts, *plan.replaces, *plan.updates)
        after = {**{row.key: row for row in written}, **dict.fromkeys(plan.deletes)}
        touched = [*plan.deletes, *(row.key for row in (*plan.replaces, *plan.updates))]
        assert all(key in self.rows for key in touched), "a plan changes only what exists"
        assert len(after) == len(written) + len(plan.deletes), "a plan names a row once"
        for row in plan.inserts:
            if row.key in self.rows:
                raise Unavailable(f"{row.key} exists by now", target=row.key)
        for gone in [*plan.deletes, *(row.key for row in plan.replaces)]:
            self._check_unused(gone, after, plan)
        for row in written:
            self._check_references(row, after)
        self._check_allocations(written, touched)

    def _check_unused(self, gone: str, after: dict[str, Stored | None], plan: Plan) -> None:
        for user in self._referrers.get(gone, ()):
            row = after.get(user, self.rows.get(user))
            if row is not None and gone in row.requires and user not in after:
                raise Conflict(f"{gone} is required by {user}", code=plan.in_use_code, target=gone)

    def _check_references(self, row: Stored, after: dict[str, Stored | None]) -> None:
        for key in (*row.requires, *((row.parent,) if row.parent else ())):
            if after.get(key, self.rows.get(key)) is None:
                raise Unavailable(f"{key}, which {row.key} requires, is gone", target=key)

    def _check_allocations(self, written: Sequence[Stored], touched: Sequence[str]) -> None:
        freed = set(touched)
        taken: dict[Allocation, str] = {}
        for row in written:
            for allocation in row.allocations:
                holder = self._holders.get(allocation)
                other = taken.setdefault(allocation, row.key)
                if (holder is not None and holder not in freed) or other != row.key:
                    raise Unavailable(f"{allocation} is held by {holder or other}", target=row.key)

    def _take(self, row: Stored) -> None:
        if row.parent is None:
            self._kinds[row.kind].discard(row.key)
        else:
            self._below[row.parent, row.kind].discard(row.key)
        for key in row.requires | row.mentions:
            self._referrers[key].discard(row.key)
        for allocation in row.allocations:
            del self._holders[allocation]
            if allocation.scope != "instance":
                numbers = self._numbers[allocation.scope]
                del numbers[bisect_left(numbers, int(allocation.value))]

    def _give(self, row: Stored) -> None:
        self.rows[row.key] = row
        if row.parent is None:
            self._kinds[row.kind].add(row.key)
        else:
            self._below[row.parent, row.kind].add(row.key)
        for key in row.requires | row.mentions:
            self._referrers[key].add(row.key)
        for allocation in row.allocations:
            self._holders[allocation] = row.key
            if allocation.scope != "instance":
                insort(self._numbers[allocation.scope], int(allocation.value))


def _first_gap(held: list[int], first: int) -> int:
    """The lowest number from `first` on that is not in the sorted list: a binary search for the
    first place where the list runs ahead of an unbroken count."""
    low = start = bisect_left(held, first)
    high = len(held)
    while low < high:
        middle = (low + high) // 2
        if held[middle] - first == middle - start:
            low = middle + 1
        else:
            high = middle
    return first + (low - start)
