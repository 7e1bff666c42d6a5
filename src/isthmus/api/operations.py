# SPDX-License-Identifier: Apache-2.0
"""``operations``, ``operationResults`` (MS-NCNBI section A.6) and ``internalResourceInstances``
(A.5): what is found by an identifier of ours, which is given in lower case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.api.doors import Deletion, North
from isthmus.api.replies import Reply, json_reply
from isthmus.api.turns import in_turns
from isthmus.errors import NotFound
from isthmus.intent.kind import Kind
from isthmus.intent.model import Allocation, Json, Stored, View
from isthmus.intent.registry import KINDS, ROOTS
from isthmus.intent.versions import Version


def operation(north: North, operation_id: str) -> Reply:
    """How a write ended; it had ended when it was answered. Raises NotFound."""
    found_operation(north, operation_id)
    return json_reply(200, {"status": "Succeeded"})


def found_operation(north: North, operation_id: str) -> Sequence[Stored] | Deletion:
    """What an operation wrote or deleted. Raises NotFound."""
    found = north.operation(operation_id)
    if found is None:
        raise NotFound(
            f"there is no operation {operation_id}: it is not known any more once its resource"
            " was written again, and a refused one was never stored",
            target=operation_id,
        )
    return found


def instance(north: North, instance_id: str, version: Version) -> Reply:
    """Which resource has an instanceId. Raises NotFound."""
    key = north.view.holder(Allocation("instance", instance_id))
    row = None if key is None else north.view.get(key)
    if row is None or not _is_seen(row, version):
        raise NotFound(f"no resource has the instanceId {instance_id}", target=instance_id)
    return json_reply(200, _mapping(row))


async def instances(north: North, version: Version) -> Reply:
    """Of every resource, as `instance`."""
    found: list[Json] = []
    for root in ROOTS:
        if root.since > version:
            continue
        async for top in in_turns(north.view.collection(root.name)):
            if north.view.get(top.key) is not None:
                found += [_mapping(r) for r in _with_children(north.view, root, top, version)]
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
