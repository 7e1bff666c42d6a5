# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of a table of routes."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.api.routes import VERSION, Route
from isthmus.api.schemas import ERRORS, content, parameter
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.openapi import RESOURCE_ID, component_schemas
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.versions import VERSIONS

_EVERYWHERE = ("401", "403", "503")
"""What whoever must be known may be answered."""
_VERSION: JsonObject = {"type": "string", "enum": [str(version) for version in VERSIONS]}


def document(
    software_version: str, routes: Iterable[Route], registry: Registry = REGISTRY
) -> dict[str, Json]:
    """The whole document."""
    items: dict[str, dict[str, Json]] = {}
    for route in routes:
        items.setdefault(route.path, _item(route))[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Isthmus",
            "version": software_version,
            "description": "Microsoft Network Controller northbound API (MS-NCNBI)."
            f" Extensions: {', '.join(registry.capabilities)}.",
        },
        "paths": items,
        "components": {"schemas": component_schemas(registry)},
    }


def _item(route: Route) -> dict[str, Json]:
    """A path with the parameters that all its methods have."""
    described = {one["name"] for one in route.parameters if one["in"] == "path"}
    schemas = {name: RESOURCE_ID for name in route.names} | {VERSION: _VERSION}
    shared: list[Json] = [
        parameter(name, "path", schemas[name]) for name in route.names if name not in described
    ]
    return {"parameters": shared} if shared else {}


def _operation(route: Route) -> dict[str, Json]:
    found: dict[str, Json] = {"summary": route.summary}
    if route.identifier:
        found["operationId"] = route.identifier
    if route.parameters:
        found["parameters"] = [*route.parameters]
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": content(route.body)}
    statuses = sorted({*route.errors, *(_EVERYWHERE if route.ways else ())})
    schema = {"$ref": "#/components/schemas/Error"}
    errors = {one: {"description": ERRORS[one], "content": content(schema)} for one in statuses}
    found["responses"] = {**route.answers, **errors}
    return found
