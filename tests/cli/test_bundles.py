# SPDX-License-Identifier: Apache-2.0
"""The rows of a bundle are those that the store had, whatever their columns hold."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from isthmus.cli.bundles import rows_of
from isthmus.policy.rows import HostStatus, Port, Row, Rule, Subnet
from isthmus.store import south_rows
from tests.texts import as_stored

ROWS: tuple[Row, ...] = (
    as_stored(
        Port,
        id="web",
        segment="red/a",
        mac="02:00:00:00:00:01",
        addresses=("10.0.0.4", "fd00::4"),
        rule_sets=("interface * web", "subnet 10.0.0.4 a name"),
        pairs=("10.0.0.9/32 02:00:00:00:00:01", "fd00::/64 02:00:00:00:00:02"),
    ),
    as_stored(Subnet, segment="red/a", prefix="10.0.0.0/24", host_routes=("10.1.0.0/16 10.0.0.1",)),
    as_stored(
        *(Rule,),
        **{"rule_set": "web", "id": "r", "direction": "in", "priority": 100, "action": "deny"},
        destination_ports="80-443",
    ),
    as_stored(
        HostStatus, host="h1", provider_addresses=("192.0.2.1",), encapsulations="vxlan,nvgre"
    ),
)


def test_rows_come_back_from_a_bundle_as_they_were() -> None:
    found = {(row.TABLE, row.key): row for row in rows_of({"south": bundled(*ROWS)})}
    assert found == {(row.TABLE, row.key): row for row in ROWS}


def test_a_column_of_another_version_is_left_out() -> None:
    told = bundled(ROWS[0])
    told["Port"][0]["colour"] = "red"
    assert [*rows_of({"south": told})] == [ROWS[0]]


def bundled(*rows: Row) -> dict[str, list[dict[str, Any]]]:
    """As `isthmus bundle` writes them."""
    tables: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows:
        tables[row.TABLE].append(south_rows.shown(row))
    found: dict[str, list[dict[str, Any]]] = json.loads(json.dumps(tables))
    return found
