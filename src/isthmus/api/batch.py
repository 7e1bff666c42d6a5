# SPDX-License-Identifier: Apache-2.0
"""The extension ``batch``: many PUT and DELETE as one transaction, all or nothing.

``POST /networking/v1/batch`` with ``{"requests": [{"method": "PUT", "resourceRef":
"/virtualNetworks/x", "body": {...}, "ifMatch": ..., "ifNoneMatch": "*"}, ...]}``; each request sees
what those before it do. The answer is ``{"responses": [{"status", "resourceRef", "instanceId",
"etag"}]}``. The target of an error begins with the index of the request at fault:
``[3].properties.subnet``. With ``Prefer: handling=strict`` a field that would be ignored is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from isthmus.api.http.bodies import LEVELS_OF_A_BATCH
from isthmus.api.http.replies import Reply, json_reply
from isthmus.api.http.request import HttpRequest
from isthmus.api.interfaces import North
from isthmus.api.retries import earlier_batch
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import OF_A_BODY, TEXT, answer, object_of
from isthmus.errors import Invalid, NotFound
from isthmus.intent.model import Ids, Json, Plan, Stored, View, written_by
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from isthmus.intent.render import etag_text
from isthmus.intent.strict import check_strict, refuse_other_addresses
from isthmus.intent.values import inside
from isthmus.intent.versions import Version

MOST_REQUESTS = 1000
"""It is one transaction, and others wait while it commits."""


async def answer_batch(services: Services, call: Call) -> Reply:
    north, places, version, sent = services.north, services.states, call.version, call.request
    requests = read_requests(
        sent.json(LEVELS_OF_A_BATCH), sent.write_id(), sent.operation_id, sent.identity.name
    )
    if sent.is_strict:
        check_strict(requests, version)

    def plan(view: View, ids: Ids) -> Plan:
        earlier = _earlier(sent, view, north, requests)
        planned = earlier or plan_batch(view, ids, requests, version=version, places=places)
        if sent.is_strict:
            _refuse_other_addresses(planned, requests, version)
        return planned

    done = await north.write(plan, request_id=sent.write_id(), operation_id=sent.operation_id)
    written = written_by(done)
    answers: list[Json] = [
        _brief(request, outcome.status, written.get(outcome.ref) or north.view.get(outcome.ref))
        for request, outcome in zip(requests, done.outcomes, strict=True)
    ]
    return json_reply(200, {"responses": answers})


def _refuse_other_addresses(plan: Plan, requests: Sequence[Request], version: Version) -> None:
    written = written_by(plan)
    for index, request in enumerate(requests):
        try:
            refuse_other_addresses(written, request, version)
        except Invalid as error:
            raise inside(error, f"[{index}]") from error


def read_requests(
    body: Json, request_id: str = "", operation_id: str = "", author: str = ""
) -> Sequence[Request]:
    """The requests of a batch's body. Raises Invalid."""
    entries = body.get("requests") if isinstance(body, Mapping) else None
    if not isinstance(entries, list):
        raise Invalid(
            'a batch is {"requests": [...]}', code="InvalidRequestFormat", target="requests"
        )
    if len(entries) > MOST_REQUESTS:
        raise Invalid(
            f"the batch has {len(entries)} requests, at most {MOST_REQUESTS} are taken: send it in"
            " parts",
            code="InvalidRequestFormat",
            target="requests",
        )
    found = [_request(index, entry) for index, entry in enumerate(entries)]
    said = {"request_id": request_id, "operation_id": operation_id, "author": author}
    return [replace(one, **said) if isinstance(one, Put) else one for one in found]


def _request(index: int, entry: Json) -> Request:
    def text(name: str) -> str:
        value = entry.get(name) if isinstance(entry, Mapping) else None
        if value is None:
            return ""
        if not isinstance(value, str):
            raise Invalid(f"{name} must be text", target=f"[{index}].{name}")
        return value

    if not isinstance(entry, Mapping) or not text("resourceRef"):
        raise Invalid("each request names its resourceRef", target=f"[{index}].resourceRef")
    method = text("method").upper() or "PUT"
    if method == "DELETE":
        return Delete(path=text("resourceRef"), expected_etag=text("ifMatch") or None)
    if method != "PUT":
        raise Invalid(f"method is {method}: use PUT or DELETE", target=f"[{index}].method")
    if text("ifNoneMatch") not in ("", "*"):
        raise Invalid("ifNoneMatch can only be *", target=f"[{index}].ifNoneMatch")
    if "body" not in entry:
        raise Invalid("a PUT has a body", target=f"[{index}].body")
    return Put(
        path=text("resourceRef"),
        body=entry["body"],
        create_only=text("ifNoneMatch") == "*",
        expected_etag=text("ifMatch") or None,
    )


def _earlier(
    sent: HttpRequest, view: View, north: North, requests: Sequence[Request]
) -> Plan | None:
    try:
        return earlier_batch(sent, view, north, requests)
    except NotFound:
        return None  # a path that leads nowhere: planning says which request has it


def _brief(request: Request, status: int, row: Stored | None) -> dict[str, Json]:
    if row is None:
        return {"status": status, "resourceRef": request.path}
    return {
        "status": status,
        "resourceRef": row.ref,
        "instanceId": row.instance_id,
        "etag": etag_text(row.etag),
    }


BATCH = object_of(
    {
        "requests": {
            "type": "array",
            "maxItems": MOST_REQUESTS,
            "items": object_of(
                {
                    "method": {"type": "string", "enum": ["PUT", "DELETE"], "default": "PUT"},
                    "resourceRef": TEXT,
                    "body": {"type": "object", "description": "Of a PUT: the resource."},
                    "ifMatch": TEXT,
                    "ifNoneMatch": {"type": "string", "enum": ["*"]},
                },
                "resourceRef",
            ),
        }
    },
    "requests",
)
"""The schema of a batch's body."""
ERRORS = (*OF_A_BODY, "404", "409", "412")
"""What a batch may be answered."""
_ANSWER = object_of(
    {
        "responses": {
            "type": "array",
            "items": object_of(
                {
                    "status": {"type": "integer"},
                    "resourceRef": TEXT,
                    "instanceId": TEXT,
                    "etag": TEXT,
                },
                *("status", "resourceRef"),
            ),
        }
    },
    "responses",
)

ROUTES = (
    Route(
        method="POST",
        path=f"{VERSIONED}/batch",
        handler=answer_batch,
        summary="Many writes as one transaction, each seeing those before it: all or nothing.",
        body=BATCH,
        answers=answer(_ANSWER),
        errors=ERRORS,
        offers=("batch",),
    ),
)
