# SPDX-License-Identifier: Apache-2.0
"""The extension ``probes``: when every host has all that was accepted before."""

from __future__ import annotations

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import NUMBER, answer, parameter, whole
from isthmus.errors import Invalid

LONGEST_WAIT_S = 60.0
MOST_DIGITS = 18
"""Of a number that the store can hold (RFC 7047 section 3.1: 64 bits)."""
MOST_HOSTS = 1_000_000


async def raise_probe(services: Services, _call: Call) -> Reply:
    return json_reply(201, dict(await services.operations.raise_probe()))


async def probe(services: Services, call: Call) -> Reply:
    number, request = call.names["number"], call.request
    if not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise Invalid(f"{number!r} is no number of a probe", target=number)
    answered = request.whole("answered", 0, MOST_HOSTS)
    wait_s = request.argument("waitSeconds", 0, LONGEST_WAIT_S)
    return json_reply(200, dict(await services.operations.probe(int(number), answered, wait_s)))


ROUTES = (
    Route(
        method="POST",
        path=f"{VERSIONED}/isthmus/probes",
        handler=raise_probe,
        summary="Ask every host to answer when it has all that was written before.",
        answers=answer(status="201"),
        offers=("probes",),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/isthmus/probes/{{number}}",
        handler=probe,
        summary="Who has answered.",
        parameters=(
            parameter("number", "path", {"type": "integer"}),
            parameter("answered", "query", whole(MOST_HOSTS), "Wait for more hosts than that."),
            parameter("waitSeconds", "query", NUMBER, "And no longer than that."),
        ),
        answers=answer(),
        errors=("400", "404"),
    ),
)
