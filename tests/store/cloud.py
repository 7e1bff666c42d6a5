# SPDX-License-Identifier: Apache-2.0
"""North stores on real servers, with a small cloud in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.intent.model import Json, Plan
from isthmus.intent.planning import plan_delete, plan_put
from isthmus.store import schema
from isthmus.store.north import North
from isthmus.store.servers import Server, ServerFiles, ensure_server, stop_server

LONGEST_S = 60.0
SUBNET = "/virtualNetworks/v/subnets/s"


@asynccontextmanager
async def north_server(directory: Path) -> AsyncIterator[Server]:
    yield await restart(directory)
    await stop_server(ServerFiles("north", directory / "data", directory / "run"))


async def restart(directory: Path) -> Server:
    """The server of the north store, started if it does not run."""
    return await ensure_server(
        "north",
        schema.north_schema(),
        directory=directory / "data",
        run_directory=directory / "run",
    )


@asynccontextmanager
async def opened(*remotes: str, replica: str = "c1") -> AsyncIterator[North]:
    north = North(remotes, replica=replica)
    await north.start()
    try:
        await north.loaded(LONGEST_S)
        yield north
    finally:
        await north.stop()


async def put(
    north: North,
    path: str,
    properties: Json,
    *,
    expected_etag: str | None = None,
    request_id: str = "",
) -> Plan:
    body: Json = {"properties": properties}
    return await north.write(
        lambda view, ids: plan_put(
            view, ids, path, body, expected_etag=expected_etag, request_id=request_id
        ),
        request_id=request_id,
    )


async def remove(north: North, path: str, *, request_id: str = "", operation_id: str = "") -> Plan:
    return await north.write(
        lambda view, ids: plan_delete(view, ids, path),
        request_id=request_id,
        operation_id=operation_id,
    )


async def furnish(north: North, prefix: str = "10.0.0.0/18") -> None:
    """An underlay, a MAC pool, and the virtual subnet `SUBNET`."""
    await put(north, "/logicalNetworks/u", {"networkVirtualizationEnabled": "True"})
    await put(
        north,
        "/macPools/m",
        {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-FF-FF-FF"},
    )
    await put(
        north,
        "/virtualNetworks/v",
        {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
            "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
            "subnets": [{"resourceId": "s", "properties": {"addressPrefix": prefix}}],
        },
    )


def interface(address: str | None = None) -> Json:
    """A networkInterface in `SUBNET`; without an address it is given one."""
    config: dict[str, Json] = {"subnet": {"resourceRef": SUBNET}}
    if address is not None:
        config |= {"privateIPAddress": address, "privateIPAllocationMethod": "Static"}
    return {"ipConfigurations": [{"resourceId": "c", "properties": config}]}


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(LONGEST_S):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)


def same_picture(norths: Sequence[North]) -> bool:
    """Whether all hold the same resources."""
    first, *others = [{key: one.view.get(key) for key in one.view.row_ids} for one in norths]
    return all(other == first for other in others)
