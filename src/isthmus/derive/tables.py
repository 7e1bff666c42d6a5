# SPDX-License-Identifier: Apache-2.0
"""The tables of an engine: rows, indexes over them, and who has read what.

Rows know nothing of units; a reader is a `Call`, for the engine to run again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

Key = Hashable
Table = type

NOTHING: AbstractSet[Key] = frozenset()


class Index(NamedTuple):
    """Finds rows of `table` by what `of` gives for them. Must be a pure function of key and row."""

    table: Table
    name: str
    of: Callable[[Key, object], Iterable[Key]]


class Change(NamedTuple):
    """What became of one row between two calls of `settle`; None is absent."""

    key: Key
    old: object | None
    new: object | None


class Rows:
    """One table: its rows, its indexes, and who read what."""

    __slots__ = (
        "changed",
        "derived_by",
        "disputed",
        "indexes",
        "mark",
        "more",
        "readers",
        "units",
        "values",
    )

    def __init__(self, mark: Callable[[int, Key], None]) -> None:
        self.mark = mark
        """Called with the level and the key of every call that a change must run again."""
        self.values: dict[Key, object] = {}
        self.readers: dict[Key, set[Call]] = {}
        self.indexes: list[Entries] = []
        self.units: list[int] = []
        self.changed: dict[Key, object | None] | None = None
        """What rows were when their changes were last asked for; None until they are, for what
        nobody asks for would be kept for ever."""
        self.derived_by: dict[Key, Call] = {}
        # Rows that more than one call gives: all their givers and what each gives; and those they
        # disagree on.
        self.more: dict[Key, dict[Call, object]] = {}
        self.disputed: set[Key] = set()

    def store(self, key: Key, value: object | None) -> None:
        """Set or, by None, remove a row; mark the calls over it and those that read it."""
        old = self.values.get(key)
        if old == value:
            return
        if value is None:
            del self.values[key]
        else:
            self.values[key] = value
        if self.changed is not None:
            self.changed.setdefault(key, old)
        for level in self.units:
            self.mark(level, key)
        for call in self.readers.get(key, ()):
            self.mark(*call)
        for entries in self.indexes:
            for call in entries.move(key, old, value):
                self.mark(*call)


class Entries:
    """One index: entry → keys of rows, and who read which entry."""

    __slots__ = ("keys", "of", "readers")

    def __init__(self, of: Callable[[Key, object], Iterable[Key]]) -> None:
        self.of = of
        self.keys: dict[Key, set[Key]] = {}
        self.readers: dict[Key, set[Call]] = {}

    def move(self, key: Key, old: object | None, new: object | None) -> Iterator[Call]:
        """Follow a changed row; gives the calls that read an entry that it left or joined."""
        before = set() if old is None else set(self.of(key, old))
        after = set() if new is None else set(self.of(key, new))
        for entry in before - after:
            keys = self.keys[entry]
            keys.discard(key)
            if not keys:
                del self.keys[entry]
            yield from self.readers.get(entry, ())
        for entry in after - before:
            self.keys.setdefault(entry, set()).add(key)
            yield from self.readers.get(entry, ())


class Call(NamedTuple):
    """A unit, by its place in the list, run over the row of that key."""

    level: int
    key: Key
