# SPDX-License-Identifier: Apache-2.0
"""What the server has beside resources, for the OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.api.batch import MOST_REQUESTS
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
            requestBody={"required": True, "content": _content(_BATCH)},
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
        "get": _operation("Controllers, stores, hosts, errors."),
    },
    f"{_VERSION}/isthmus/explain/ports/{{id}}": {
        "parameters": _OF_VERSION,
        "get": _operation("One port from its request to its flows.", _ID),
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
            _parameter("answered", "query", {"type": "integer"}, "Wait for more hosts than that."),
            _parameter("waitSeconds", "query", {"type": "number"}, "And no longer than that."),
            errors=("400", "404"),
        ),
    },
    "/healthz": {"get": _plain("200 while the store can be reached, else 503.", "200", "503")},
    "/metrics": {"get": _plain("In the text format of Prometheus.", "200")},
}
