# SPDX-License-Identifier: Apache-2.0
"""The metrics' end point: what those who only connect to it cost."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric

from isthmus.agent.metrics import MOST_HEAD_BYTES, MOST_VISITS, MetricsServer
from isthmus.errors import Invalid
from tests.store.cloud import until

QUESTION = b"GET /metrics HTTP/1.1\r\nHost: h1\r\n\r\n"


async def collect() -> list[Metric]:
    return [GaugeMetricFamily("isthmus_host_ports", "Interfaces that name a port.", 3)]


def server(*, visit_s: float = 60.0) -> MetricsServer:
    return MetricsServer(collect, visit_s=visit_s)


async def asked(place: tuple[str, int], question: bytes = QUESTION) -> bytes:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(question)
    try:
        return await reader.read()
    except ConnectionError:  # reset, for what it had not read
        return b""
    finally:
        writer.transport.abort()


def test_those_who_say_nothing_are_few_and_keep_nobody_out() -> None:
    async def go() -> None:
        serving = server()
        place = await serving.start("127.0.0.1:0")
        silent = [await asyncio.open_connection(*place) for _ in range(3 * MOST_VISITS)]
        open_ones = [asyncio.create_task(reader.read()) for reader, _ in silent]
        await until(lambda: sum(task.done() for task in open_ones) >= 2 * MOST_VISITS)
        assert sum(not task.done() for task in open_ones) == MOST_VISITS
        assert b"isthmus_host_ports" in await asked(place)
        for _, writer in silent:
            writer.transport.abort()
        await serving.stop()

    asyncio.run(go())


def test_who_speaks_slowly_or_without_end_is_ended() -> None:
    async def go() -> None:
        serving = server(visit_s=0.05)
        place = await serving.start("127.0.0.1:0")
        async with asyncio.timeout(20):
            assert await asked(place, b"GET / HTTP/1.1\r\nX: ") == b""
            assert await asked(place, b"GET /" + b"a" * 2 * MOST_HEAD_BYTES) == b""
        await serving.stop()

    asyncio.run(go())


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "192.0.2.1:9477"])
def test_an_address_that_cannot_be_had_is_refused(address: str) -> None:
    async def go() -> None:
        with pytest.raises(Invalid):
            await server().start(address)

    asyncio.run(go())
