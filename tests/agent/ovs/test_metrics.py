# SPDX-License-Identifier: Apache-2.0
"""What the metrics of an Open vSwitch host say."""

from __future__ import annotations

import asyncio

import pytest

from isthmus.agent.metrics import MetricsServer
from isthmus.agent.ovs import connection_limits
from isthmus.agent.ovs.decisions import Counted
from isthmus.agent.ovs.metrics import HostMetrics
from isthmus.errors import Unavailable
from isthmus.host.guests import Counters
from tests.agent.test_metrics import asked

LIMITED = connection_limits.Counted({}, {})


async def unavailable() -> Counted:
    raise Unavailable("the switch is away")


async def nothing() -> Counted:
    return Counted({}, {}, {}, {}, {})


def server(*, up: bool) -> MetricsServer:
    count = nothing if up else unavailable
    metrics = HostMetrics(count, Counters(), lambda: (3, 70), lambda: LIMITED)
    return MetricsServer(metrics.collect)


@pytest.mark.parametrize("up", [True, False])
def test_it_says_what_there_is_and_whether_the_switch_answers(up: bool) -> None:
    async def go() -> None:
        serving = server(up=up)
        place = await serving.start("127.0.0.1:0")
        answer = await asked(place)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"isthmus_host_ports 3.0" in answer
        assert f"isthmus_host_switch_up {float(up)}".encode() in answer
        assert (b"isthmus_rule_packets" in answer) == up
        assert (await asked(place, b"POST / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        await serving.stop()

    asyncio.run(go())
