# SPDX-License-Identifier: Apache-2.0
"""Indexes of rows that can be kept up to date row by row, and that can be laid over one another.

An index laid over another reads through to it and keeps what differs to itself. So a variant of a
large network costs what it changes. The index below must not change while one lies over it.

Most keys find one value, which is held as it is: a collection for each would take several times its
memory. Every operation is O(1), but that the first change of an entry with several values in an
index that lies over another copies that entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, MutableMapping
from typing import Generic, Self, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
E = TypeVar("E")


class Layer(MutableMapping[K, V]):
    """A mapping over another one, which stays as it is."""

    def __init__(self, below: MutableMapping[K, V]) -> None:
        self._below = below
        self._own: dict[K, V] = {}
        self._gone: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key in self._own:
            return self._own[key]
        if key in self._gone:
            raise KeyError(key)
        return self._below[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value
        self._gone.discard(key)

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._own.pop(key, None)
        if key in self._below:
            self._gone.add(key)

    def __contains__(self, key: object) -> bool:
        return key in self._own or (key not in self._gone and key in self._below)

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._below if key not in self._own and key not in self._gone)
        yield from self._own

    def __len__(self) -> int:
        new = sum(1 for key in self._own if key not in self._below)
        return len(self._below) - len(self._gone) + new


class _Keyed(Generic[K, E]):
    """What an index is as a collection: its keys."""

    def __init__(self, below: MutableMapping[K, E] | None = None) -> None:
        self._entries: MutableMapping[K, E] = {} if below is None else Layer(below)

    def __iter__(self) -> Iterator[K]:
        return iter(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)


class _Several(dict[Hashable, V]):
    """The values of one entry by what tells them apart, where there is not one alone. `index` is
    the one that may change it."""

    __slots__ = ("index",)

    def __init__(self, index: object, values: dict[Hashable, V] | None = None) -> None:
        super().__init__(values or {})
        self.index = index


class Grouped(_Keyed[K, V | _Several[V]], Generic[K, V]):
    """Values by a key that several may have. `inner` says what tells the values of one key
    apart."""

    def __init__(
        self,
        inner: Callable[[V], Hashable],
        below: MutableMapping[K, V | _Several[V]] | None = None,
    ) -> None:
        super().__init__(below)
        self._inner = inner

    def over(self) -> Self:
        """Another one, laid over this one."""
        return type(self)(self._inner, self._entries)

    def get(self, key: K) -> Collection[V]:
        """The values of a key, in no order that means anything; none for a key that nobody has."""
        found = self._entries.get(key)
        if found is None:
            return ()
        return found.values() if isinstance(found, _Several) else (found,)

    def one(self, key: K, inner: Hashable) -> V | None:
        """The value of a key that `inner` tells from the others."""
        found = self._entries.get(key)
        if found is None or isinstance(found, _Several):
            return None if found is None else found.get(inner)
        return found if self._inner(found) == inner else None

    def add(self, key: K, value: V) -> None:
        """Put a value, in place of the one that is not to be told from it."""
        found, inner = self._entries.get(key), self._inner(value)
        if isinstance(found, _Several):
            self._own(key, found)[inner] = value
        elif found is None or self._inner(found) == inner:
            self._entries[key] = value
        else:
            self._entries[key] = _Several(self, {self._inner(found): found, inner: value})

    def remove(self, key: K, inner: Hashable) -> V | None:
        """Take out a value; what it was, if there was one."""
        found = self._entries.get(key)
        if isinstance(found, _Several):
            if inner not in found:
                return None
            mine = self._own(key, found)
            value = mine.pop(inner)
            if len(mine) == 1:
                (self._entries[key],) = mine.values()
            return value
        if found is None or self._inner(found) != inner:
            return None
        del self._entries[key]
        return found

    def _own(self, key: K, found: _Several[V]) -> _Several[V]:
        if found.index is not self:
            found = self._entries[key] = _Several(self, found)
        return found


class _Members(set[str]):
    """The names of one entry where there is not one alone. `index` is the one that may change
    it."""

    __slots__ = ("index",)

    def __init__(self, index: object, names: Iterable[str]) -> None:
        super().__init__(names)
        self.index = index


class Names(_Keyed[K, str | _Members]):
    """Names by a key that several may have."""

    def over(self) -> Self:
        """Another one, laid over this one."""
        return type(self)(self._entries)

    def get(self, key: K) -> Collection[str]:
        """The names of a key, in no order that means anything; none for one that nobody has."""
        found = self._entries.get(key)
        if found is None:
            return ()
        return found if isinstance(found, _Members) else (found,)

    def add(self, key: K, name: str) -> None:
        """Put a name, if it is not there."""
        found = self._entries.get(key)
        if isinstance(found, _Members):
            self._own(key, found).add(name)
        elif found is None:
            self._entries[key] = name
        elif found != name:
            self._entries[key] = _Members(self, (found, name))

    def remove(self, key: K, name: str) -> None:
        """Take out a name, if it is there."""
        found = self._entries.get(key)
        if isinstance(found, _Members):
            if name in found:
                mine = self._own(key, found)
                mine.remove(name)
                if len(mine) == 1:
                    self._entries[key] = mine.pop()
        elif found == name:
            del self._entries[key]

    def _own(self, key: K, found: _Members) -> _Members:
        if found.index is not self:
            found = self._entries[key] = _Members(self, found)
        return found
