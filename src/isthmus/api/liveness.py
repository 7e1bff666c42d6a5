# SPDX-License-Identifier: Apache-2.0
"""What machines ask of the controller's process: ``/healthz`` and ``/metrics``."""

from __future__ import annotations

from prometheus_client import generate_latest

from isthmus.api.http.access import NO_WAY
from isthmus.api.http.replies import Reply, text_reply
from isthmus.api.routes import Call, Route, Services
from isthmus.api.schemas import text

_METRICS_TYPE = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


async def healthz(services: Services, _call: Call) -> Reply:
    # Names alone: whoever asks need not be known.
    ailing = list(services.operations.ailing()) or ["north"] * (not services.north.connected)
    if ailing:
        return text_reply(503, f"no store: {', '.join(ailing)}")
    return text_reply(200, "ok")


async def metrics(services: Services, _call: Call) -> Reply:
    return Reply(200, generate_latest(services.registry), (_METRICS_TYPE,))


ROUTES = (
    Route(
        method="GET",
        path="/healthz",
        handler=healthz,
        summary="200 while the stores can be reached, else 503.",
        answers=text("200", "503"),
        errors=(),
        ways=NO_WAY,  # probes of load balancers ask, and it tells nothing but yes or no
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="In the text format of Prometheus.",
        answers=text("200"),
        errors=(),
    ),
)
