# SPDX-License-Identifier: Apache-2.0
"""The extension ``events``: what is written and what hosts say, as it happens; of everything, or
of some resources only."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.api import schemas
from isthmus.api.http.replies import Reply
from isthmus.api.http.request import HttpRequest
from isthmus.api.http.streams import EVENT_STREAM, event_stream
from isthmus.api.interfaces import EVENTS, Change, Wanted
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import TEXT, parameter
from isthmus.errors import Invalid, NotFound
from isthmus.intent.paths import resolve
from isthmus.intent.registry import KINDS


async def events(services: Services, call: Call) -> Reply:
    request, wanted = call.request, _wanted(call.request)
    if request.method == "HEAD":
        return Reply(200, headers=EVENT_STREAM)
    after = request.header(b"last-event-id") or request.word("after")
    return event_stream(services.operations.events(after, wanted))


def _wanted(request: HttpRequest) -> Wanted:
    """``?event=state&kind=virtualNetworks/subnets&resource=/virtualNetworks/red&change=deleted``,
    in any letter case. Raises Invalid with the name of what is not known."""
    return Wanted(
        event=_one_of(request, "event", EVENTS),
        kind=_one_of(request, "kind", tuple(KINDS)),
        resource=_resource(request.word("resource")),
        change=_one_of(request, "change", tuple(Change)),
    )


def _one_of(request: HttpRequest, name: str, known: Sequence[str]) -> str:
    text = request.word(name).strip("/")
    if text and text.lower() not in {one.lower() for one in known}:
        raise Invalid(f"{name} is {text!r}: give one of {', '.join(known)}", target=name)
    return text.lower()


def _resource(path: str) -> str:
    if not path:
        return ""
    try:
        return resolve(path).key
    except NotFound as error:
        raise Invalid(f"resource is {path!r}: {error.message}", target="resource") from error


ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/events",
        handler=events,
        summary="What happens, from now on or behind an event.",
        parameters=(
            parameter("after", "query", TEXT, "The id of an event."),
            parameter("Last-Event-ID", "header", TEXT, "Likewise, and before it."),
            parameter("event", "query", {"type": "string", "enum": [*EVENTS]}, "These only."),
            parameter(
                *("kind", "query", {"type": "string", "enum": [*KINDS]}),
                "Of resources of this kind only; ports are networkInterfaces, hosts servers.",
            ),
            parameter(
                *("resource", "query", {"type": "string", "format": "resource-reference"}),
                "Of this resource, or of a collection, and of all below only.",
            ),
            parameter(
                *("change", "query", {"type": "string", "enum": [*Change]}),
                "Of resources to which this happens only.",
            ),
        ),
        answers=schemas.EVENTS,
        errors=("400", "404"),
        offers=("events",),
    ),
)
