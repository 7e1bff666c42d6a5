# SPDX-License-Identifier: Apache-2.0
"""The north store on a real server is one, and retries are known by every replica."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from isthmus.api.app import create_app
from isthmus.store.north import North
from tests.api.memory_north import SilentHosts
from tests.api.north_contract import CONTRACT, NIC, NIC_KEY, Rule, furnish, interface, put
from tests.store.cloud import north_server, opened, until

pytestmark = pytest.mark.system


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nc", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_a_north_store_on_a_server_keeps_the_contract(directory: Path, rule: Rule) -> None:
    async def go() -> None:
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await rule(north)

    asyncio.run(go())


def client(north: North) -> httpx.AsyncClient:
    """Of an application over that store."""
    hosts = SilentHosts()
    app = create_app(
        north,
        states=hosts,
        operations=hosts,
        software_version="1",
        registry=CollectorRegistry(),
    )
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://test/networking/v1"
    )


def named(request_id: str) -> Mapping[str, str]:
    return {"x-ms-client-request-id": request_id}


def test_sendings_of_one_request_that_overlap_are_one_write_on_every_replica(
    directory: Path,
) -> None:
    async def go() -> None:
        async with (
            north_server(directory) as server,
            opened(server.remote) as one,
            opened(server.remote, replica="c2") as two,
            client(one) as first,
            client(two) as second,
        ):
            await furnish(one)
            await until(lambda: two.view.get("/virtualnetworks/v"))
            for round_ in range(5):
                name, headers = f"{NIC}{round_}", named(f"r{round_}")
                replies = await asyncio.gather(
                    *(
                        asking.put(name, json=interface(), headers=headers)
                        for asking in (first, first, second, first, second)
                    )
                )
                assert {reply.status_code for reply in replies} == {201}
                assert len({reply.content for reply in replies}) == 1

    asyncio.run(go())


def test_another_replica_answers_a_retried_deletion_and_batch_as_the_first(
    directory: Path,
) -> None:
    async def go() -> None:
        async with (
            north_server(directory) as server,
            opened(server.remote) as one,
            opened(server.remote, replica="c2") as two,
            client(one) as first,
            client(two) as second,
        ):
            await furnish(one)
            await put(one, NIC, interface())
            await until(lambda: two.view.get(NIC_KEY))
            assert (await first.delete(NIC, headers=named("r1"))).status_code == 200
            await until(lambda: two.view.get(NIC_KEY) is None)
            assert (await second.delete(NIC, headers=named("r1"))).status_code == 200
            assert (await second.delete(NIC, headers=named("r2"))).status_code == 204
            batch = {
                "requests": [
                    {"resourceRef": f"/networkInterfaces/b{k}", "body": interface()}
                    for k in range(50)
                ]
            }
            made = await first.post("/batch", json=batch, headers=named("r3"))
            assert made.status_code == 200
            await until(lambda: two.view.get("/networkinterfaces/b49"))
            again = await second.post("/batch", json=batch, headers=named("r3"))
            assert again.json() == made.json()

    asyncio.run(go())
