# SPDX-License-Identifier: Apache-2.0
"""The extension ``plan``: what a batch would do, if it were sent now."""

from __future__ import annotations

from isthmus.api.batch import BATCH, ERRORS, read_requests
from isthmus.api.http.bodies import LEVELS_OF_A_BATCH
from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import answer
from isthmus.intent.strict import check_strict


async def plan(services: Services, call: Call) -> Reply:
    requests = read_requests(call.request.json(LEVELS_OF_A_BATCH))
    if call.request.is_strict:
        check_strict(requests, call.version)
    return json_reply(200, dict(await services.operations.plan(requests, call.version)))


ROUTES = (
    Route(
        method="POST",
        path=f"{VERSIONED}/isthmus/plan",
        handler=plan,
        summary="What a batch would do, if it were sent now. Nothing is stored.",
        body=BATCH,
        answers=answer(),
        errors=ERRORS,
        offers=("plan",),
    ),
)
