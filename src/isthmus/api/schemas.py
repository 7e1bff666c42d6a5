# SPDX-License-Identifier: Apache-2.0
"""Words of OpenAPI 3.1 with which routes say what they take and answer."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.intent.model import Json, JsonObject

TEXT: JsonObject = {"type": "string"}
FREE: JsonObject = {"type": "object", "additionalProperties": True}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
NUMBER: JsonObject = {"type": "number", "minimum": 0}
FLAG: JsonObject = {"type": "boolean"}

ERRORS = {
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
"""By status."""
OF_A_BODY = ("400", "413", "415")
"""What a route with a body may be answered."""


def whole(highest: int) -> JsonObject:
    """A whole number from 0."""
    return {"type": "integer", "minimum": 0, "maximum": highest}


def object_of(properties: Mapping[str, Json], *required: str) -> JsonObject:
    return {"type": "object", "required": [*required], "properties": {**properties}}


def list_of(schema: Json) -> JsonObject:
    return {"type": "array", "items": schema}


def content(schema: Json) -> JsonObject:
    return {"application/json": {"schema": schema}}


def parameter(
    name: str, where: str, schema: Json, description: str = "", *, required: bool = False
) -> JsonObject:
    """`where` is ``path``, ``query`` or ``header``. Those of a path are always required."""
    told = {"description": description} if description else {}
    needed = required or where == "path"
    return {"name": name, "in": where, "required": needed, "schema": schema, **told}


ID = parameter("id", "path", TEXT)


def described(description: str, schema: Json) -> JsonObject:
    """An answer of JSON."""
    return {"description": description, "content": content(schema)}


def answer(schema: Json = FREE, status: str = "200") -> JsonObject:
    """The one answer of a route, but for errors."""
    return {status: described("As asked.", schema)}


def text(*statuses: str) -> JsonObject:
    """Answers of plain text."""
    told: Json = {"description": "Text.", "content": {"text/plain": {"schema": TEXT}}}
    return dict.fromkeys(statuses, told)


_EVENT: Json = {
    "type": "object",
    "properties": {"id": TEXT, "event": TEXT, "data": {"description": "A JSON object."}},
}
EVENTS: JsonObject = {
    "200": {"description": "Events.", "content": {"text/event-stream": {"schema": _EVENT}}}
}
"""The answer of a route whose answer does not end."""
