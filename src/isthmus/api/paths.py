# SPDX-License-Identifier: Apache-2.0
"""What the server has beside resources, for the OpenAPI 3.1 document."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.api.batch import MOST_REQUESTS
from isthmus.intent.model import Json
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
    summary: str, *parameters: Json, status: int = 200, schema: Json = _FREE, **more: Json
) -> dict[str, Json]:
    error = _content({"$ref": "#/components/schemas/Error"})
    return {
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            str(status): {"description": "As asked.", "content": _content(schema)},
            "default": {"description": "An error, as everywhere.", "content": error},
        },
        **more,
    }


def _plain(summary: str) -> dict[str, Json]:
    content: Json = {"text/plain": {"schema": _TEXT}}
    return {
        "summary": summary,
        "responses": {"200": {"description": "Text.", "content": content}},
    }


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
    "/networking/discovery": {"get": _operation("What this controller offers.")},
    f"{_VERSION}/batch": {
        "parameters": _OF_VERSION,
        "post": _operation(
            "Many writes as one transaction, each seeing those before it: all or nothing.",
            schema=_BATCH_ANSWER,
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
        "get": _operation("The answer that the write was given.", _ID),
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
            "Ask every host to answer when it has all that was written before.", status=201
        ),
    },
    f"{_VERSION}/isthmus/probes/{{number}}": {
        "parameters": _OF_VERSION,
        "get": _operation(
            "Who has answered.",
            _parameter("number", "path", {"type": "integer"}),
            _parameter("answered", "query", {"type": "integer"}, "Wait for more hosts than that."),
            _parameter("waitSeconds", "query", {"type": "number"}, "And no longer than that."),
        ),
    },
    "/healthz": {"get": _plain("200 while the store can be reached, else 503.")},
    "/metrics": {"get": _plain("In the text format of Prometheus.")},
}
