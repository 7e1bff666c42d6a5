# SPDX-License-Identifier: Apache-2.0
"""A `View` with changes on top: what a request, and the requests before it in a batch, have made of
the store.

It remembers which stored rows the checks relied upon (`read`), so that the plan can be fenced on
exactly those, and turns the sum of the changes into one `Plan`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from isthmus.intent.model import Allocation, Outcome, Plan, Stored, View


class Overlay:
    """A `View` that can be changed. Mutable, and used for one plan."""

    def __init__(self, base: View) -> None:
        self._base = base
        self._rows: dict[str, Stored | None] = {}
        """Every touched key; None is removed."""
        self._replaced: set[str] = set()
        self._holders: dict[Allocation, str | None] = {}
        self._last: dict[tuple[str, int, int], int] = {}
        """Per (scope, range): the last number taken, so that many in one batch cost one step
        each."""
        self._referrers: dict[str, dict[str, bool]] = {}
        """key → referrer → whether it refers now."""
        self._below: dict[str, set[str]] = {}
        """parent → touched children."""
        self._roots: dict[str, set[str]] = {}
        """Top-level kind → touched resources."""
        self.reads: dict[str, str] = {}

    # View

    def get(self, key: str) -> Stored | None:
        if key in self._rows:
            return self._rows[key]
        return self._base.get(key)

    def children(self, key: str, kind: str) -> Sequence[Stored]:
        found = self._base.children(key, kind)
        touched = self._below.get(key)
        if not touched:
            return found
        rows = [row for row in found if row.key not in touched]
        rows += [r for k in touched if (r := self._rows[k]) is not None and r.kind == kind]
        return sorted(rows, key=lambda row: (row.position, row.key))

    def collection(self, kind: str) -> Iterable[Stored]:
        touched = self._roots.get(kind)
        if not touched:
            return self._base.collection(kind)
        rows = {row.key: row for row in self._base.collection(kind) if row.key not in touched}
        rows.update((key, row) for key in touched if (row := self._rows[key]) is not None)
        return [rows[key] for key in sorted(rows)]

    def referrers(self, key: str) -> Collection[str]:
        found = self._base.referrers(key)
        changed = self._referrers.get(key)
        if not changed:
            return found
        return {k for k in found if k not in changed} | {
            k for k, refers in changed.items() if refers
        }

    def holder(self, allocation: Allocation) -> str | None:
        if allocation in self._holders:
            return self._holders[allocation]
        return self._base.holder(allocation)

    def free(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        for first, last in ranges:
            number = self._free_in(scope, first, last)
            if number is not None:
                return number
        return self._given_up(scope, ranges)

    def held(self, scope: str, first: int, last: int) -> int:
        count = self._base.held(scope, first, last)
        for allocation, holder in self._holders.items():
            if allocation.scope == scope and first <= int(allocation.value) <= last:
                count += (holder is not None) - (self._base.holder(allocation) is not None)
        return count

    def _free_in(self, scope: str, first: int, last: int) -> int | None:
        """The store's proposal, past those that this plan has taken itself."""
        hint = self._last.get((scope, first, last))
        start = first if hint is None else hint + 1
        while start <= last:
            number = self._base.free(scope, ((start, last),))
            if number is None:
                break
            if self._holders.get(Allocation(scope, str(number))) is None:
                self._last[scope, first, last] = number
                return number
            start = number + 1
        if hint is None:
            return self._free_between(scope, first, last)
        # the part below the hint may have gaps: a store need not propose the lowest number first
        del self._last[scope, first, last]
        return self._free_in(scope, first, last)

    def _free_between(self, scope: str, first: int, last: int) -> int | None:
        """The store's proposal for each part between the numbers that this plan has taken itself. A
        store that looks in its own lane first proposes what the plan has taken over and over, and
        past it none of another lane's that are lower."""
        taken = sorted(
            int(allocation.value)
            for allocation, holder in self._holders.items()
            if allocation.scope == scope and holder is not None
        )
        start = first
        for number in (*(one for one in taken if first <= one <= last), last + 1):
            found = self._base.free(scope, ((start, number - 1),)) if start < number else None
            if found is not None:
                return found
            start = number + 1
        return None

    def _given_up(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        """A number that the store still sees as held, but that this plan gives up."""
        for allocation, holder in self._holders.items():
            if holder is None and allocation.scope == scope:
                number = int(allocation.value)
                if any(first <= number <= last for first, last in ranges):
                    return number
        return None

    # Changes

    def read(self, key: str) -> Stored | None:
        """The row, as `get` gives it; the plan will be refused if it has changed by then."""
        row = self.get(key)
        self._rely(key)
        return row

    def _rely(self, key: str) -> None:
        if key not in self._rows and key not in self.reads:
            row = self._base.get(key)
            if row is not None:
                self.reads[key] = row.etag

    def put(self, row: Stored, *, replacing: bool = False) -> None:
        """Write a row: new, changed, or (`replacing`) deleted and made anew."""
        self._rely(row.key)
        if replacing:
            self._replaced.add(row.key)
        self._change(row.key, self.get(row.key), row)

    def remove(self, key: str) -> None:
        """Take a row away. Whoever calls this has checked that nothing requires it."""
        self._rely(key)
        self._change(key, self.get(key), None)

    def lift(self, row: Stored) -> None:
        """Free the addresses of `row` while the tree that it belongs to is written anew: two
        siblings may exchange theirs. The row takes back what it keeps when it is put."""
        for allocation in row.allocations:
            if allocation.scope.startswith("ip "):
                self._holders[allocation] = None

    def _change(self, key: str, old: Stored | None, new: Stored | None) -> None:
        self._rows[key] = new
        held: frozenset[Allocation] = new.allocations if new else frozenset()
        if old is not None:
            for allocation in old.allocations - held:
                if self.holder(allocation) == key:
                    self._holders[allocation] = None
            for target in old.requires | old.mentions:
                self._referrers.setdefault(target, {})[key] = False
        if new is not None:
            for allocation in held:
                self._holders[allocation] = key
            for target in new.requires | new.mentions:
                self._referrers.setdefault(target, {})[key] = True
        row = new or old
        if row is not None and row.parent is not None:
            self._below.setdefault(row.parent, set()).add(key)
        elif row is not None:
            self._roots.setdefault(row.kind, set()).add(key)

    # Result

    def plan(self, outcomes: Sequence[Outcome], in_use_code: str) -> Plan:
        """All changes as one plan. With several outcomes the plan's own status and ref are the last
        one's."""
        inserts, updates, replaces, deletes = [], [], [], []
        for key, row in self._rows.items():
            before = self._base.get(key)
            if row is None:
                if before is not None:
                    deletes.append(key)
            elif before is None:
                inserts.append(row)
            elif key in self._replaced or before.instance_id != row.instance_id:
                replaces.append(row)
            else:
                updates.append(row)
        return Plan(
            inserts=tuple(inserts),
            updates=tuple(updates),
            replaces=tuple(replaces),
            deletes=tuple(deletes),
            reads=self.reads,
            status=outcomes[-1].status if outcomes else 200,
            ref=outcomes[-1].ref if outcomes else "",
            in_use_code=in_use_code,
            outcomes=tuple(outcomes),
        )
