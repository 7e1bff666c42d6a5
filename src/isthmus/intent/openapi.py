# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document of the resources, from their declarations.

Every kind gives its collection and its resource path under ``/networking/{version}``. What the
server has beside resources (discovery, operations, batch) it adds itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.intent.kind import Kind
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.paths import RESOURCE_ID_LENGTH, RESOURCE_ID_PATTERN
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import object_schema
from isthmus.intent.versions import V1, VERSIONS, Version

_TEXT: Json = {"type": "string"}
_ID: dict[str, Json] = {
    "type": "string",
    "pattern": f"^{RESOURCE_ID_PATTERN}$",
    "maxLength": RESOURCE_ID_LENGTH,
}
_FREE: Json = {"type": "object", "additionalProperties": True}
_REFERENCE: Json = {
    "type": "object",
    "properties": {"resourceRef": {"type": "string", "format": "resource-reference"}},
    "required": ["resourceRef"],
    "description": "A resource, relative to /networking/{version}; found in any letter case.",
}
_STATE: Json = {
    "type": "object",
    "readOnly": True,
    "properties": {
        "status": {
            "type": "string",
            "enum": ["Uninitialized", "InProgress", "Success", "Warning", "Failure"],
        },
        "detailedInfo": {"type": "array", "items": _FREE},
        "lastUpdatedTime": _TEXT,
        "id": _TEXT,
    },
    "description": "What hosts report; absent until one has.",
}
_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code"],
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "target": {"type": "string", "description": "JSON path or reference"},
                "innerError": _TEXT,
                "details": {"type": "array", "items": _FREE},
            },
        }
    },
}

_ERRORS = {
    "400": "A field breaks a rule: nothing was changed.",
    "401": "Nobody, or nobody whom this controller knows.",
    "403": "Known, but not allowed.",
    "404": "There is no such resource.",
    "409": "It stands against what exists: in use, taken, exhausted.",
    "412": "If-Match or If-None-Match did not hold.",
    "413": "The body is longer than is read.",
    "415": "The body is not JSON.",
    "503": "The store does not answer; try again.",
}
EVERYWHERE = ("401", "403", "503")
"""What every operation may be answered."""
OF_A_BODY = ("400", "413", "415")
"""What an operation with a body may be answered."""


