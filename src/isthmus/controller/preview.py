# SPDX-License-Identifier: Apache-2.0
"""What a change would do before it is made: the request is planned, its policy derived, and the
difference told; nothing is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.derive.engine import Engine, Key
from isthmus.derive.from_intent.program import input_of
from isthmus.intent.model import Ids, Json, Plan, Stored, View
from isthmus.intent.planning import Request, plan_batch
from isthmus.intent.versions import Version
from isthmus.policy.rows import DESIRED, Row, row_or_none
from isthmus.reach.plan import MOST_NAMES, Effect, Report, RowChange, plan
from isthmus.reach.world import World

ATTEMPTS = 3
"""To plan while others write. The last one lets nobody write meanwhile."""

Input = tuple[type, Key, object | None]


class Draft(NamedTuple):
    """What requests would write, and what derivation is given then. `reads` are the etags that the
    checks relied upon."""

    resources: Sequence[Json]
    inputs: Sequence[Input]
    reads: Mapping[str, str]


async def preview(
    view: View,
    ids: Ids,
    engine: Engine,
    observed: Callable[[], Iterable[Row]],
    requests: Sequence[Request],
    version: Version,
) -> dict[str, Json]:
    """Raises what the requests would be refused with.

    What takes long runs in a thread, in turns with everything else: the event loop is held for the
    derivation of what changes, and for one step for each row of policy.
    """
    draft = await _drafted(view, ids, requests, version)
    changes = [
        RowChange(row_or_none(change.old), row_or_none(change.new))
        for found in engine.preview(draft.inputs, DESIRED).values()
        for change in found
    ]
    desired = [row for table in DESIRED for row in engine.rows(table).values()]
    report = await asyncio.to_thread(_report, (*desired, *observed()), changes)
    return {"resources": list(draft.resources), **shown(report)}


def _report(rows: Sequence[Row], changes: Sequence[RowChange]) -> Report:
    return plan(World(rows), changes)


async def _drafted(view: View, ids: Ids, requests: Sequence[Request], version: Version) -> Draft:
    """A draft made beside other writes, which change the view under it. As a write does, it is made
    anew when something that it relied upon has changed."""
    for _ in range(ATTEMPTS - 1):
        try:
            draft = await asyncio.to_thread(drafted, view, ids, requests, version)
        except (RuntimeError, KeyError):
            continue  # something was written in the middle of a look; a fault of ours shows below
        if all(_etag(view, key) == etag for key, etag in draft.reads.items()):
            return draft
    return drafted(view, ids, requests, version)


def _etag(view: View, key: str) -> str:
    row = view.get(key)
    return "" if row is None else row.etag


def drafted(view: View, ids: Ids, requests: Sequence[Request], version: Version) -> Draft:
    """Raises what the requests would be refused with."""
    planned = plan_batch(view, ids, requests, version=version)
    inputs = [
        found
        for old, new in _stored(view, planned)
        if (found := input_of(old, new)) is not None
        and (old is None or found != input_of(None, old))
    ]
    return Draft(_resources(view, planned), inputs, planned.reads)


def _stored(view: View, planned: Plan) -> Iterator[tuple[Stored | None, Stored | None]]:
    for row in (*planned.inserts, *planned.updates, *planned.replaces):
        yield view.get(row.key), row
    for key in planned.deletes:
        yield view.get(key), None


def _resources(view: View, planned: Plan) -> list[Json]:
    """What is written; of what is new or goes as a whole, its root only."""
    found: list[Json] = []
    new = {row.key for row in planned.inserts}
    found += [_action("create", row) for row in planned.inserts if row.parent not in new]
    found += [
        _action("replace", row)
        for row in (*planned.updates, *planned.replaces)
        if _differs(view.get(row.key), row)
    ]
    gone = {key: row for key in planned.deletes if (row := view.get(key)) is not None}
    found += [_action("delete", row) for row in gone.values() if row.parent not in gone]
    return found


def _action(word: str, row: Stored) -> dict[str, Json]:
    return {"action": word, "resourceRef": row.ref}


def _differs(before: Stored | None, row: Stored) -> bool:
    """More than by its etag, which changes with all below and above it."""
    return before is None or (before.properties, before.tags, before.metadata) != (
        row.properties,
        row.tags,
        row.metadata,
    )


def shown(report: Report) -> dict[str, Json]:
    """A report as JSON; of many ports the number and the first names."""
    return {
        "rows": report.rows,
        "ports": {
            "added": _names(report.added),
            "removed": _names(report.removed),
            "moved": _names(report.moved),
            "reruled": _names(report.reruled),
        },
        "reachability": [_effect(effect) for effect in report.effects],
        "shadowed": list(report.shadowed),
    }


def _names(names: Sequence[str]) -> dict[str, Json]:
    return {"count": len(names), "first": list(names[:MOST_NAMES])}


def _effect(effect: Effect) -> dict[str, Json]:
    return {
        "tenant": effect.domain,
        "direction": "inbound" if effect.direction == "in" else "outbound",
        "ruleSets": list(effect.sets),
        "ports": _names(effect.ports),
        "gained": list(effect.gained),
        "lost": list(effect.lost),
        "whole": effect.whole,
    }
