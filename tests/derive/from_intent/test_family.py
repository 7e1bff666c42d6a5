# SPDX-License-Identifier: Apache-2.0
"""What a family says of its kinds."""

from __future__ import annotations

from isthmus.derive.from_intent.family import item
from isthmus.derive.from_intent.program import FAMILIES, READERS, readers_of
from isthmus.intent.registry import KINDS
from isthmus.policy.rows import DESIRED, Host


def test_an_item_is_a_row_of_its_own_table() -> None:
    row = Host(id="h1", certificate_name="h1", origin="/servers/h1")
    assert item(row) == (Host, row.key, row)


def test_every_kind_is_read_by_one_family_and_every_fact_is_of_one_kind() -> None:
    readers = [reader for family in FAMILIES for reader in family.readers]
    assert len({reader.kind for reader in readers}) == len(readers) == len(READERS)
    assert len({reader.fact for reader in readers}) == len(readers)
    assert {reader.kind for reader in readers} <= KINDS.keys()
    assert not {reader.fact for reader in readers} & {*DESIRED}


def test_units_stand_over_facts_of_their_family() -> None:
    for family in FAMILIES:
        facts = {reader.fact for reader in readers_of([family]).values()}
        assert {unit.over for unit in family.units} <= facts
        assert {index.table for index in family.indexes} <= facts
