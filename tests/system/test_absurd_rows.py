# SPDX-License-Identifier: Apache-2.0
"""A real controller, and one host that writes nonsense into the south store: clients of everybody
else are answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from isthmus.policy.rows import (
    TABLES,
    Answer,
    Claim,
    Heartbeat,
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    Row,
)
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import insert
from tests.system.controllers import Controller, add_port, furnish, ports, server_of_others, until

pytestmark = pytest.mark.system

YEAR_60000_S = 1_831_300_000_000
LARGEST = (1 << 63) - 1


def absurd(port: Port) -> list[Row]:
    """Of a host that exists, about a port that exists."""
    place: dict[str, Any] = {"port": port.id, "host": "h1", "segment": port.segment}
    return [
        HostStatus(host="h1", provider_addresses=("nowhere", "1.2.3.400"), encapsulations=",,;"),
        Heartbeat(host="h1", at_s=YEAR_60000_S, probe=LARGEST, ports=-1, problems=("\x1b[2J\n",)),
        Heartbeat(host="\n/../", at_s=-LARGEST),
        Claim(**place, provider_address="192.0.2.9", sequence=7),
        PortStatus(**place, revision=port.revision, changed_us=YEAR_60000_S * 1_000_000),
        PortStatus(port="nobody", host="h1", segment="", state="?", changed_us=-LARGEST),
        LearnedAddress(**place, address="10.0.0.256", mac="zz:zz", sequence=LARGEST),
        Answer(id="check-nonsense", host="h1", result="]["),
        Answer(id="check-empty", host="", result="{}"),
    ]


async def say(remote: str) -> None:
    connection = Connection([remote], schema.SOUTH, TABLES, name="a broken host")
    await connection.start()
    try:
        await connection.loaded(60.0)
        (port,) = connection.table(Port).values()
        await connection.transact([insert(row.TABLE, row) for row in absurd(port)])
    finally:
        await connection.stop()


def test_one_absurd_row_of_one_host_breaks_no_answer(folder: Path) -> None:
    controller = Controller(folder, "c1")
    with server_of_others(folder, {}) as remote:
        controller.use_store(remote)
        controller.start()
        try:
            until(controller.answers)
            furnish(controller)
            with controller.client() as client:
                client.put("/servers/h1", {"properties": {}})
            add_port(controller, "web")
            until(lambda: controller.deriver() == ("c1", 1, True) and ports(controller) == 1)
            asyncio.run(say(remote))
            with controller.client() as client:
                until(lambda: client.status()["ports"]["claimed"] == 1)
                (interface,) = client.get("/networkInterfaces")["value"]
                state = interface["properties"]["configurationState"]
                assert state["status"] == "Success"
                assert state["detailedInfo"][0]["message"] == "applied on h1"
                assert client.get("/servers/h1")["properties"]["configurationState"]
                assert client.get("/virtualNetworks/v")["properties"]["configurationState"]
                assert client.get("/diagnostics/ConnectivityCheckResults")["value"] == []
                told = client.explain_port("web")
                assert "h1" in told["verdict"]
                assert client.trace("web", "10.0.0.1")["steps"]
                assert "h1" in json.dumps(client.doctor())
                assert client.bundle()["south"]["Claim"]
                assert client.counters()["hosts"]
            log = (controller.run_directory / "log").read_text()
            assert "Traceback" not in log
        finally:
            controller.kill()
