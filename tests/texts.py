# SPDX-License-Identifier: Apache-2.0
"""Values of policy's columns, by their text in the south store: shorter to write, and to read."""

from __future__ import annotations

from typing import Any, TypeVar

from isthmus.policy.rows import Port, Row, Rule, Subnet
from isthmus.policy.values import AddressPair, AppliedSet, HostRoute, PortRange
from isthmus.store import south_rows
from isthmus.wire.ovsdb_rows import column_types

R = TypeVar("R", bound=Row)


def applied(*texts: str) -> tuple[AppliedSet, ...]:
    """``interface * web``."""
    found: tuple[AppliedSet, ...] = _column(Port, "rule_sets", texts)
    return found


def pairs(*texts: str) -> tuple[AddressPair, ...]:
    """``10.0.0.9/32 02:00:00:00:00:01``."""
    found: tuple[AddressPair, ...] = _column(Port, "pairs", texts)
    return found


def routes(*texts: str) -> tuple[HostRoute, ...]:
    """``10.1.0.0/16 10.0.0.1``."""
    found: tuple[HostRoute, ...] = _column(Subnet, "host_routes", texts)
    return found


def ports(text: str) -> PortRange | None:
    """``80-443``; empty for all."""
    found: PortRange | None = column_types(Rule)["source_ports"].read(text)
    return found


def _column(table: type[Row], name: str, texts: tuple[str, ...]) -> Any:
    return column_types(table)[name].read(("set", list(texts)))


def as_stored(table: type[R], /, **columns: object) -> R:
    """As a store gives it, whatever stands in its columns."""
    return south_rows.read(table, columns)
