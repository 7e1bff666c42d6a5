# SPDX-License-Identifier: Apache-2.0
"""A family of resource kinds, as one value: everything that derivation knows of them.

A *fact* is what derivation needs of a resource, without its etag and whatever else changes nothing
on the network: a write that leaves the fact as it was runs no unit. Facts are the input rows of the
engine; each kind of fact is a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from isthmus.derive.engine import Index, Item, Table, Unit
from isthmus.intent.kind import Kind
from isthmus.intent.model import Stored
from isthmus.policy.rows import Row

Fact = TypeVar("Fact")


class Reader(NamedTuple):
    """How the resources of one kind become facts. Make it with `reader`."""

    kind: str
    """As in `Stored.kind`."""
    fact: Table
    read: Callable[[Stored], object | None]
    """The fact of a stored resource; None for one that has no place in policy."""


class Family(NamedTuple):
    """What derivation makes of some kinds that belong together."""

    readers: tuple[Reader, ...]
    units: tuple[Unit, ...] = ()
    """Over facts, of this family mostly; they may read those of others."""
    indexes: tuple[Index, ...] = ()
    tables: tuple[Table, ...] = ()
    """Tables beside its facts and those of `policy.rows.DESIRED`, be they put in or derived."""


def reader(kind: Kind, fact: type[Fact], read: Callable[[Stored], Fact | None]) -> Reader:
    """The reader of one kind."""
    return Reader(kind.name, fact, read)


def item(row: Row) -> Item:
    """A row of policy, as a unit gives it."""
    return Item(type(row), row.key, row)
