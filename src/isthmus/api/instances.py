# SPDX-License-Identifier: Apache-2.0
"""``internalResourceInstances`` (MS-NCNBI section A.5): which resource has an instanceId, which is
found in any letter case."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import ID, TEXT, answer, list_of, object_of
from isthmus.api.turns import in_turns
from isthmus.errors import NotFound
from isthmus.intent.kind import Kind
from isthmus.intent.model import Allocation, Json, Stored, View
from isthmus.intent.registry import KINDS, ROOTS
from isthmus.intent.versions import Version


async def instance(services: Services, call: Call) -> Reply:
    """Which resource has an instanceId."""
    view, instance_id = services.north.view, call.names["id"].lower()
    key = view.holder(Allocation("instance", instance_id))
    row = None if key is None else view.get(key)
    if row is None or not _is_seen(row, call.version):
        raise NotFound(f"no resource has the instanceId {instance_id}", target=instance_id)
    return json_reply(200, _mapping(row))


async def instances(services: Services, call: Call) -> Reply:
    """Of every resource, as `instance`."""
    view, version = services.north.view, call.version
    found: list[Json] = []
    for root in ROOTS:
        if root.since > version:
            continue
        async for top in in_turns(view.collection(root.name)):
            if view.get(top.key) is not None:
                found += [_mapping(r) for r in _with_children(view, root, top, version)]
    return json_reply(200, {"value": found, "nextLink": ""})


def _with_children(view: View, kind: Kind, row: Stored, version: Version) -> Iterator[Stored]:
    yield row
    for child in kind.children_in(version):
        for below in view.children(row.key, child.name):
            yield from _with_children(view, child, below, version)


def _is_seen(row: Stored, version: Version) -> bool:
    """Whether a version has its kind, and those above it."""
    collections = row.kind.split("/")
    names = ("/".join(collections[:depth]) for depth in range(1, len(collections) + 1))
    return all(KINDS[name].since <= version for name in names)


def _mapping(row: Stored) -> dict[str, Json]:
    return {
        "resourceRef": f"/internalResourceInstances/{row.instance_id}",
        "resourceId": row.instance_id,
        "instanceId": row.instance_id,
        "properties": {"provisioningState": "Succeeded", "resourceReference": row.ref},
    }


_MAPPING = object_of(
    {
        "resourceRef": TEXT,
        "resourceId": TEXT,
        "instanceId": {"type": "string", "format": "uuid"},
        "properties": object_of(
            {"provisioningState": TEXT, "resourceReference": TEXT}, "resourceReference"
        ),
    },
    *("resourceRef", "instanceId", "properties"),
)

ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/internalResourceInstances/{{id}}",
        handler=instance,
        summary="Which resource has this instanceId.",
        parameters=(ID,),
        answers=answer(_MAPPING),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/internalResourceInstances",
        handler=instances,
        summary="Which resource has which instanceId.",
        answers=answer(
            object_of({"value": list_of(_MAPPING), "nextLink": TEXT}, "value", "nextLink")
        ),
    ),
)
