# SPDX-License-Identifier: Apache-2.0
"""The incremental engine: derived tables that follow their inputs, at the cost of the change.

A derivation is a list of *units*. A unit stands over a table: for each row there it is one pure
function call, ``run(row, read) -> items``, whose items are rows of derived tables. The engine
records which rows and which index entries each call read; when one of them changes, only the calls
that read it run again, and the difference of their items goes on to the units further down the
list, and out.

Guarantees:
- After `settle`, every table holds exactly what running all units from nothing would give
  (property-tested, and sampled at run time by `audit`).
- Calls run are those over a changed row and those that read something that changed; nothing else.
- Several calls may give the same row; it stays until the last of them takes it back. If they
  disagree on its value, the call earliest in (unit, key) order wins and `conflicts` names the row.

Rules for units: read rows by key, or an index whose entries are few; whatever grows with the
network is a unit per member. A unit may give rows only of tables that no unit at or above it stands
over or reads.

It leaves to others where inputs come from and where outputs go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar, cast

from isthmus.derive.tables import NOTHING, Call, Change, Entries, Index, Key, Rows, Table

__all__ = ["Change", "Engine", "Index", "Item", "Key", "Read", "Table", "Unit", "unit"]

Row = TypeVar("Row")


class Item(NamedTuple):
    """One derived row: `value` is an instance of `table`, or any value when the table is only a
    name.
    """

    table: Table
    key: Key
    value: object


class Unit(NamedTuple):
    """`run` is called for each row of `over`. Make it with `unit`."""

    name: str
    over: Table
    run: Callable[[Any, Read], Iterable[Item]]
    """Any: one list holds units over different tables; `unit` checks that function and table fit.
    """


def unit(over: type[Row], run: Callable[[Row, Read], Iterable[Item]]) -> Unit:
    """A unit over a table, named after its function; the row carries its own key."""
    return Unit(run.__name__, over, run)


_Noted = list[tuple[dict[Key, set[Call]], Key]]
_Given = tuple[Rows, Key, object]


class Read:
    """What a unit sees of the tables; it remembers what was asked."""

    __slots__ = ("_by_index", "_tables", "noted")

    def __init__(self, tables: Mapping[Table, Rows], by_index: Mapping[Index, Entries]) -> None:
        self._tables = tables
        self._by_index = by_index
        self.noted: _Noted = []

    def get(self, table: type[Row], key: Key) -> Row | None:
        """The row, or None."""
        rows = self._tables[table]
        self.noted.append((rows.readers, key))
        return cast("Row | None", rows.values.get(key))

    def find(self, index: Index, entry: Key) -> AbstractSet[Key]:
        """Keys of the rows under `entry`. Do not change the set; sort it where order matters."""
        entries = self._by_index[index]
        self.noted.append((entries.readers, entry))
        return entries.keys.get(entry, NOTHING)


class Engine:
    """Tables, units, and the propagation between them. Not thread-safe; holds no clock and does no
    I/O.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        indexes: Sequence[Index] = (),
        tables: Iterable[Table] = (),
    ) -> None:
        self._units = tuple(units)
        self._tables: dict[Table, Rows] = {}
        self._by_index: dict[Index, Entries] = {}
        for table in (
            *tables,
            *(unit.over for unit in units),
            *(index.table for index in indexes),
        ):
            self._tables.setdefault(table, Rows(self._mark))
        for index in indexes:
            entries = self._by_index[index] = Entries(index.of)
            self._tables[index.table].indexes.append(entries)
        for level, unit in enumerate(self._units):
            self._tables[unit.over].units.append(level)
        self._dirty: list[set[Key]] = [set() for _ in self._units]
        self._given: dict[Call, list[tuple[Rows, Key]]] = {}
        self._reads: dict[Call, _Noted] = {}
        self._level = -1
        self._elected = False
        self._reader = Read(self._tables, self._by_index)
        self.failures: dict[tuple[str, Key], Exception] = {}
        """Calls that raised when last run: what they gave before stands."""
        self.calls = 0
        """How many unit calls have run since the beginning."""

    def put(self, table: Table, key: Key, value: object | None) -> None:
        """Set an input row; None removes it. Takes effect at `settle`."""
        self._tables[table].store(key, value)

    def rows(self, table: type[Row]) -> Mapping[Key, Row]:
        """The live rows of a table."""
        return cast("Mapping[Key, Row]", self._tables[table].values)

    def entry(self, index: Index, entry: Key) -> AbstractSet[Key]:
        """Keys of the rows under an index entry, outside any unit."""
        return self._by_index[index].keys.get(entry, NOTHING)

    def settle(self) -> None:
        """Run what must run until nothing is dirty. Cost: the calls affected."""
        for level, dirty in enumerate(self._dirty):
            self._level = level
            while dirty:
                self._call(level, dirty.pop())
        self._level = -1

    def changes(self, table: Table) -> list[Change]:
        """What changed in a table since the last time it was asked, and forget it. The first time,
        that is every row there is."""
        rows = self._tables[table]
        changed, rows.changed = rows.changed, {}
        if changed is None:
            return [Change(key, None, row) for key, row in rows.values.items()]
        found = []
        for key, old in changed.items():
            new = rows.values.get(key)
            if new != old:
                found.append(Change(key, old, new))
        return found

    def preview(
        self, inputs: Iterable[tuple[Table, Key, object | None]], tables: Iterable[Table]
    ) -> dict[Table, list[Change]]:
        """What would change in `tables` if these input rows were set; all is as before then."""
        self.settle()
        kept = {table: rows.changed for table, rows in self._tables.items()}
        stands = {call: self._held(call) for call in self._failing()}
        before: dict[tuple[Table, Key], object | None] = {}
        for rows in self._tables.values():
            rows.changed = {}
        try:
            for table, key, value in inputs:
                before.setdefault((table, key), self._tables[table].values.get(key))
                self.put(table, key, value)
            self.settle()
            return {table: self.changes(table) for table in tables}
        finally:
            for (table, key), value in before.items():
                self.put(table, key, value)
            self.settle()
            for call, items in stands.items():
                self._hold(call, items)  # it may have given others where it did not fail
            self.settle()
            for table, rows in self._tables.items():
                rows.changed = kept[table]

    def conflicts(self) -> set[tuple[Table, Key]]:
        """Derived rows on whose value several calls disagree."""
        return {(table, key) for table, rows in self._tables.items() for key in rows.disputed}

    def is_disputed(self, table: Table, key: Key) -> bool:
        """Whether several calls disagree on the value of a derived row."""
        return key in self._tables[table].disputed

    def conflicts_changed(self) -> bool:
        """Whether any row has come to be disputed, or not, or otherwise, since this was asked."""
        elected, self._elected = self._elected, False
        return elected

    def givers(self, table: Table, key: Key) -> list[tuple[str, Key, object]]:
        """The unit and the key of each call that gives a derived row that several give, and what it
        gives; in the order in which one of them is chosen."""
        more = self._tables[table].more.get(key, {})
        return [
            (self._units[call.level].name, call.key, more[call])
            for call in sorted(more, key=_order)
        ]

    def giver(self, table: Table, key: Key) -> tuple[str, Key] | None:
        """The unit and the key of the call that gave a derived row; of several that agree, the
        earliest in (unit, key) order, whatever order they came in. Cost: these."""
        rows = self._tables[table]
        more = rows.more.get(key)
        call = rows.derived_by.get(key) if more is None else min(more, key=_order)
        return None if call is None else (self._units[call.level].name, call.key)

    def given(self, unit: str, key: Key) -> Iterator[Item]:
        """What one call gave, for people who ask why."""
        level = next(n for n, candidate in enumerate(self._units) if candidate.name == unit)
        names = {id(rows): table for table, rows in self._tables.items()}
        for rows, item_key in self._given.get(Call(level, key), ()):
            yield Item(names[id(rows)], item_key, rows.values.get(item_key))

    def audit(self, choose: Callable[[Sequence[Call]], Iterable[Call]]) -> list[str]:
        """Run the chosen calls again without effect; name those whose items differ from what is
        held.

        Only right after `settle`. The caller's `choose` picks the sample, so that the engine needs
        no randomness.
        """
        wrong = []
        for call in choose(list(self._given)):
            unit = self._units[call.level]
            value = self._tables[unit.over].values.get(call.key)
            self._reader.noted = []
            again = [] if value is None else list(unit.run(value, self._reader))
            held = {(id(rows), key) for rows, key in self._given[call]}
            if held != {(id(self._tables[item.table]), item.key) for item in again} or any(
                self._value_of(call, self._tables[item.table], item.key) != item.value
                for item in again
            ):
                wrong.append(f"{unit.name} {call.key!r}")
        return wrong

    def _value_of(self, call: Call, rows: Rows, key: Key) -> object | None:
        more = rows.more.get(key)
        return rows.values.get(key) if more is None else more.get(call)

    def _failing(self) -> Iterator[Call]:
        levels = {unit.name: level for level, unit in enumerate(self._units)}
        for name, key in self.failures:
            yield Call(levels[name], key)

    def _held(self, call: Call) -> list[_Given]:
        """What a call has given and still gives."""
        return [
            (rows, key, self._value_of(call, rows, key)) for rows, key in self._given.get(call, ())
        ]

    def _call(self, level: int, key: Key) -> None:
        call = Call(level, key)
        unit = self._units[level]
        value = self._tables[unit.over].values.get(key)
        noted: _Noted = []
        self._reader.noted = noted
        self.calls += 1
        if self.failures:
            self.failures.pop((unit.name, key), None)
        try:
            items = () if value is None else tuple(unit.run(value, self._reader))
        except Exception as error:  # a unit may hold any bug; one row must not hold back the others
            self.failures[unit.name, key] = error
            self._remember_reads(call, noted)
            return
        self._hold(call, [(self._tables[table], key, value) for table, key, value in items])
        self._remember_reads(call, noted)

    def _hold(self, call: Call, items: Iterable[_Given]) -> None:
        """Let a call give these items, and no others."""
        before = self._given.pop(call, ())
        after: dict[tuple[Rows, Key], None] = {}  # tables are told apart as objects
        for rows, key, value in items:
            after[rows, key] = None
            self._give(call, rows, key, value)
        for place in before:
            if place not in after:
                self._take(call, *place)
        if after:
            self._given[call] = list(after)

    def _remember_reads(self, call: Call, noted: _Noted) -> None:
        before = self._reads.get(call)
        if before == noted:
            return
        for readers, key in before or ():
            known = readers.get(key)
            if known is not None:
                known.discard(call)
                if not known:
                    del readers[key]
        for readers, key in noted:
            known = readers.get(key)
            if known is None:
                readers[key] = {call}
            else:
                known.add(call)
        if noted:
            self._reads[call] = noted
        else:
            self._reads.pop(call, None)

    def _give(self, call: Call, rows: Rows, key: Key, value: object) -> None:
        owner = rows.derived_by.get(key)
        more = rows.more.get(key)
        if owner is None or (owner == call and more is None):
            rows.derived_by[key] = call
            rows.store(key, value)
            return
        if more is None:
            more = rows.more[key] = {owner: rows.values[key]}
        more[call] = value
        if rows.values[key] != value or key in rows.disputed:
            self._elect(rows, key)

    def _take(self, call: Call, rows: Rows, key: Key) -> None:
        more = rows.more.get(key)
        if more is None:
            del rows.derived_by[key]
            rows.store(key, None)
            return
        del more[call]
        if key in rows.disputed:
            self._elect(rows, key)
        elif rows.derived_by[key] == call:
            rows.derived_by[key] = next(iter(more))
        if len(more) == 1:
            del rows.more[key]

    def _elect(self, rows: Rows, key: Key) -> None:
        """Among givers that disagree, the earliest in (unit, key) order decides, whatever order
        they came in.
        """
        self._elected = True
        more = rows.more[key]
        winner = min(more, key=_order)
        rows.derived_by[key] = winner
        value = more[winner]
        if any(other != value for other in more.values()):
            rows.disputed.add(key)
        else:
            rows.disputed.discard(key)
        rows.store(key, value)

    def _mark(self, level: int, key: Key) -> None:
        if level <= self._level:
            raise RuntimeError(
                f"unit {self._units[level].name!r} depends on what"
                f" {self._units[self._level].name!r} gives: list it further down"
            )
        self._dirty[level].add(key)


def _order(call: Call) -> tuple[int, str]:
    """Which of several givers is asked first."""
    return call.level, repr(call.key)
