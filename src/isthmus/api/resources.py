# SPDX-License-Identifier: Apache-2.0
"""GET, PUT and DELETE of resources: MS-NCNBI sections A.2 to A.6. Their routes follow from the
registry of kinds.

Requests are answered when they are stored, so nothing is ever Updating. Reading goes on while the
store is away: what was read last is better than nothing, and ``/healthz`` tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from isthmus.api.http.replies import JSON_TYPE, Header, Reply, encode, json_reply
from isthmus.api.retries import earlier_delete, earlier_put
from isthmus.api.routes import VERSIONED, Call, Route, Services
from isthmus.api.schemas import OF_A_BODY, TEXT, described, list_of, object_of
from isthmus.api.turns import in_turns
from isthmus.errors import NotFound, Unavailable
from isthmus.intent.kind import Kind
from isthmus.intent.model import Ids, Json, JsonObject, Plan, Stored, View, written_by
from isthmus.intent.paths import Target, find, listed
from isthmus.intent.planning import Put, plan_delete, plan_put
from isthmus.intent.registry import KINDS, REGISTRY, Registry
from isthmus.intent.render import etag_text, render
from isthmus.intent.strict import refuse_other_addresses, refuse_unknown
from isthmus.intent.versions import Version


class Place(NamedTuple):
    """Where the resources of a kind are, or their collections."""

    kind: Kind
    form: str
    """Their references, with ``{}`` for each id."""

    def target(self, call: Call) -> Target:
        ids = call.values[1:]  # behind the version
        is_collection = not self.kind.singleton and len(ids) < self.kind.depth
        resource_id = "" if is_collection else self.kind.singleton or ids[-1]
        return Target(self.kind, self.form.format(*ids), resource_id)


async def get_resource(place: Place, services: Services, call: Call) -> Reply:
    target = place.target(call)
    row = find(services.north.view, target)
    if row is None:
        raise NotFound(f"{target.ref} does not exist", target=target.ref)
    return shown(services, 200, row, call.version)


async def list_resources(place: Place, services: Services, call: Call) -> Reply:
    """A collection is never paginated, as on Windows. Each of its resources is shown as it is at
    one moment, not all at the same one."""
    view = services.north.view
    found: list[msgspec.Raw] = []
    async for row in in_turns(listed(view, place.target(call))):
        if view.get(row.key) is not None:
            body = render(row, view, version=call.version, states=services.states)
            found.append(msgspec.Raw(encode(body)))
    return json_reply(200, {"value": found, "nextLink": ""})


async def put_resource(place: Place, services: Services, call: Call) -> Reply:
    target, request, version = place.target(call), call.request, call.version
    body, request_id = request.json(), request.write_id()
    create_only, expected_etag = request.create_only, request.if_match
    if request.is_strict:
        refuse_unknown(target.kind, body, version)

    def plan(view: View, ids: Ids) -> Plan:
        earlier = earlier_put(request, view, target.key)
        planned = earlier or plan_put(
            view,
            ids,
            target.ref,
            body,
            create_only=create_only,
            expected_etag=expected_etag,
            request_id=request_id,
            operation_id=request.operation_id,
            author=request.identity.name,
            version=version,
        )
        if request.is_strict:
            refuse_other_addresses(written_by(planned), Put(path=target.ref, body=body), version)
        return planned

    done = await services.north.write(
        plan, request_id=request_id, operation_id=request.operation_id
    )
    return shown(services, done.status, _written(services, done), version)


async def delete_resource(place: Place, services: Services, call: Call) -> Reply:
    target, request, version = place.target(call), call.request, call.version
    request_id, expected_etag = request.write_id(), request.if_match

    def plan(view: View, ids: Ids) -> Plan:
        return earlier_delete(request, view, services.north, target.key) or plan_delete(
            view,
            ids,
            target.ref,
            expected_etag=expected_etag,
            version=version,
            places=services.states,
        )

    done = await services.north.write(
        plan, request_id=request_id, operation_id=request.operation_id
    )
    return Reply(done.status)


def _written(services: Services, plan: Plan) -> Stored:
    """The row as the plan wrote it, even if it has changed again since; of a retry's plan, which
    writes nothing, the row as it is."""
    for row in (*plan.inserts, *plan.updates, *plan.replaces):
        if row.key == plan.ref:
            return row
    stored = services.north.view.get(plan.ref)
    if stored is None:
        raise Unavailable(f"{plan.ref} was deleted at the same moment: send it again")
    return stored


def shown(services: Services, status: int, row: Stored, version: Version) -> Reply:
    """A resource as an answer."""
    body = render(row, services.north.view, version=version, states=services.states)
    etag: Header = (b"etag", etag_text(row.etag).encode())
    return Reply(status, encode(body), (JSON_TYPE, etag))


# -- routes ----------------------------------------------------------------------------------------


def _header(name: str, description: str) -> JsonObject:
    return {"name": name, "in": "header", "schema": TEXT, "description": description}


_MATCH = _header("If-Match", "An etag, or *: only if it exists and is this one.")
_OF_A_PUT = (
    _MATCH,
    _header("If-None-Match", "*: only if it does not exist."),
    _header("x-ms-client-request-id", "The same again is answered as the first."),
)


def routes_of(kind: Kind, registry: Registry = REGISTRY) -> Iterator[Route]:
    """Of its collection and of one of it."""
    path, since = VERSIONED, kind.since
    words = kind.name.split("/")
    for depth, word in enumerate(words, 1):
        since = max(since, registry.kinds["/".join(words[:depth])].since)
        identifier = kind.singleton or f"{{{word.removesuffix('s')}Id}}"
        path += f"/{word}/{identifier}"
    collection, name = path.rpartition("/")[0], kind.name.replace("/", "_")
    form = re.sub("{.*?}", "{}", path.removeprefix(VERSIONED))
    place = Place(kind, form)
    one: Json = {"$ref": f"#/components/schemas/{kind.model.__name__}"}
    found = {"200": described("The resource.", one)}
    # A singleton's collection stands for the singleton.
    aliases = (collection,) if kind.singleton else ()
    if not kind.singleton:
        listing = object_of({"value": list_of(one), "nextLink": TEXT}, "value", "nextLink")
        yield Route(
            method="GET",
            path=collection,
            handler=partial(list_resources, Place(kind, form.rpartition("/")[0])),
            summary=f"List {kind.name}",
            answers={"200": described("All of them.", listing)},
            identifier=f"list_{name}",
            since=since,
        )
    yield Route(
        method="GET",
        path=path,
        handler=partial(get_resource, place),
        summary=f"Read one of {kind.name}",
        answers=found,
        identifier=f"get_{name}",
        since=since,
        aliases=aliases,
    )
    yield Route(
        method="PUT",
        path=path,
        handler=partial(put_resource, place),
        summary=f"Create or fully replace one of {kind.name}, all below it included",
        parameters=_OF_A_PUT,
        body=one,
        answers={**found, "201": described("Created.", one)},
        errors=(*OF_A_BODY, "404", "409", "412"),
        identifier=f"put_{name}",
        since=since,
        aliases=aliases,
    )
    if not kind.singleton:
        yield Route(
            method="DELETE",
            path=path,
            handler=partial(delete_resource, place),
            summary=f"Delete one of {kind.name}, with all below it",
            parameters=(_MATCH,),
            answers={
                "200": {"description": "Deleted."},
                "204": {"description": "It was not there."},
            },
            errors=("400", "404", "409", "412"),
            identifier=f"delete_{name}",
            since=since,
        )


ROUTES = tuple(route for kind in KINDS.values() for route in routes_of(kind))
