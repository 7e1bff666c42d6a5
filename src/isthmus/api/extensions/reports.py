# SPDX-License-Identifier: Apache-2.0
"""The extensions ``status``, ``doctor``, ``bundle`` and ``counters``: how the whole cloud is."""

from __future__ import annotations

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import FLAG, FREE, answer, list_of, object_of, parameter


async def status(services: Services, call: Call) -> Reply:
    if call.request.flag("ask"):
        return json_reply(200, dict(await services.operations.status_asked()))
    return json_reply(200, dict(services.operations.status()))


async def doctor(services: Services, _call: Call) -> Reply:
    return json_reply(200, dict(await services.operations.doctor()))


async def bundle(services: Services, _call: Call) -> Reply:
    return json_reply(200, dict(await services.operations.bundle()))


async def counters(services: Services, _call: Call) -> Reply:
    return json_reply(200, dict(await services.operations.counters()))


ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/status",
        handler=status,
        summary="Controllers, stores, hosts, errors.",
        parameters=(parameter("ask", "query", FLAG, "Ask all hosts: at most 3 s."),),
        answers=answer(),
        errors=("400", "404"),
        offers=("status",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/doctor",
        handler=doctor,
        summary="What is wrong, each with its repair.",
        answers=answer(object_of({"findings": list_of(FREE)}, "findings")),
        offers=("doctor",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/bundle",
        handler=bundle,
        summary="Everything that support needs, without secrets.",
        answers=answer(),
        offers=("bundle",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/counters",
        handler=counters,
        summary="What rules, stages and ports have counted, by host.",
        answers=answer(object_of({"hosts": list_of(FREE)}, "hosts")),
        offers=("counters",),
    ),
)
