# SPDX-License-Identifier: Apache-2.0
"""The extension ``trace``: where a packet ends, and why."""

from __future__ import annotations

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.http.request import HttpRequest
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import FLAG, TEXT, answer, parameter, whole
from isthmus.errors import Invalid
from isthmus.reach.trace import Question

FAMILIES = (0, 4, 6)


async def trace(services: Services, call: Call) -> Reply:
    question, by_switches = _question(call.request), call.request.flag("switches")
    told = await services.operations.trace(question, by_switches=by_switches)
    return json_reply(200, dict(told))


def _question(request: HttpRequest) -> Question:
    """``?from=PORT&to=PORT or address&protocol=6&port=443``. Raises Invalid."""
    source, destination = request.word("from"), request.word("to")
    if not source or not destination:
        missing = "to" if source else "from"
        raise Invalid(
            "from and to are needed, both: name a port, and a port or an address", target=missing
        )
    family = request.whole("family", 0, 6)
    if family not in FAMILIES:
        raise Invalid(f"family is {family}: give 4, 6, or 0 for what both have", target="family")
    return Question(
        source=source,
        destination=destination,
        protocol=request.whole("protocol", 0, 255),
        destination_port=request.whole("port", 0, 65535),
        source_port=request.whole("sourcePort", 49152, 65535),
        family=family,
    )


ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/trace",
        handler=trace,
        summary="Where a packet ends, and why.",
        parameters=(
            parameter("from", "query", TEXT, "A networkInterface.", required=True),
            parameter("to", "query", TEXT, "A networkInterface, or an address.", required=True),
            parameter("protocol", "query", whole(255), "Else an echo request."),
            parameter("port", "query", whole(65535)),
            parameter("sourcePort", "query", whole(65535)),
            parameter("family", "query", {"type": "integer", "enum": [*FAMILIES]}),
            parameter("switches", "query", FLAG, "Ask the switches as well."),
        ),
        answers=answer(),
        errors=("400", "404"),
        offers=("trace",),
    ),
)
