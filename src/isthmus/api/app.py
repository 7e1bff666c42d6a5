# SPDX-License-Identifier: Apache-2.0
"""The application: where each path leads, and what every answer carries.

``/networking/discovery``, ``/networking/<version>/<resource>``, and our own: ``batch``,
``isthmus/status``, ``isthmus/explain/ports/<id>``, ``isthmus/probes``,
``/networking/openapi.json``, ``/healthz``, ``/metrics``. Paths match in any letter case, with or
without a slash at their end.
"""

from __future__ import annotations

import logging
import time

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from isthmus.api import extensions
from isthmus.api.doors import Insight, North
from isthmus.api.exchange import Exchange, NotAllowed
from isthmus.api.replies import Reply, error_reply, json_reply, send_reply, text_reply
from isthmus.api.resources import Resources
from isthmus.errors import Broken, IsthmusError, NotFound
from isthmus.intent import openapi
from isthmus.intent.render import States
from isthmus.intent.versions import parse_version
from isthmus.store.identifiers import RandomIds

log = logging.getLogger(__name__)

_METRICS_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


def create_app(
    north: North,
    *,
    states: States,
    insight: Insight,
    software_version: str,
    registry: CollectorRegistry = REGISTRY,
) -> ASGIApp:
    """The REST API over a north store, as an ASGI application."""
    return App(north, states, insight, software_version, registry)


class App:
    """See `create_app`."""

    def __init__(
        self,
        north: North,
        states: States,
        insight: Insight,
        software_version: str,
        registry: CollectorRegistry,
    ) -> None:
        self._north = north
        self._resources = Resources(north, states)
        self._insight = insight
        self._version = software_version
        self._ids = RandomIds()
        self._registry = registry
        self._seconds = Histogram(
            "isthmus_request_seconds",
            "Time from a request's head to its answer.",
            ["method", "status"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=registry,
        )
        self._faults = Counter(
            "isthmus_faults_total", "Requests that failed by a fault of ours.", registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        exchange = Exchange.of(scope, self._ids.guid())
        try:
            if exchange.method not in ("GET", "HEAD", "DELETE"):
                await exchange.read(receive)
            reply = await self._route(exchange)
        except IsthmusError as error:
            reply = self._refusal(exchange, error)
        except Exception as error:  # the one place where any fault becomes an answer
            log.exception("request=failed method=%s path=%s", exchange.method, exchange.path)
            self._faults.inc()
            fault = Broken(f"a fault of the controller: {type(error).__name__}; its log has more")
            reply = self._refusal(exchange, fault)
        await send_reply(send, self._dressed(exchange, reply))
        self._seconds.labels(exchange.method, reply.status).observe(time.perf_counter() - started)
        if exchange.method in ("PUT", "DELETE", "POST"):
            log.info(
                "%s %s status=%d ms=%.1f request=%s",
                *(exchange.method, exchange.path, reply.status),
                *((time.perf_counter() - started) * 1e3, exchange.operation_id),
            )

    async def _route(self, exchange: Exchange) -> Reply:
        path = exchange.path.rstrip("/") or "/"
        first, _, rest = path.lstrip("/").partition("/")
        match first.lower():
            case "networking":
                return await self._networking(exchange, rest)
            case "healthz" if not rest:
                connected = self._north.connected
                return text_reply(200 if connected else 503, "ok" if connected else "no store")
            case "metrics" if not rest:
                return Reply(200, generate_latest(self._registry), (_METRICS_TYPE,))
        raise NotFound(
            f"there is nothing at {path}: resources are at /networking/v1/..., what is offered is"
            " told by /networking/discovery",
            target=path,
        )

    async def _networking(self, exchange: Exchange, rest: str) -> Reply:
        token, _, path = rest.partition("/")
        if token.lower() == "discovery" or (not token and not path):
            _only(exchange, "GET")
            return json_reply(200, extensions.discovery(self._version))
        if token.lower() == "openapi.json":
            _only(exchange, "GET")
            return json_reply(200, openapi.document(self._version, paths=extensions.PATHS))
        version = parse_version(token)
        words = path.lower().split("/")
        match words:
            case ["discovery"]:
                return json_reply(200, extensions.discovery(self._version))
            case ["batch"]:
                return await self._resources.batch(exchange, version)
            case ["operations", name]:
                _only(exchange, "GET")
                return self._resources.operation(name)
            case ["operationresults", name]:
                _only(exchange, "GET")
                return self._resources.operation_result(name, version)
            case ["isthmus", *_]:
                return await extensions.answer(exchange, self._insight, path.split("/")[1:])
        if not self._north.connected and exchange.method in ("GET", "HEAD"):
            log.debug("north=away path=%s", path)  # what was read last is better than nothing
        return await self._resources.answer(exchange, version, f"/{path}")

    def _refusal(self, exchange: Exchange, error: IsthmusError) -> Reply:
        reply = error_reply(error)
        if isinstance(error, NotAllowed):
            allow = (b"allow", error.allowed.encode())
            reply = reply._replace(headers=(*reply.headers, allow))
        if reply.status >= 500:
            log.warning("refused path=%s status=%d %s", exchange.path, reply.status, error.message)
        return reply

    def _dressed(self, exchange: Exchange, reply: Reply) -> Reply:
        """MS-NCNBI section A.3: headers of every answer."""
        headers = [*reply.headers, (b"x-ms-request-id", exchange.operation_id.encode())]
        wants_echo = exchange.header(b"x-ms-return-client-request-id").lower() != "false"
        if exchange.request_id and wants_echo:
            headers.append((b"x-ms-client-request-id", exchange.request_id.encode("latin-1")))
        return reply._replace(headers=tuple(headers))


def _only(exchange: Exchange, method: str) -> None:
    if exchange.method != method and not (method == "GET" and exchange.method == "HEAD"):
        raise NotAllowed(exchange.method, exchange.path, method)
