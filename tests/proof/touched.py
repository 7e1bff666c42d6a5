# SPDX-License-Identifier: Apache-2.0
"""Which ports a change of policy is about, whatever became of the flows."""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.policy.rows import (
    Claim,
    Port,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from tests.proof.clouds import Deployment
from tests.proof.scope import Ports


def tenants(rows: Iterable[Row]) -> dict[str, str]:
    """Of each segment the router, or the segment itself if it has none."""
    rows = list(rows)
    found = {row.id: row.id for row in rows if isinstance(row, Segment)}
    return found | {row.segment: row.router for row in rows if isinstance(row, RouterPort)}


def touched(before: Deployment, after: Deployment) -> Ports | None:
    """What the rows are about in which two clouds differ; None for all."""
    old, new = ({(type(row), row.key): row for row in one.rows()} for one in (before, after))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    found: Ports = frozenset()
    for cloud, rows in ((before, old), (after, new)):
        tenant_of = tenants(rows.values())
        for key in changed:
            its = _of(old[key] if key in old else new[key], cloud, tenant_of)
            if its is None:
                return None
            found |= its
    return found


def _of(row: Row, cloud: Deployment, tenant_of: dict[str, str]) -> Ports | None:
    """One that comes or goes is about all of its tenant."""
    match row:
        case Port(id=name, segment=segment):
            if all(port.id != name for port in cloud.ports):
                return _of_tenant(segment, cloud, tenant_of)
            return frozenset((name,))
        case Claim(port=name):
            return frozenset((name,))
        case RuleSet(id=name) | Rule(rule_set=name):
            return frozenset(
                port.id
                for port in cloud.ports
                if any(entry.split(" ")[2] == name for entry in port.rule_sets)
            )
        case Segment(id=name) | Subnet(segment=name) | RouterPort(segment=name) | Router(id=name):
            return _of_tenant(name, cloud, tenant_of)
    return None


def _of_tenant(name: str, cloud: Deployment, tenant_of: dict[str, str]) -> Ports:
    """`name` is a segment's or a router's."""
    tenant = tenant_of.get(name, name)
    return frozenset(port.id for port in cloud.ports if tenant_of.get(port.segment) == tenant)
