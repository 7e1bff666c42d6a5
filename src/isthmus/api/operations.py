# SPDX-License-Identifier: Apache-2.0
"""``operations`` and ``operationResults`` (MS-NCNBI section A.6): how a write ended, by the
x-ms-request-id of its answer, which is found in any letter case."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.interfaces import Deletion, North
from isthmus.api.resources import shown
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import FREE, ID, TEXT, answer, described, object_of
from isthmus.errors import NotFound
from isthmus.intent.model import Stored


async def operation(services: Services, call: Call) -> Reply:
    """How a write ended; it had ended when it was answered."""
    _found(services.north, call.names["id"])
    return json_reply(200, {"status": "Succeeded"})


async def operation_result(services: Services, call: Call) -> Reply:
    """The answer that the write was given."""
    found = _found(services.north, call.names["id"])
    if isinstance(found, Sequence):
        return shown(services, found[0].status, found[0], call.version)
    return Reply(204)


def _found(north: North, operation_id: str) -> Sequence[Stored] | Deletion:
    """What an operation wrote or deleted. Raises NotFound."""
    found = north.operation(operation_id.lower())
    if found is None:
        raise NotFound(
            f"there is no operation {operation_id}: it is not known any more once its resource"
            " was written again, and a refused one was never stored",
            target=operation_id,
        )
    return found


_AS_WRITTEN = described("The resource as it is now.", FREE)

ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/operations/{{id}}",
        handler=operation,
        summary="How the write ended whose answer had this x-ms-request-id.",
        parameters=(ID,),
        answers=answer(object_of({"status": TEXT}, "status")),
        told="an operation, by its x-ms-request-id",
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/operationResults/{{id}}",
        handler=operation_result,
        summary="The answer that the write was given.",
        parameters=(ID,),
        answers={
            "200": _AS_WRITTEN,
            "201": _AS_WRITTEN,
            "204": {"description": "It was a deletion."},
        },
        told="the result of an operation, by its x-ms-request-id",
    ),
)
