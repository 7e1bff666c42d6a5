# SPDX-License-Identifier: Apache-2.0
"""What a resource sees of others while it is written."""

from __future__ import annotations

from isthmus.intent.drafts import requirers
from isthmus.intent.model import Plan, Stored
from tests.intent.memory import MemoryStore


def test_a_mention_does_not_count_as_use() -> None:
    store = MemoryStore()
    rows = (
        _row("/a"),
        _row("/weak", mentions=frozenset({"/a"})),
        _row("/strong", requires=frozenset({"/a"})),
    )
    store.apply(Plan(inserts=rows))
    assert requirers(store, ["/a"], ()) == ["/strong"]
    assert requirers(store, ["/a"], {"/strong"}) == []


def _row(
    key: str, requires: frozenset[str] = frozenset(), mentions: frozenset[str] = frozenset()
) -> Stored:
    return Stored(
        key=key,
        ref=key,
        kind="k",
        resource_id=key,
        instance_id=key,
        etag="1",
        requires=requires,
        mentions=mentions,
    )
