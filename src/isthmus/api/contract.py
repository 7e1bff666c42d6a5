# SPDX-License-Identifier: Apache-2.0
"""The whole contract: every route that this controller serves."""

from __future__ import annotations

from isthmus.api import (
    batch,
    diagnostics,
    discovery,
    instances,
    liveness,
    operations,
    resources,
    statistics,
)
from isthmus.api.extensions import events, explain, flows, hosts, plan, probes, reports, trace
from isthmus.api.routes import Route

ROUTES: tuple[Route, ...] = (
    *resources.ROUTES,
    *discovery.ROUTES,
    *batch.ROUTES,
    *operations.ROUTES,
    *instances.ROUTES,
    *statistics.ROUTES,
    *diagnostics.ROUTES,
    *reports.ROUTES,
    *hosts.ROUTES,
    *explain.ROUTES,
    *plan.ROUTES,
    *trace.ROUTES,
    *events.ROUTES,
    *flows.ROUTES,
    *probes.ROUTES,
    *liveness.ROUTES,
)
