# SPDX-License-Identifier: Apache-2.0
"""The extensions ``drops`` and ``flows``: a sample of what hosts allow and drop, as it happens."""

from __future__ import annotations

from isthmus.api.http.replies import Reply
from isthmus.api.http.streams import EVENT_STREAM, event_stream
from isthmus.api.interfaces import Watched
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import EVENTS, TEXT, parameter
from isthmus.errors import Invalid

VERDICTS = ("allowed", "dropped", "all")


async def drops(services: Services, call: Call) -> Reply:
    return _watched(services, call, "dropped", "drop")


async def flows(services: Services, call: Call) -> Reply:
    return _watched(services, call, call.request.word("verdict") or "all", "flow")


def _watched(services: Services, call: Call, verdict: str, kind: str) -> Reply:
    """``?port=PORT&peer=PORT-or-address&host=HOST``. Raises Invalid, NotFound."""
    request = call.request
    if request.method == "HEAD":
        return Reply(200, headers=EVENT_STREAM)
    if verdict not in VERDICTS:
        raise Invalid(
            f"verdict is {verdict!r}: give one of {', '.join(VERDICTS)}", target="verdict"
        )
    words = (request.word(name) for name in ("port", "peer", "host"))
    return event_stream(services.operations.flows(Watched(verdict, *words), kind))


_WATCHED = (
    parameter("port", "query", TEXT, "From or to this networkInterface only."),
    parameter(
        *("peer", "query", TEXT),
        "To or from this networkInterface, address or prefix only; with port, between the two.",
    ),
    parameter("host", "query", TEXT, "On this server only."),
)

ROUTES = (
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/drops",
        handler=drops,
        summary="A sample of what hosts drop, each with what dropped it.",
        parameters=_WATCHED,
        answers=EVENTS,
        offers=("drops",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/flows",
        handler=flows,
        summary="A sample of what hosts allow and drop, each with what decided it.",
        parameters=(
            parameter(
                "verdict",
                "query",
                {"type": "string", "enum": [*VERDICTS], "default": "all"},
                "Of this verdict only.",
            ),
            *_WATCHED,
        ),
        answers=EVENTS,
        errors=("400", "404"),
        offers=("flows",),
    ),
)
