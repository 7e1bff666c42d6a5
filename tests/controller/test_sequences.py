# SPDX-License-Identifier: Apache-2.0
"""Sequences that nobody has counted to are taken out of the store; those that were are not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus.controller.sequences import SKIPPED, counts, skipped
from isthmus.policy.observed import MOST_COUNT
from isthmus.policy.rows import Claim, LearnedAddress, Row
from isthmus.wire.ovsdb import RowId, insert
from tests.controller.test_fence import south
from tests.controller.test_foreign import deriving
from tests.store.cloud import until
from tests.store.conftest import directory
from tests.switches.policy_rows import claim, port

__all__ = ["directory"]

WEB, DB = port("red", "a", 4), port("red", "a", 5)


def taken(*numbers: int) -> list[int]:
    """Of claims of one port, which sequences go."""
    rows: dict[RowId, Row] = {
        RowId(str(n)): claim(WEB, f"h{n}", "active", number) for n, number in enumerate(numbers)
    }
    rows[RowId("other")] = claim(DB, "h1", "active", 3)
    return [numbers[int(row_id)] for row_id in skipped(rows)]


def test_what_skips_more_than_any_host_counts_goes_with_all_above_it() -> None:
    assert taken(0, 1, 2, SKIPPED) == []
    assert taken(SKIPPED, SKIPPED + 1) == []  # who has followed that has counted
    assert taken(MOST_COUNT) == [MOST_COUNT]
    assert taken(7, MOST_COUNT, MOST_COUNT + 1) == [MOST_COUNT, MOST_COUNT + 1]
    assert taken(SKIPPED + 1) == [SKIPPED + 1]  # what has led to it has gone


def test_what_is_not_above_the_gap_is_not_looked_at_twice() -> None:
    assert not counts(claim(WEB, "h1", "active", SKIPPED))
    assert counts(claim(WEB, "h1", "active", SKIPPED + 1))
    assert not counts(WEB)
    assert not counts(None)


@pytest.mark.system
def test_a_claim_and_an_address_with_the_last_number_are_taken_out_by_the_deriver(
    directory: Path,
) -> None:
    async def go() -> None:
        async with south(directory) as remote, deriving(remote) as (_, connection):
            sound = claim(DB, "h1", "active", 3)
            absurd = LearnedAddress(
                address="10.0.1.99",
                port=DB.id,
                host="h1",
                segment=DB.segment,
                mac=DB.mac,
                sequence=(1 << 63) - 1,
            )
            for row in (sound, claim(WEB, "h2", "active", MOST_COUNT), absurd):
                await connection.transact([insert(row.TABLE, row)])
            await until(lambda: not connection.table(LearnedAddress))
            await until(lambda: [*connection.table(Claim).values()] == [sound])

    asyncio.run(go())
