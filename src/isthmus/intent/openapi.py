# SPDX-License-Identifier: Apache-2.0
"""The schemas of the resources for the OpenAPI 3.1 document, from their declarations. The paths are
the routes' of the API."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.intent.kind import Kind
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.paths import RESOURCE_ID_LENGTH, RESOURCE_ID_PATTERN
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import object_schema
from isthmus.intent.versions import V1, Version

_TEXT: Json = {"type": "string"}
RESOURCE_ID: JsonObject = {
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


def component_schemas(registry: Registry = REGISTRY) -> dict[str, Json]:
    """The schemas of the document, by the names that its references have."""
    return {
        "Reference": _REFERENCE,
        "ConfigurationState": _STATE,
        "Error": _ERROR,
        **{kind.model.__name__: resource_schema(kind) for kind in registry.kinds.values()},
    }


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
            "resourceId": {**RESOURCE_ID, "description": "Chosen by the client; never changes."},
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