def document(
    software_version: str,
    *,
    paths: Mapping[str, Json] | None = None,
    schemas: Mapping[str, Json] | None = None,
    registry: Registry = REGISTRY,
) -> dict[str, Json]:
    """The whole document; `paths` and `schemas` are the server's own."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Isthmus",
            "version": software_version,
            "description": "Microsoft Network Controller northbound API (MS-NCNBI)."
            f" Extensions: {', '.join(registry.capabilities)}.",
        },
        "paths": {**resource_paths(registry), **(paths or {})},
        "components": {
            "schemas": {
                "Reference": _REFERENCE,
                "ConfigurationState": _STATE,
                "Error": _ERROR,
                **{kind.model.__name__: resource_schema(kind) for kind in registry.kinds.values()},
                **(schemas or {}),
            }
        },
    }


def resource_paths(registry: Registry = REGISTRY) -> dict[str, Json]:
    """Path items of all kinds."""
    items: dict[str, Json] = {}
    for kind in registry.kinds.values():
        path, names = _path(kind)
        if not kind.singleton:
            items[path.rpartition("/")[0]] = _collection_item(kind, names[:-1])
        items[path] = _resource_item(kind, names)
    return items


def resource_schema(kind: Kind) -> dict[str, Json]:
    """A resource of one kind with its envelope (MS-NCNBI section A.5)."""
    own = object_schema(kind.fields)
    listed = own["properties"]
    assert isinstance(listed, dict)
    properties = {**listed, **dict(_shown(kind))}
    for computed in kind.computed:
        if computed.as_null:
            field = properties[computed.wire]
            assert isinstance(field, dict)
            properties[computed.wire] = {**field, "type": computed.schema["type"]}
    needed: list[Json] = ["resourceId"] if kind.depth > 1 else []
    return {
        "type": "object",
        "description": (kind.model.__doc__ or "").strip(),
        "required": [*needed, "properties"],
        "properties": {
            "resourceRef": {**_read_only(_TEXT), "description": "Where it is."},
            "resourceId": {**_ID, "description": "Chosen by the client; never changes."},
            "instanceId": {"type": "string", "format": "uuid", "description": "Never changes."},
            "etag": {"type": "string", "description": "Changes with every write."},
            "tags": _FREE,
            "resourceMetadata": _FREE,
            "properties": {**own, "properties": properties},
        },
    }


def _shown(kind: Kind) -> Iterator[tuple[str, Json]]:
    """What is rendered of a kind beside its own fields."""
    yield "provisioningState", {"type": "string", "const": "Succeeded", "readOnly": True}
    for child in kind.children:
        listed = _list_of({"$ref": f"#/components/schemas/{child.model.__name__}"})
        yield child.collection, _since(listed, child.since)
    for back in kind.back_references:
        yield back.wire, _described(_references(), back.description, back.since)
    for computed in kind.computed:
        if computed.wire in kind.shown_elsewhere:
            continue
        yield computed.wire, _described(computed.schema, computed.description, computed.since)
    if kind.has_state:
        yield "configurationState", {"$ref": "#/components/schemas/ConfigurationState"}
    if kind.located is not None:
        one: Json = {"$ref": "#/components/schemas/Reference"}
        schema = (
            _list_of(one) if kind.located.as_list else {"$ref": "#/components/schemas/Reference"}
        )
        yield kind.located.wire, _described(schema, kind.located.description, kind.located.since)


def _described(schema: JsonObject, description: str, since: Version) -> dict[str, Json]:
    return _since({**schema, "readOnly": True, "description": description}, since)


def _since(schema: JsonObject, since: Version) -> dict[str, Json]:
    return {**schema} if since == V1 else {**schema, "x-isthmus-since": str(since)}


def _read_only(schema: Json) -> dict[str, Json]:
    assert isinstance(schema, dict)
    return {**schema, "readOnly": True}


def _list_of(schema: Json) -> dict[str, Json]:
    return {"type": "array", "items": schema}


def _references() -> dict[str, Json]:
    return _list_of({"$ref": "#/components/schemas/Reference"})


def _path(kind: Kind) -> tuple[str, list[str]]:
    """``/networking/{version}/virtualNetworks/{virtualNetworkId}``, and its parameters."""
    path, names = "/networking/{version}", ["version"]
    for collection in kind.name.split("/"):
        if kind.singleton:
            path += f"/{collection}/{kind.singleton}"
        else:
            names.append(f"{collection.removesuffix('s')}Id")
            path += f"/{collection}/{{{names[-1]}}}"
    return path, names


def _parameters(names: list[str]) -> list[Json]:
    versions: list[Json] = [str(version) for version in VERSIONS]
    schemas: dict[str, Json] = {"version": {"type": "string", "enum": versions}}
    return [
        {"name": name, "in": "path", "required": True, "schema": schemas.get(name, _ID)}
        for name in names
    ]


def _header(name: str, description: str) -> Json:
    return {"name": name, "in": "header", "schema": _TEXT, "description": description}


def answers(successes: Mapping[str, Json], *errors: str) -> dict[str, Json]:
    """Responses of an operation: `successes`, what every one may be answered, and `errors`."""
    content: Json = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    codes = sorted({*errors, *EVERYWHERE})
    return {**successes, **{e: {"description": _ERRORS[e], "content": content} for e in codes}}


def _content(schema: Json) -> dict[str, Json]:
    return {"application/json": {"schema": schema}}


def _collection_item(kind: Kind, names: list[str]) -> Json:
    one: Json = {"$ref": f"#/components/schemas/{kind.model.__name__}"}
    listing: Json = {
        "type": "object",
        "required": ["value", "nextLink"],
        "properties": {"value": _list_of(one), "nextLink": _TEXT},
    }
    success: Json = {"description": "All of them.", "content": _content(listing)}
    return {
        "parameters": _parameters(names),
        "get": {
            "summary": f"List {kind.name}",
            "operationId": f"list_{kind.name.replace('/', '_')}",
            "responses": answers({"200": success}, "404"),
        },
    }


def _resource_item(kind: Kind, names: list[str]) -> Json:
    identity = kind.name.replace("/", "_")
    one = _content({"$ref": f"#/components/schemas/{kind.model.__name__}"})
    found: Json = {"description": "The resource.", "content": one}
    match = _header("If-Match", "An etag, or *: only if it exists and is this one.")
    item: dict[str, Json] = {
        "parameters": _parameters(names),
        "get": {
            "summary": f"Read one of {kind.name}",
            "operationId": f"get_{identity}",
            "responses": answers({"200": found}, "404"),
        },
        "put": {
            "summary": f"Create or fully replace one of {kind.name}, all below it included",
            "operationId": f"put_{identity}",
            "parameters": [
                match,
                _header("If-None-Match", "*: only if it does not exist."),
                _header("x-ms-client-request-id", "The same again is answered as the first."),
            ],
            "requestBody": {"required": True, "content": one},
            "responses": answers(
                {"200": found, "201": {"description": "Created.", "content": one}},
                *(*OF_A_BODY, "404", "409", "412"),
            ),
        },
    }
    if not kind.singleton:
        item["delete"] = {
            "summary": f"Delete one of {kind.name}, with all below it",
            "operationId": f"delete_{identity}",
            "parameters": [match],
            "responses": answers(
                {"200": {"description": "Deleted."}, "204": {"description": "It was not there."}},
                *("400", "404", "409", "412"),
            ),
        }
    return item
