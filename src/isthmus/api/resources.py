# SPDX-License-Identifier: Apache-2.0
"""GET, PUT and DELETE of resources, and the batch: MS-NCNBI sections A.2 to A.6.

Requests are answered when they are stored, so nothing is ever Updating. A write that carries the
client request id of the last write of the same resource is its retry, and is answered as that was,
by whichever controller it reaches: the id is stored with the resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.api.doors import North
from isthmus.api.exchange import Exchange, NotAllowed
from isthmus.api.replies import JSON_TYPE, Header, Reply, encode, json_reply
from isthmus.errors import Invalid, NotFound
from isthmus.intent.model import Json, Plan, Stored
from isthmus.intent.paths import find, listed, resolve
from isthmus.intent.planning import Delete, Put, Request, plan_batch, plan_delete, plan_put
from isthmus.intent.render import States, etag_text, render, render_collection
from isthmus.intent.versions import Version

MOST_REQUESTS = 1000
"""Of a batch: it is one transaction, and others wait while it commits."""


class Resources:
    """The resources of one north store."""

    def __init__(self, north: North, states: States) -> None:
        self._north = north
        self._states = states

    async def answer(self, exchange: Exchange, version: Version, path: str) -> Reply:
        """Any request to ``/networking/<version>/<path>``. Raises IsthmusError."""
        match exchange.method:
            case "GET" | "HEAD":
                return self._get(version, path)
            case "PUT":
                return await self._put(exchange, version, path)
            case "DELETE":
                return await self._delete(exchange, version, path)
        raise NotAllowed(exchange.method, path, "GET, PUT, DELETE")

    def _get(self, version: Version, path: str) -> Reply:
        target, view = resolve(path), self._north.view
        if target.is_collection:
            rows = listed(view, target)
            return json_reply(
                200, render_collection(rows, view, version=version, states=self._states)
            )
        row = find(view, target)
        if row is None:
            raise NotFound(f"{target.ref} does not exist", target=target.ref)
        return self._shown(200, row, version)

    async def _put(self, exchange: Exchange, version: Version, path: str) -> Reply:
        target = resolve(path)
        body = exchange.json()
        before = self._north.view.get(target.key)
        if exchange.request_id and before is not None:
            is_retry = before.request_id == exchange.request_id
            if is_retry:
                return self._shown(before.status, before, version)
        create_only = exchange.create_only
        plan = await self._north.write(
            lambda view, ids: plan_put(
                view,
                ids,
                path,
                body,
                create_only=create_only,
                expected_etag=exchange.if_match,
                request_id=exchange.request_id,
                operation_id=exchange.operation_id,
                version=version,
            ),
            request_id=exchange.request_id,
            operation_id=exchange.operation_id,
        )
        return self._shown(plan.status, self._written(plan, plan.ref), version)

    async def _delete(self, exchange: Exchange, version: Version, path: str) -> Reply:
        target = resolve(path)
        if exchange.request_id and self._north.view.get(target.key) is None:
            earlier = self._north.deletion(exchange.request_id)
            if earlier is not None and target.key.startswith(earlier.key):
                return Reply(earlier.status)
        plan = await self._north.write(
            lambda view, ids: plan_delete(view, ids, path, expected_etag=exchange.if_match),
            request_id=exchange.request_id,
            operation_id=exchange.operation_id,
        )
        return Reply(plan.status)

    async def batch(self, exchange: Exchange, version: Version) -> Reply:
        """The extension ``batch``: many writes as one, all or nothing. Raises IsthmusError, whose
        target begins with the index of the request that is at fault."""
        if exchange.method != "POST":
            raise NotAllowed(exchange.method, "/batch", "POST")
        requests = _requests(exchange)
        earlier = self._replayed(exchange, requests)
        if earlier is not None:
            return earlier
        plan = await self._north.write(
            lambda view, ids: plan_batch(view, ids, requests, version=version),
            request_id=exchange.request_id,
            operation_id=exchange.operation_id,
        )
        answers: list[Json] = []
        for request, outcome in zip(requests, plan.outcomes, strict=True):
            row = self._written(plan, outcome.ref) if outcome.ref else None
            answers.append(_brief(request, outcome.status, row))
        return json_reply(200, {"responses": answers})

    def _replayed(self, exchange: Exchange, requests: Sequence[Request]) -> Reply | None:
        """The answer of an earlier batch of the same id, if every write of it still stands."""
        if not exchange.request_id:
            return None
        answers: list[Json] = []
        for request in requests:
            row = self._north.view.get(resolve(request.path).key)
            if isinstance(request, Put):
                if row is None or row.request_id != exchange.request_id:
                    return None
                answers.append(_brief(request, row.status, row))
            elif row is not None:
                return None
            else:
                answers.append(_brief(request, 200, None))
        if not any(isinstance(request, Put) for request in requests):
            return None
        return json_reply(200, {"responses": answers})

    def _written(self, plan: Plan, key: str) -> Stored:
        """The row as this plan wrote it, even if it has changed again since."""
        row = self._north.view.get(key)
        planned = next(r for r in (*plan.inserts, *plan.updates, *plan.replaces) if r.key == key)
        return row if row is not None and row.etag == planned.etag else planned

    def _shown(self, status: int, row: Stored, version: Version) -> Reply:
        body = render(row, self._north.view, version=version, states=self._states)
        etag: Header = (b"etag", etag_text(row.etag).encode())
        return Reply(status, encode(body), (JSON_TYPE, etag))

    # -- operations --------------------------------------------------------------------------------

    def operation(self, operation_id: str) -> Reply:
        """``operations/<id>``: how a write ended; it had ended when it was answered."""
        self._found(operation_id)
        return json_reply(200, {"status": "Succeeded"})

    def operation_result(self, operation_id: str, version: Version) -> Reply:
        """``operationResults/<id>``: the answer that the write was given."""
        found = self._found(operation_id)
        if isinstance(found, Sequence):
            return self._shown(found[0].status, found[0], version)
        return Reply(204)

    def _found(self, operation_id: str) -> object:
        found = self._north.operation(operation_id.lower())
        if found is None:
            raise NotFound(
                f"there is no operation {operation_id}: it is not known any more once its resource"
                " was written again, and a refused one was never stored",
                target=operation_id,
            )
        return found


def _requests(exchange: Exchange) -> list[Request]:
    body = exchange.json()
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
    return [_request(index, entry, exchange) for index, entry in enumerate(entries)]


def _request(index: int, entry: Json, exchange: Exchange) -> Request:
    def text(name: str) -> str:
        value = entry.get(name, "") if isinstance(entry, Mapping) else ""
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
    return Put(
        path=text("resourceRef"),
        body=entry.get("body"),
        create_only=text("ifNoneMatch") == "*",
        expected_etag=text("ifMatch") or None,
        request_id=exchange.request_id,
        operation_id=exchange.operation_id,
    )


def _brief(request: Request, status: int, row: Stored | None) -> dict[str, Json]:
    if row is None:
        return {"status": status, "resourceRef": request.path}
    return {
        "status": status,
        "resourceRef": row.ref,
        "instanceId": row.instance_id,
        "etag": etag_text(row.etag),
    }
