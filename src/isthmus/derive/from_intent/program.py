# SPDX-License-Identifier: Apache-2.0
"""The controller's derivation, made of all families: the engine, and the input rows that changed
resources become.

A new family is a file beside this one, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.derive.engine import Engine, Key, Table
from isthmus.derive.from_intent import interfaces, networks, rules, servers, subnets, underlay
from isthmus.derive.from_intent.family import Family, Reader
from isthmus.derive.from_intent.underlay import UNDERLAY, Underlay
from isthmus.intent.model import Stored
from isthmus.policy.rows import DESIRED

FAMILIES: tuple[Family, ...] = (
    underlay.FAMILY,
    networks.FAMILY,
    subnets.FAMILY,
    interfaces.FAMILY,
    rules.FAMILY,
    servers.FAMILY,
)
"""In the order of their units: where two give the same row and disagree, the first holds."""

Readers = Mapping[str, Reader]
"""By the name of the kind."""


def readers_of(families: Sequence[Family]) -> Readers:
    """The readers of all kinds that have a place in policy."""
    return {reader.kind: reader for family in families for reader in family.readers}


READERS = readers_of(FAMILIES)


def new_engine(settings: Underlay, families: Sequence[Family] = FAMILIES) -> Engine:
    """An engine whose derived tables are `policy.rows.DESIRED`, and those that families add."""
    facts = [reader.fact for family in families for reader in family.readers]
    added = [table for family in families for table in family.tables]
    engine = Engine(
        [unit for family in families for unit in family.units],
        [index for family in families for index in family.indexes],
        (*facts, *added, *DESIRED),
    )
    engine.put(Underlay, UNDERLAY, settings)
    return engine


def input_of(
    old: Stored | None, new: Stored | None, readers: Readers = READERS
) -> tuple[Table, Key, object | None] | None:
    """The engine's input row of one changed resource; a replaced one may differ in all but its
    key. None for what has no place in policy."""
    stored = new or old
    assert stored is not None, "a change has a row before it or after it"
    reader = readers.get(stored.kind)
    if reader is None:
        return None
    return reader.fact, stored.key, None if new is None else reader.read(new)


def put(engine: Engine, old: Stored | None, new: Stored | None, readers: Readers = READERS) -> None:
    """Tell the engine of one changed resource."""
    found = input_of(old, new, readers)
    if found is not None:
        engine.put(*found)
