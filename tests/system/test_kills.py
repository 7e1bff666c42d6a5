# SPDX-License-Identifier: Apache-2.0
"""A hundred kills each of the agent and of the controller, under pings between two hosts: what
forwards does not notice, and what was asked meanwhile is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from isthmus_lab.pings import EchoStream
from tests.system import cloud as clouds
from tests.system.cloud import LONGEST_S, Plan, RunningCloud, until, virtual_network

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(1800)]

KILLS = 100
RATE_PPS = 100
PLANS = (Plan("one", "h1", ((11, ""),)), Plan("two", "h2", ((12, ""),)))


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(virtual_network("red"), plans=PLANS)
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


def kill_agent(cloud: RunningCloud, turn: int) -> None:
    """Of either end in turn; returns when it has compared its switch."""
    host = cloud.lab.host(("h1", "h2")[turn % 2])
    agent = cloud.lab.agent(host)
    before = agent.log.read_text().count("switch=resynced")
    agent.kill()
    time.sleep(0.02 * (turn % 10))
    cloud.lab.start_agent(host)
    until(lambda: agent.log.read_text().count("switch=resynced") > before)


def kill_controller(cloud: RunningCloud, turn: int) -> None:
    """In the middle of a change; returns when the change has come to all hosts."""
    prefixes = {"addressPrefixes": ["10.1.0.0/16", "fd00:1::/48", f"10.{2 + turn}.0.0/24"]}
    reference, body = virtual_network("red")
    properties = {**dict(body["properties"]), "addressSpace": prefixes}
    cloud.north.put(reference, {"properties": properties})
    cloud.lab.controller().kill()
    controller = cloud.lab.start_controller()
    cloud.north.wait_until_ready(controller)
    cloud.settle()


@pytest.mark.parametrize("kill", [kill_agent, kill_controller])
def test_a_hundred_kills_lose_no_ping(
    cloud: RunningCloud,
    kill: Callable[[RunningCloud, int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with EchoStream(cloud["one"].guest, cloud["two"].address(4), rate=RATE_PPS) as stream:
        assert stream.wait_for_answers(10, LONGEST_S)
        for turn in range(KILLS):
            kill(cloud, turn)
    lost, sent = stream.report.lost, stream.report.sent
    with capsys.disabled():
        print(f"\n{kill.__name__}: {KILLS} kills, {len(lost)} of {sent} pings lost")
    assert not lost
