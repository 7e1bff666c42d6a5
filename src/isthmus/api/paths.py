# SPDX-License-Identifier: Apache-2.0
"""What the server has beside resources, for the OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.api.batch import MOST_REQUESTS
from isthmus.api.diagnostics import CHECK_SCHEMA
from isthmus.intent.model import Json
from isthmus.intent.openapi import OF_A_BODY, answers
from isthmus.intent.versions import VERSIONS

_TEXT: Json = {"type": "string"}
_STATUS: Json = {"type": "integer"}
_FREE: Json = {"type": "object", "additionalProperties": True}
_VERSION = "/networking/{version}"


def _parameter(name: str, where: str, schema: Json, description: str = "") -> dict[str, Json]:
    told = {"description": description} if description else {}
    return {"name": name, "in": where, "required": where == "path", "schema": schema, **told}


_OF_VERSION: Json = [
    _parameter("version", "path", {"type": "string", "enum": [str(one) for one in VERSIONS]})
]


def _object(properties: Mapping[str, Json], *required: str) -> dict[str, Json]:
    return {"type": "object", "required": [*required], "properties": {**properties}}


def _content(schema: Json) -> dict[str, Json]:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str,
    *parameters: Json,
    statuses: Sequence[str] = ("200",),
    schema: Json = _FREE,
    errors: Sequence[str] = ("404",),
    **more: Json,
) -> dict[str, Json]:
    success: Json = {"description": "As asked.", "content": _content(schema)}
    return {
        "summary": summary,
        "parameters": [*parameters],
        "responses": answers(dict.fromkeys(statuses, success), *errors),
        **more,
    }


def _plain(summary: str, *statuses: str) -> dict[str, Json]:
    text: Json = {"description": "Text.", "content": {"text/plain": {"schema": _TEXT}}}
    return {"summary": summary, "responses": dict.fromkeys(statuses, text)}


_BATCH: Json = _object(
    {
        "requests": {
            "type": "array",
            "maxItems": MOST_REQUESTS,
            "items": _object(
                {
                    "method": {"type": "string", "enum": ["PUT", "DELETE"], "default": "PUT"},
                    "resourceRef": _TEXT,
                    "body": {"type": "object", "description": "Of a PUT: the resource."},
                    "ifMatch": _TEXT,
                    "ifNoneMatch": {"type": "string", "enum": ["*"]},
                },
                "resourceRef",
            ),
        }
    },
    "requests",
)
_BATCH_ANSWER: Json = _object(
    {
        "responses": {
            "type": "array",
            "items": _object(
                {"status": _STATUS, "resourceRef": _TEXT, "instanceId": _TEXT, "etag": _TEXT},
                "status",
                "resourceRef",
            ),
        }
    },
    "responses",
)
_ID = _parameter("id", "path", _TEXT)
_WATCHED = (
    _parameter("port", "query", _TEXT, "From or to this networkInterface only."),
    _parameter(
        *("peer", "query", _TEXT),
        "To or from this networkInterface, address or prefix only; with port, between the two.",
    ),
    _parameter("host", "query", _TEXT, "On this server only."),
)
_AS_WRITTEN: Json = {"description": "The resource as it is now.", "content": _content(_FREE)}
_COUNT: Json = {"type": "integer", "minimum": 0}
_MAPPING: Json = _object(
    {
        "resourceRef": _TEXT,
        "resourceId": _TEXT,
        "instanceId": {"type": "string", "format": "uuid"},
        "properties": _object(
            {"provisioningState": _TEXT, "resourceReference": _TEXT}, "resourceReference"
        ),
    },
    *("resourceRef", "instanceId", "properties"),
)
_HEALTH: Json = _object(
    {
        "resourceType": {
            "type": "string",
            "enum": ["VirtualNetwork", "Gateway", "LoadBalancerMux"],
        },
        "totalResourceCount": _COUNT,
        "healthyResourceCount": _COUNT,
        "errorResourceCount": _COUNT,
        "warningResourceCount": _COUNT,
        "healthUnknownCount": _COUNT,
    },
    *("resourceType", "totalResourceCount", "healthyResourceCount", "errorResourceCount"),
    *("warningResourceCount", "healthUnknownCount"),
)
_USAGE: Json = _object(
    {
        "resourceType": {
            "type": "string",
            "enum": ["PublicIPUtilization", "BackendIPUtilization", "MacPoolUtilization"],
        },
        "totalResourceCount": _COUNT,
        "inUseResourceCount": _COUNT,
    },
    *("resourceType", "totalResourceCount", "inUseResourceCount"),
)
_STATISTICS: Json = _object(
    {
        "resourceRef": _TEXT,
        "resourceId": _TEXT,
        "instanceId": _TEXT,
        "properties": _object(
            {
                "provisioningState": _TEXT,
                "healthStatistics": {"type": "array", "items": _HEALTH},
                "usageStatistics": {"type": "array", "items": _USAGE},
                "counters": {"type": "array", "items": _FREE},
            },
            *("healthStatistics", "usageStatistics"),
        ),
    },
    *("resourceRef", "properties"),
)

_REQUESTS: Json = {"required": True, "content": _content(_BATCH)}
_EVENT: Json = {
    "type": "object",
    "properties": {"id": _TEXT, "event": _TEXT, "data": {"description": "A JSON object."}},
}
_STREAM: Json = {"description": "Events.", "content": {"text/event-stream": {"schema": _EVENT}}}
_NUMBER: Json = {"type": "number", "minimum": 0}


def _whole(highest: int) -> dict[str, Json]:
    return {"type": "integer", "minimum": 0, "maximum": highest}


def _stream(summary: str, *parameters: Json, errors: tuple[str, ...] = ("404",)) -> dict[str, Json]:
    """Server-sent events that do not end."""
    return {
        "summary": summary,
        "parameters": [*parameters],
        "responses": answers({"200": _STREAM}, *errors),
    }


_CHECK: Json = _object({"properties": dict(CHECK_SCHEMA)}, "properties")
_ASKED = CHECK_SCHEMA["properties"]
assert isinstance(_ASKED, dict)
_RESULT: Json = _object(
    {
        "resourceRef": _TEXT,
        "resourceId": _TEXT,
        "properties": _object(
            {
                **_ASKED,
                "operationId": _TEXT,
                "submitTime": _TEXT,
                "result": _object(
                    {
                        "status": {"type": "string", "enum": ["InProgress", "Success", "Failure"]},
                        "roundTripTimeMSec": _COUNT,
                        "errorMessage": _TEXT,
                        "nodeOutput": {"type": "array", "items": _FREE},
                    },
                    "status",
                ),
            },
            "result",
        ),
    },
    *("resourceRef", "properties"),
)

PATHS: dict[str, Json] = {
    "/networking/discovery": {"get": _operation("What this controller offers.", errors=())},
    f"{_VERSION}/discovery": {
        "parameters": _OF_VERSION,
        "get": _operation("What this controller offers."),
    },
    "/networking/openapi.json": {"get": _operation("This document.", errors=())},
    f"{_VERSION}/batch": {
        "parameters": _OF_VERSION,
        "post": _operation(
            "Many writes as one transaction, each seeing those before it: all or nothing.",
            schema=_BATCH_ANSWER,
            errors=(*OF_A_BODY, "404", "409", "412"),
            requestBody=_REQUESTS,
        ),
    },
    f"{_VERSION}/operations/{{id}}": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "How the write ended whose answer had this x-ms-request-id.",
            _ID,
            schema=_object({"status": _TEXT}, "status"),
        ),
    },
    f"{_VERSION}/operationResults/{{id}}": {
        "parameters": _OF_VERSION,
        "get": {
            **_operation("The answer that the write was given.", _ID),
            "responses": answers(
                {
                    "200": _AS_WRITTEN,
                    "201": _AS_WRITTEN,
                    "204": {"description": "It was a deletion."},
                },
                "404",
            ),
        },
    },
    f"{_VERSION}/internalResourceInstances/{{id}}": {
        "parameters": _OF_VERSION,
        "get": _operation("Which resource has this instanceId.", _ID, schema=_MAPPING),
    },
    f"{_VERSION}/internalResourceInstances": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "Which resource has which instanceId.",
            schema=_object(
                {"value": {"type": "array", "items": _MAPPING}, "nextLink": _TEXT},
                *("value", "nextLink"),
            ),
        ),
    },
    f"{_VERSION}/monitoring/networkControllerStatistics": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "How many networks are well, and how many addresses are in use.", schema=_STATISTICS
        ),
    },
    f"{_VERSION}/isthmus/status": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "Controllers, stores, hosts, errors.",
            _parameter("ask", "query", {"type": "boolean"}, "Ask all hosts: at most 3 s."),
            errors=("400", "404"),
        ),
    },
    f"{_VERSION}/isthmus/hosts/{{id}}": {
        "parameters": _OF_VERSION,
        "delete": _operation(
            "Forget all that a dead host has said; one that answers is refused.",
            _ID,
            errors=("404", "409"),
        ),
    },
    f"{_VERSION}/isthmus/explain/ports/{{id}}": {
        "parameters": _OF_VERSION,
        "get": _operation("One port from its request to its flows.", _ID),
    },
    f"{_VERSION}/isthmus/plan": {
        "parameters": _OF_VERSION,
        "post": _operation(
            "What a batch would do, if it were sent now. Nothing is stored.",
            errors=(*OF_A_BODY, "404", "409", "412"),
            requestBody=_REQUESTS,
        ),
    },
    f"{_VERSION}/isthmus/trace": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "Where a packet ends, and why.",
            {**_parameter("from", "query", _TEXT, "A networkInterface."), "required": True},
            {
                **_parameter("to", "query", _TEXT, "A networkInterface, or an address."),
                "required": True,
            },
            _parameter("protocol", "query", _whole(255), "Else an echo request."),
            _parameter("port", "query", _whole(65535)),
            _parameter("sourcePort", "query", _whole(65535)),
            _parameter("family", "query", {"type": "integer", "enum": [0, 4, 6]}),
            _parameter("switches", "query", {"type": "boolean"}, "Ask the switches as well."),
            errors=("400", "404"),
        ),
    },
    f"{_VERSION}/isthmus/doctor": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "What is wrong, each with its repair.",
            schema=_object({"findings": {"type": "array", "items": _FREE}}, "findings"),
        ),
    },
    f"{_VERSION}/isthmus/bundle": {
        "parameters": _OF_VERSION,
        "get": _operation("Everything that support needs, without secrets."),
    },
    f"{_VERSION}/isthmus/counters": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "What rules, stages and ports have counted, by host.",
            schema=_object({"hosts": {"type": "array", "items": _FREE}}, "hosts"),
        ),
    },
    f"{_VERSION}/isthmus/events": {
        "parameters": _OF_VERSION,
        "get": _stream(
            "What happens, from now on or behind an event.",
            _parameter("after", "query", _TEXT, "The id of an event."),
            _parameter("Last-Event-ID", "header", _TEXT, "Likewise, and before it."),
        ),
    },
    f"{_VERSION}/isthmus/drops": {
        "parameters": _OF_VERSION,
        "get": _stream(
            "A sample of what hosts drop, each with what dropped it.",
            *_WATCHED,
        ),
    },
    f"{_VERSION}/isthmus/flows": {
        "parameters": _OF_VERSION,
        "get": _stream(
            "A sample of what hosts allow and drop, each with what decided it.",
            _parameter(
                "verdict",
                "query",
                {"type": "string", "enum": ["allowed", "dropped", "all"], "default": "all"},
                "Of this verdict only.",
            ),
            *_WATCHED,
            errors=("400", "404"),
        ),
    },
    f"{_VERSION}/diagnostics/ConnectivityCheck": {
        "parameters": _OF_VERSION,
        "put": _operation(
            "Begin to look whether one address of a virtual network reaches another.",
            errors=(*OF_A_BODY, "404"),
            requestBody={"required": True, "content": _content(_CHECK)},
        ),
    },
    f"{_VERSION}/diagnostics/ConnectivityCheckResults": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "What checks have found in the last hour.",
            schema=_object({"value": {"type": "array", "items": _RESULT}}, "value"),
        ),
    },
    f"{_VERSION}/diagnostics/ConnectivityCheckResults/{{id}}": {
        "parameters": _OF_VERSION,
        "get": _operation("What a check has found.", _ID, schema=_RESULT),
    },
    f"{_VERSION}/isthmus/probes": {
        "parameters": _OF_VERSION,
        "post": _operation(
            "Ask every host to answer when it has all that was written before.",
            statuses=("201",),
        ),
    },
    f"{_VERSION}/isthmus/probes/{{number}}": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "Who has answered.",
            _parameter("number", "path", {"type": "integer"}),
            _parameter("answered", "query", _whole(1_000_000), "Wait for more hosts than that."),
            _parameter("waitSeconds", "query", _NUMBER, "And no longer than that."),
            errors=("400", "404"),
        ),
    },
    "/healthz": {"get": _plain("200 while the stores can be reached, else 503.", "200", "503")},
    "/metrics": {"get": _plain("In the text format of Prometheus.", "200")},
}
