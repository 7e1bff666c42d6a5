# SPDX-License-Identifier: Apache-2.0
"""GET, PUT and DELETE of resources: MS-NCNBI sections A.2 to A.6.

Requests are answered when they are stored, so nothing is ever Updating. Reading goes on while the
store is away: what was read last is better than nothing, and ``/healthz`` tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from isthmus.api.doors import North
from isthmus.api.exchange import Exchange, NotAllowed
from isthmus.api.operations import found_operation
from isthmus.api.replies import JSON_TYPE, Header, Reply, encode, json_reply
from isthmus.api.retries import earlier_delete, earlier_put
from isthmus.api.turns import in_turns
from isthmus.errors import NotFound, Unavailable
from isthmus.intent.model import Ids, Plan, Stored, View, written_by
from isthmus.intent.paths import Target, find, listed, resolve
from isthmus.intent.planning import Put, plan_delete, plan_put
from isthmus.intent.render import States, etag_text, render
from isthmus.intent.strict import refuse_other_addresses, refuse_unknown
from isthmus.intent.versions import Version


class Resources:
    """The resources of one north store."""

    def __init__(self, north: North, states: States) -> None:
        self._north = north
        self._states = states

    async def answer(self, exchange: Exchange, version: Version, path: str) -> Reply:
        """Any request to ``/networking/<version>/<path>``. Raises IsthmusError."""
        target = resolve(path, version)
        match exchange.method:
            case "GET" | "HEAD" if target.is_collection:
                return await self._list(target, version)
            case "GET" | "HEAD":
                return self._get(target, version)
            case "PUT" if not target.is_collection:
                return await self._put(exchange, version, path, target)
            case "DELETE" if not (target.is_collection or target.kind.singleton):
                return await self._delete(exchange, version, path, target)
        raise NotAllowed(exchange.method, path, _allowed(target))

    def _get(self, target: Target, version: Version) -> Reply:
        row = find(self._north.view, target)
        if row is None:
            raise NotFound(f"{target.ref} does not exist", target=target.ref)
        return self._shown(200, row, version)

    async def _list(self, target: Target, version: Version) -> Reply:
        """A collection is never paginated, as on Windows. Each of its resources is shown as it is
        at one moment, not all at the same one."""
        view = self._north.view
        shown: list[msgspec.Raw] = []
        async for row in in_turns(listed(view, target)):
            if view.get(row.key) is not None:
                body = render(row, view, version=version, states=self._states)
                shown.append(msgspec.Raw(encode(body)))
        return json_reply(200, {"value": shown, "nextLink": ""})

    async def _put(self, exchange: Exchange, version: Version, path: str, target: Target) -> Reply:
        body, request_id = exchange.json(), exchange.write_id()
        create_only, expected_etag = exchange.create_only, exchange.if_match
        if exchange.is_strict:
            refuse_unknown(target.kind, body, version)

        def plan(view: View, ids: Ids) -> Plan:
            earlier = earlier_put(exchange, view, target.key)
            planned = earlier or plan_put(
                view,
                ids,
                path,
                body,
                create_only=create_only,
                expected_etag=expected_etag,
                request_id=request_id,
                operation_id=exchange.operation_id,
                version=version,
            )
            if exchange.is_strict:
                refuse_other_addresses(written_by(planned), Put(path=path, body=body), version)
            return planned

        done = await self._north.write(
            plan, request_id=request_id, operation_id=exchange.operation_id
        )
        return self._shown(done.status, self._written(done), version)

    async def _delete(
        self, exchange: Exchange, version: Version, path: str, target: Target
    ) -> Reply:
        request_id, expected_etag = exchange.write_id(), exchange.if_match

        def plan(view: View, ids: Ids) -> Plan:
            return earlier_delete(exchange, view, self._north, target.key) or plan_delete(
                view,
                ids,
                path,
                expected_etag=expected_etag,
                version=version,
                places=self._states,
            )

        done = await self._north.write(
            plan, request_id=request_id, operation_id=exchange.operation_id
        )
        return Reply(done.status)

    def _written(self, plan: Plan) -> Stored:
        """The row as the plan wrote it, even if it has changed again since; of a retry's plan,
        which writes nothing, the row as it is."""
        for row in (*plan.inserts, *plan.updates, *plan.replaces):
            if row.key == plan.ref:
                return row
        stored = self._north.view.get(plan.ref)
        if stored is None:
            raise Unavailable(f"{plan.ref} was deleted at the same moment: send it again")
        return stored

    def _shown(self, status: int, row: Stored, version: Version) -> Reply:
        body = render(row, self._north.view, version=version, states=self._states)
        etag: Header = (b"etag", etag_text(row.etag).encode())
        return Reply(status, encode(body), (JSON_TYPE, etag))

    def operation_result(self, operation_id: str, version: Version) -> Reply:
        """``operationResults/<id>``: the answer that the write was given. Raises NotFound."""
        found = found_operation(self._north, operation_id)
        if isinstance(found, Sequence):
            return self._shown(found[0].status, found[0], version)
        return Reply(204)


def _allowed(target: Target) -> str:
    if target.is_collection:
        return "GET, HEAD"
    return "GET, HEAD, PUT" if target.kind.singleton else "GET, HEAD, PUT, DELETE"
