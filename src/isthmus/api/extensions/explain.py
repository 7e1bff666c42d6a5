# SPDX-License-Identifier: Apache-2.0
"""The extension ``explain``: one port from its request to its flows."""

from __future__ import annotations

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import ID, answer


async def explain_port(services: Services, call: Call) -> Reply:
    return json_reply(200, dict(await services.operations.explain_port(call.names["id"])))


ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/explain/ports/{{id}}",
        handler=explain_port,
        summary="One port from its request to its flows.",
        parameters=(ID,),
        answers=answer(),
        offers=("explain",),
    ),
)
