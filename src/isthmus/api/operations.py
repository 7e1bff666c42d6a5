# SPDX-License-Identifier: Apache-2.0
"""``operations``, ``operationResults`` (MS-NCNBI section A.6) and ``internalResourceInstances``
(A.5): what is found by an identifier of ours,
which is given in lower case."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.api.doors import Deletion, North
from isthmus.api.replies import Reply, json_reply
from isthmus.errors import NotFound
from isthmus.intent.model import Allocation, Stored


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


def instance(north: North, instance_id: str) -> Reply:
    """Which resource has an instanceId. Raises NotFound."""
    key = north.view.holder(Allocation("instance", instance_id))
    row = None if key is None else north.view.get(key)
    if row is None:
        raise NotFound(f"no resource has the instanceId {instance_id}", target=instance_id)
    return json_reply(
        200,
        {
            "resourceRef": f"/internalResourceInstances/{instance_id}",
            "resourceId": instance_id,
            "instanceId": instance_id,
            "properties": {"provisioningState": "Succeeded", "resourceReference": row.ref},
        },
    )
