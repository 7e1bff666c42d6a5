# SPDX-License-Identifier: Apache-2.0
"""The application: where each path leads, and what every answer carries.

``/networking/discovery``, ``/networking/<version>/<resource>``, ``operations``,
``operationResults``, ``internalResourceInstances``, ``monitoring``, ``diagnostics``, and our own:
``batch``,
``isthmus/...`` (see `extensions`),
``/networking/openapi.json``, ``/healthz``, ``/metrics``. Paths match in any letter case, with or
without a slash at their end.
"""

from __future__ import annotations

import logging
import time
from asyncio import Semaphore
from functools import cached_property

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from isthmus.api import diagnostics, extensions, operations
from isthmus.api.batch import answer_batch
from isthmus.api.doors import Insight, North
from isthmus.api.exchange import MOST_LARGE, Exchange, NotAllowed
from isthmus.api.paths import PATHS
from isthmus.api.replies import Reply, error_reply, json_reply, send_reply, text_reply
from isthmus.api.resources import Resources
from isthmus.api.statistics import statistics
from isthmus.errors import Broken, IsthmusError, NotFound
from isthmus.intent import openapi
from isthmus.intent.render import States
from isthmus.intent.versions import parse_version
from isthmus.store.identifiers import RandomIds

log = logging.getLogger(__name__)

_BELOW = {
    "monitoring": "networkControllerStatistics",
    "operations": "an operation by its x-ms-request-id",
    "operationresults": "the result of an operation, by its x-ms-request-id",
}
_METRICS_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
_METHODS = frozenset(("GET", "HEAD", "PUT", "DELETE", "POST"))
"""Those that metrics tell apart: a client may send any word as a method."""


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
        self._states = states
        self._resources = Resources(north, states)
        self._insight = insight
        self._version = software_version
        self._ids = RandomIds()
        self._registry = registry
        self._large = Semaphore(MOST_LARGE)
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
            if exchange.method in ("PUT", "POST"):
                await exchange.read(receive, self._large)
            reply = await self._route(exchange)
        except IsthmusError as error:
            reply = self._refusal(exchange, error)
        except Exception as error:  # the one place where any fault becomes an answer
            log.exception("api=fault method=%s path=%s", exchange.method, exchange.shown_path)
            self._faults.inc()
            fault = Broken(f"a fault of the controller: {type(error).__name__}; its log has more")
            reply = self._refusal(exchange, fault)
        finally:
            exchange.done()
        await send_reply(send, exchange.dressed(reply), receive)
        self._account(exchange, reply.status, time.perf_counter() - started)

    def _account(self, exchange: Exchange, status: int, took_s: float) -> None:
        method = exchange.method if exchange.method in _METHODS else "other"
        self._seconds.labels(method, status).observe(took_s)
        if method in ("PUT", "DELETE", "POST"):
            log.info(
                "api=write method=%s path=%s status=%d ms=%.1f operation=%s",
                *(method, exchange.shown_path, status, took_s * 1e3, exchange.operation_id),
            )

    async def _route(self, exchange: Exchange) -> Reply:
        path = exchange.path.rstrip("/") or "/"
        first, _, rest = path.lstrip("/").partition("/")
        match first.lower():
            case "networking":
                return await self._networking(exchange, rest)
            case "healthz" if not rest:
                exchange.only("GET")
                # Names alone: whoever asks need not be known.
                ailing = list(self._insight.ailing()) or ["north"] * (not self._north.connected)
                if ailing:
                    return text_reply(503, f"no store: {', '.join(ailing)}")
                return text_reply(200, "ok")
            case "metrics" if not rest:
                exchange.only("GET")
                return Reply(200, generate_latest(self._registry), (_METRICS_TYPE,))
        raise NotFound(
            f"there is nothing at {path}: resources are at /networking/v1/..., what is offered is"
            " told by /networking/discovery",
            target=path,
        )

    async def _networking(self, exchange: Exchange, rest: str) -> Reply:
        token, _, path = rest.partition("/")
        if token.lower() in ("", "discovery") and path.lower() in ("", token.lower()):
            exchange.only("GET")
            return json_reply(200, extensions.discovery(self._version))
        if token.lower() == "openapi.json" and not path:
            exchange.only("GET")
            return self._openapi
        version = parse_version(token)
        match path.lower().split("/"):
            case ["discovery"] | ["discovery", "discovery"]:
                exchange.only("GET")
                return json_reply(200, extensions.discovery(self._version))
            case ["batch"]:
                exchange.only("POST")
                return await answer_batch(self._north, self._states, exchange, version)
            case ["operations", name]:
                exchange.only("GET")
                return operations.operation(self._north, name)
            case ["operationresults", name]:
                exchange.only("GET")
                return self._resources.operation_result(name, version)
            case ["internalresourceinstances", guid]:
                exchange.only("GET")
                return operations.instance(self._north, guid, version)
            case ["internalresourceinstances"]:
                exchange.only("GET")
                return await operations.instances(self._north, version)
            case ["monitoring", "networkcontrollerstatistics"]:
                exchange.only("GET")
                view = self._north.view
                return json_reply(200, await statistics(view, self._states, version))
            case ["diagnostics", *words]:
                return await diagnostics.answer(exchange, self._insight, words)
            case ["isthmus", *_]:
                words = path.split("/")[1:]
                return await extensions.answer(exchange, self._insight, words, version)
            case [("monitoring" | "operations" | "operationresults") as word, *_]:
                raise NotFound(
                    f"there is nothing at {exchange.path}: below {path.split('/')[0]}/ is"
                    f" {_BELOW[word]}",
                    target=exchange.path,
                )
        return await self._resources.answer(exchange, version, f"/{path}")

    @cached_property
    def _openapi(self) -> Reply:
        return json_reply(200, openapi.document(self._version, paths=PATHS))

    def _refusal(self, exchange: Exchange, error: IsthmusError) -> Reply:
        reply = error_reply(error)
        if isinstance(error, NotAllowed):
            allow = (b"allow", error.allowed.encode())
            reply = reply._replace(headers=(*reply.headers, allow))
        if reply.status >= 500:
            log.warning(
                "api=unserved method=%s path=%s status=%d code=%s reason=%r",
                *(exchange.method, exchange.shown_path, reply.status, error.code, error.message),
            )
        return reply
