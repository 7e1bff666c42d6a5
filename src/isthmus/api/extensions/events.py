# SPDX-License-Identifier: Apache-2.0
"""The extension ``events``: what is written and what hosts say, as it happens."""

from __future__ import annotations

from isthmus.api.http.replies import Reply
from isthmus.api.http.streams import EVENT_STREAM, event_stream
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import EVENTS, TEXT, parameter


async def events(services: Services, call: Call) -> Reply:
    request = call.request
    if request.method == "HEAD":
        return Reply(200, headers=EVENT_STREAM)
    after = request.header(b"last-event-id") or request.word("after")
    return event_stream(services.operations.events(after))


ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/events",
        handler=events,
        summary="What happens, from now on or behind an event.",
        parameters=(
            parameter("after", "query", TEXT, "The id of an event."),
            parameter("Last-Event-ID", "header", TEXT, "Likewise, and before it."),
        ),
        answers=EVENTS,
        offers=("events",),
    ),
)
