# SPDX-License-Identifier: Apache-2.0
"""Claims and addresses in use whose sequence nobody has counted to.

Whoever takes a port or an address over writes the highest sequence and one more, and the highest
wins. After the last number that anybody believes there would be no successor. So the deriver takes
rows out of the store that skip more than any host counts in its life: their host, if it means
them, writes them anew from where the others are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from isthmus.policy.rows import Claim, LearnedAddress, Row
from isthmus.wire.ovsdb import RowId

SKIPPED = 1 << 40
"""A million moves a second for twelve days."""


def counts(row: object) -> bool:
    """Whether a row is one that nobody may have counted to."""
    return isinstance(row, Claim | LearnedAddress) and row.sequence > SKIPPED


def skipped(rows: Mapping[RowId, Row]) -> list[RowId]:
    """Of claims or of addresses in use, those from whose next lower sequence (or 0) to their own is
    more than `SKIPPED`, with all above them. Costs one look at each row."""
    by_place: defaultdict[object, list[tuple[int, RowId]]] = defaultdict(list)
    for row_id, row in rows.items():
        if isinstance(row, Claim):
            by_place[row.port].append((row.sequence, row_id))
        elif isinstance(row, LearnedAddress):
            by_place[row.segment, row.address].append((row.sequence, row_id))
    found: list[RowId] = []
    for entries in by_place.values():
        found += _above_a_gap(sorted(entries))
    return found


def _above_a_gap(entries: Iterable[tuple[int, RowId]]) -> list[RowId]:
    last, found = 0, list[RowId]()
    for sequence, row_id in entries:
        if found or sequence > last + SKIPPED:
            found.append(row_id)
        last = sequence
    return found
