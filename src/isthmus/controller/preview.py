# SPDX-License-Identifier: Apache-2.0
"""What a change would do before it is made: the request is planned, its policy derived, and the
difference told; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from isthmus.derive.engine import Engine
from isthmus.derive.intent_units import input_of
from isthmus.intent.model import Ids, Json, Plan, Stored, View
from isthmus.intent.planning import Request, plan_batch
from isthmus.intent.versions import Version
from isthmus.policy.rows import DESIRED, Row, row_or_none
from isthmus.reach.plan import MOST_NAMES, Effect, Report, RowChange, plan
from isthmus.reach.world import World


def preview(
    view: View,
    ids: Ids,
    engine: Engine,
    observed: Iterable[Row],
    requests: Sequence[Request],
    version: Version,
) -> dict[str, Json]:
    """Raises what the requests would be refused with."""
    planned = plan_batch(view, ids, requests, version=version)
    engine.settle()
    desired = [row for table in DESIRED for row in engine.rows(table).values()]
    inputs = [found for pair in _stored(view, planned) if (found := input_of(*pair)) is not None]
    changes = [
        RowChange(row_or_none(change.old), row_or_none(change.new))
        for found in engine.preview(inputs, DESIRED).values()
        for change in found
    ]
    report = plan(World((*desired, *observed)), changes)
    return {"resources": _resources(view, planned), **shown(report)}


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
