# SPDX-License-Identifier: Apache-2.0
"""Discovery, and what this controller offers beyond MS-NCNBI, by names that discovery lists."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

from isthmus.api.batch import read_requests
from isthmus.api.bodies import LEVELS_OF_A_BATCH
from isthmus.api.doors import Insight, Watched
from isthmus.api.exchange import Exchange
from isthmus.api.replies import Reply, json_reply
from isthmus.api.streams import EVENT_STREAM, event_stream
from isthmus.errors import Invalid, NotFound
from isthmus.intent.model import Json
from isthmus.intent.registry import CAPABILITIES
from isthmus.intent.strict import check_strict
from isthmus.intent.versions import V6_1, VERSIONS, Version
from isthmus.reach.trace import Question

EXTENSIONS = (
    "batch",
    "bundle",
    "connectivityCheckPort",
    "counters",
    "doctor",
    "drops",
    "events",
    "explain",
    "flows",
    "hosts",
    "plan",
    "probes",
    "status",
    "trace",
)
PLACES = (
    *("status", "explain/ports/ID", "plan", "trace", "doctor", "bundle"),
    *("probes", "events", "drops", "flows", "counters", "hosts/ID"),
)
NEWEST = V6_1
"""With v3 a client finds peerings, with v5 security tags, with v6.1 credentials by a certificate's
subject; what v7 and v7.1 add is of load balancers. PowerShell's cmdlets follow what is advertised.
What a version adds and is not here is refused by its name; docs/api.md has the list."""
SUPPORTED = tuple(str(version).upper() for version in VERSIONS if version <= NEWEST)
LONGEST_WAIT_S = 60.0
FAMILIES = (0, 4, 6)
VERDICTS = ("allowed", "dropped", "all")
MOST_DIGITS = 18
"""Of a number that the store can hold (RFC 7047 section 3.1: 64 bits)."""


def discovery(software_version: str) -> dict[str, Json]:
    """MS-NCNBI section A.1."""
    return {
        "resourceRef": "/discovery/discovery",
        "resourceId": "discovery",
        "instanceId": str(uuid5(NAMESPACE_URL, "/discovery/discovery")),
        "properties": {
            "provisioningState": "Succeeded",
            "networkControllerVersion": software_version,
            "supportedRestVersions": list(SUPPORTED),
            "currentRestVersion": SUPPORTED[-1],
            "extensions": sorted({*EXTENSIONS, *CAPABILITIES}),
        },
    }


async def answer(
    exchange: Exchange, insight: Insight, words: Sequence[str], version: Version
) -> Reply:
    """``/networking/<version>/isthmus/...``; `words` are its parts. Raises IsthmusError."""
    match [part.lower() for part in words[:2]]:
        case ["status"] if len(words) == 1:
            exchange.only("GET")
            if exchange.flag("ask"):
                return json_reply(200, dict(await insight.status_asked()))
            return json_reply(200, dict(insight.status()))
        case ["hosts", name] if len(words) == 2:
            exchange.only("DELETE")
            return json_reply(200, dict(await insight.remove_host(name)))
        case ["events"] if len(words) == 1:
            exchange.only("GET")
            if exchange.method == "HEAD":
                return Reply(200, headers=EVENT_STREAM)
            after = exchange.header(b"last-event-id") or exchange.word("after")
            return event_stream(insight.events(after))
        case ["doctor"] if len(words) == 1:
            exchange.only("GET")
            return json_reply(200, dict(await insight.doctor()))
        case ["bundle"] if len(words) == 1:
            exchange.only("GET")
            return json_reply(200, dict(await insight.bundle()))
        case ["counters"] if len(words) == 1:
            exchange.only("GET")
            return json_reply(200, dict(await insight.counters()))
        case ["drops"] if len(words) == 1:
            return _flows(exchange, insight, "dropped", "drop")
        case ["flows"] if len(words) == 1:
            return _flows(exchange, insight, exchange.word("verdict") or "all", "flow")
        case ["explain", "ports"] if len(words) == 3:
            exchange.only("GET")
            return json_reply(200, dict(await insight.explain_port(words[2])))
        case ["plan"] if len(words) == 1:
            exchange.only("POST")
            requests = read_requests(exchange.json(LEVELS_OF_A_BATCH), "", "")
            if exchange.is_strict:
                check_strict(requests, version)
            return json_reply(200, dict(await insight.plan(requests, version)))
        case ["trace"] if len(words) == 1:
            exchange.only("GET")
            question, by_switches = _question(exchange), exchange.flag("switches")
            return json_reply(200, dict(await insight.trace(question, by_switches=by_switches)))
        case ["probes"] if len(words) == 1:
            exchange.only("POST")
            return json_reply(201, dict(await insight.raise_probe()))
        case ["probes", number] if len(words) == 2:
            exchange.only("GET")
            return json_reply(200, await _probe(exchange, insight, number))
    raise NotFound(
        f"there is nothing at {exchange.path}: below isthmus/ are {', '.join(PLACES)}",
        target=exchange.path,
    )


def _flows(exchange: Exchange, insight: Insight, verdict: str, kind: str) -> Reply:
    """``?port=PORT&peer=PORT-or-address&host=HOST``. Raises Invalid, NotFound."""
    exchange.only("GET")
    if exchange.method == "HEAD":
        return Reply(200, headers=EVENT_STREAM)
    if verdict not in VERDICTS:
        raise Invalid(
            f"verdict is {verdict!r}: give one of {', '.join(VERDICTS)}", target="verdict"
        )
    words = (exchange.word(name) for name in ("port", "peer", "host"))
    return event_stream(insight.flows(Watched(verdict, *words), kind))


def _question(exchange: Exchange) -> Question:
    """``?from=PORT&to=PORT or address&protocol=6&port=443``. Raises Invalid."""
    source, destination = exchange.word("from"), exchange.word("to")
    if not source or not destination:
        missing = "to" if source else "from"
        raise Invalid(
            "from and to are needed, both: name a port, and a port or an address", target=missing
        )
    family = exchange.whole("family", 0, 6)
    if family not in FAMILIES:
        raise Invalid(f"family is {family}: give 4, 6, or 0 for what both have", target="family")
    return Question(
        source=source,
        destination=destination,
        protocol=exchange.whole("protocol", 0, 255),
        destination_port=exchange.whole("port", 0, 65535),
        source_port=exchange.whole("sourcePort", 49152, 65535),
        family=family,
    )


async def _probe(exchange: Exchange, insight: Insight, number: str) -> dict[str, Json]:
    if not (number.isascii() and number.isdecimal() and len(number) <= MOST_DIGITS):
        raise Invalid(f"{number!r} is no number of a probe", target=number)
    answered = exchange.whole("answered", 0, 1_000_000)
    wait_s = exchange.argument("waitSeconds", 0, LONGEST_WAIT_S)
    return dict(await insight.probe(int(number), answered, wait_s))
