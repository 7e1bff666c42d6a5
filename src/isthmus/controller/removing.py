# SPDX-License-Identifier: Apache-2.0
"""The end of life of what a host has said: its status, heartbeat, claims, the states of its ports
and the addresses that they use, and what was asked of it and answered."""

from __future__ import annotations

from collections import Counter

from isthmus.controller.asking import Asking
from isthmus.errors import Conflict, NotFound
from isthmus.intent.model import Json
from isthmus.policy.rows import OBSERVED, Answer, Query, Row
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import delete

TRANSACTION_ROWS = 100
"""The store commits one transaction after the other: more rows in each make it no faster."""


async def remove_host(host: str, south: Connection, asking: Asking) -> dict[str, Json]:
    """Delete all that a dead host has said; how many rows of each table there were.

    Raises NotFound for one that has said nothing; Conflict for one that answers, and would say all
    of it anew; Unavailable, after which part may be left: then it is done once more.
    """
    tables: tuple[type[Row], ...] = (*OBSERVED, Query, Answer)
    found = [
        (table.TABLE, row_id)
        for table in tables
        for row_id, row in south.table(table).items()
        if getattr(row, "host", "").lower() == host
    ]
    if not found:
        raise NotFound(f"no host called {host} has said anything", target=host)
    if await asking.is_there(host):
        # It is asked, for one that has just died looks alive for a minute and a half.
        raise Conflict(
            f"{host} is alive, and would say all of it anew: end its agent first (on {host}:"
            " systemctl disable --now isthmus-agent)",
            code="HostAlive",
            target=host,
        )
    for start in range(0, len(found), TRANSACTION_ROWS):
        await south.transact([delete(*place) for place in found[start : start + TRANSACTION_ROWS]])
    counted = Counter(table for table, _ in found)
    return {"host": host, "removed": dict(sorted(counted.items()))}
