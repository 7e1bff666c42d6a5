# SPDX-License-Identifier: Apache-2.0
"""The extension ``hosts``: to forget what a dead host has said."""

from __future__ import annotations

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import ID, answer


async def remove_host(services: Services, call: Call) -> Reply:
    return json_reply(200, dict(await services.operations.remove_host(call.names["id"].lower())))


ROUTES = (
    Route(
        method="DELETE",
        path=f"{VERSIONED}/isthmus/hosts/{{id}}",
        handler=remove_host,
        summary="Forget all that a dead host has said; one that answers is refused.",
        parameters=(ID,),
        answers=answer(),
        errors=("404", "409"),
        offers=("hosts",),
    ),
)
