# SPDX-License-Identifier: Apache-2.0
"""The application: finds the route of each request, and what every answer carries."""

from __future__ import annotations

import logging
import time
from asyncio import Semaphore
from collections.abc import Collection, Iterable
from urllib.parse import quote

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from starlette.types import Receive, Scope, Send

from isthmus.api.contract import ROUTES
from isthmus.api.http.access import EVERY_WAY, How
from isthmus.api.http.replies import Reply, error_reply, send_reply
from isthmus.api.http.request import MOST_LARGE, HttpRequest, NotAllowed
from isthmus.api.interfaces import North, Operations
from isthmus.api.routes import Call, Match, Route, Services, Table
from isthmus.errors import Broken, IsthmusError, NotFound
from isthmus.intent.paths import resolve
from isthmus.intent.registry import REGISTRY as KINDS
from isthmus.intent.render import States
from isthmus.intent.versions import LATEST, parse_version
from isthmus.store.identifiers import RandomIds

log = logging.getLogger(__name__)

MATCH = "isthmus.match"
"""Key of the `Match` of its path in a scope."""

_METHODS = frozenset(("GET", "HEAD", "PUT", "DELETE", "POST"))
"""Those that metrics tell apart: a client may send any word as a method."""


def create_app(
    north: North,
    *,
    states: States,
    operations: Operations,
    software_version: str,
    registry: CollectorRegistry = REGISTRY,
    routes: Iterable[Route] = ROUTES,
) -> App:
    """The REST API over a north store, as an ASGI application."""
    table = Table(routes)
    services = Services(north, states, operations, software_version, registry, table.routes)
    return App(services, table)


class App:
    """See `create_app`. It is an `http.authentication.Application`."""

    def __init__(self, services: Services, table: Table) -> None:
        self._services = services
        self._table = table
        self._ids = RandomIds()
        self._large = Semaphore(MOST_LARGE)
        self._seconds = Histogram(
            "isthmus_request_seconds",
            "Time from a request's head to its answer.",
            ["method", "status"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=services.registry,
        )
        self._faults = Counter(
            "isthmus_faults_total",
            "Requests that failed by a fault of ours.",
            registry=services.registry,
        )

    def ways(self, scope: Scope) -> Collection[How]:
        """By which ways the sender of a request may be known. What is nowhere is told to those only
        who may know what is somewhere."""
        route = self._match(scope).route(scope["method"])
        return EVERY_WAY if route is None else route.ways

    def _match(self, scope: Scope) -> Match:
        found: Match | None = scope.get(MATCH)
        if found is None:
            found = scope[MATCH] = self._table.find(scope["path"])
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        request = HttpRequest.of(scope, self._ids.guid())
        try:
            if request.method in ("PUT", "POST"):
                await request.read(receive, self._large)
            reply = await self._answer(request, self._match(scope))
        except IsthmusError as error:
            reply = self._refusal(request, error)
        except Exception as error:  # the one place where any fault becomes an answer
            log.exception("api=fault method=%s path=%s", request.method, request.shown_path)
            self._faults.inc()
            fault = Broken(f"a fault of the controller: {type(error).__name__}; its log has more")
            reply = self._refusal(request, fault)
        finally:
            request.done()
        await send_reply(send, request.dressed(reply), receive)
        self._account(request, reply.status, time.perf_counter() - started)

    def _account(self, request: HttpRequest, status: int, took_s: float) -> None:
        method = request.method if request.method in _METHODS else "other"
        self._seconds.labels(method, status).observe(took_s)
        if method in ("PUT", "DELETE", "POST"):
            who = request.identity
            by = f" by={quote(who.name, safe='@')} how={who.how}" if who.name else ""
            log.info(
                "api=write method=%s path=%s status=%d ms=%.1f operation=%s%s",
                *(method, request.shown_path, status, took_s * 1e3, request.operation_id, by),
            )

    async def _answer(self, request: HttpRequest, match: Match) -> Reply:
        if not match.routes:
            raise self._nothing(request.path)
        route = match.route(request.method)
        version = LATEST
        some = route or next(iter(match.routes.values()))
        if some.is_versioned:
            version = parse_version(match.values[0])
            if some.since > version:
                raise NotFound(
                    f"{request.path} came with API version {some.since}, and the path says"
                    f" {version}: ask at /networking/{some.since}.",
                    target=request.path,
                )
        if route is None:
            path = _below(request.path) if some.is_versioned else request.path
            raise NotAllowed(request.method, path, match.allowed)
        return await route.handler(self._services, Call(request, route, match.values, version))

    def _nothing(self, path: str) -> NotFound:
        """Why nothing is at a path. Raises the same for what no version of the API has."""
        first, *parts = path.strip("/").split("/")
        if first.lower() != "networking" or not parts:
            return NotFound(
                f"there is nothing at {path}: resources are at /networking/v1/..., what is offered"
                " is told by /networking/discovery",
                target=path,
            )
        version = parse_version(parts[0])
        word = parts[1] if len(parts) > 1 else ""
        places = self._table.places(word)
        if places and word.lower() not in KINDS.root_by_word:
            verb = "are" if len(places) > 1 else "is"
            return NotFound(
                f"there is nothing at {path}: below {word}/ {verb} {', '.join(places)}",
                target=path,
            )
        target = resolve(_below(path), version)
        return NotFound(f"{target.ref} does not exist", target=target.ref)

    def _refusal(self, request: HttpRequest, error: IsthmusError) -> Reply:
        reply = error_reply(error)
        if isinstance(error, NotAllowed):
            allow = (b"allow", error.allowed.encode())
            reply = reply._replace(headers=(*reply.headers, allow))
        if reply.status >= 500:
            log.warning(
                "api=unserved method=%s path=%s status=%d code=%s reason=%r",
                *(request.method, request.shown_path, reply.status, error.code, error.message),
            )
        return reply


def _below(path: str) -> str:
    """What of a path is below ``/networking/<version>``."""
    return "/" + "/".join(path.strip("/").split("/", 2)[2:])
