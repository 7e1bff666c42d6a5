# SPDX-License-Identifier: Apache-2.0
"""What this controller offers: discovery (MS-NCNBI section A.1) and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from uuid import NAMESPACE_URL, uuid5

from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.openapi import document
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import answer
from isthmus.intent.model import Json
from isthmus.intent.registry import CAPABILITIES
from isthmus.intent.versions import V6_1, VERSIONS

NEWEST = V6_1
"""With v3 a client finds peerings, with v5 security tags, with v6.1 credentials by a certificate's
subject; what v7 and v7.1 add is of load balancers. PowerShell's cmdlets follow what is advertised.
What a version adds and is not here is refused by its name; docs/api.md has the list."""
SUPPORTED = tuple(str(version).upper() for version in VERSIONS if version <= NEWEST)


def discovered(software_version: str, routes: Iterable[Route]) -> dict[str, Json]:
    """The resource ``discovery``."""
    offered = {name for route in routes for name in route.offers}
    return {
        "resourceRef": "/discovery/discovery",
        "resourceId": "discovery",
        "instanceId": str(uuid5(NAMESPACE_URL, "/discovery/discovery")),
        "properties": {
            "provisioningState": "Succeeded",
            "networkControllerVersion": software_version,
            "supportedRestVersions": list(SUPPORTED),
            "currentRestVersion": SUPPORTED[-1],
            "extensions": sorted({*offered, *CAPABILITIES}),
        },
    }


async def discover(services: Services, _call: Call) -> Reply:
    return json_reply(200, discovered(services.software_version, services.routes))


async def describe(services: Services, _call: Call) -> Reply:
    return _document(services.software_version, services.routes)


@lru_cache(maxsize=1)
def _document(software_version: str, routes: tuple[Route, ...]) -> Reply:
    return json_reply(200, document(software_version, routes))


_SUMMARY = "What this controller offers."

ROUTES = (
    Route(
        method="GET",
        path="/networking/discovery",
        handler=discover,
        summary=_SUMMARY,
        answers=answer(),
        errors=(),
        # as its own reference says
        aliases=("/networking", "/networking/discovery/discovery"),
    ),
    Route(
        method="GET",
        path=f"{VERSIONED}/discovery",
        handler=discover,
        summary=_SUMMARY,
        answers=answer(),
        aliases=(f"{VERSIONED}/discovery/discovery",),
    ),
    Route(
        method="GET",
        path="/networking/openapi.json",
        handler=describe,
        summary="This document.",
        answers=answer(),
        errors=(),
    ),
)
