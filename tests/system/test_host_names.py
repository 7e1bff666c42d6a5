# SPDX-License-Identifier: Apache-2.0
"""Hosts that die, and hosts that were given one name: real agents, switches and packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isthmus.api.client import Client
from isthmus.errors import Conflict, NotFound
from isthmus_lab import processes
from isthmus_lab.pings import EchoStream
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import LONGEST_S, Plan, RunningCloud, until, virtual_network

pytestmark = pytest.mark.system

OPERATORS = Path(__file__).parents[2] / "docs" / "operators.md"

PLANS = (
    Plan("one", "h1", ((11, ""),)),
    Plan("two", "h2", ((12, ""),)),
    Plan("three", "h3", ((13, ""),)),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(virtual_network("red"), plans=PLANS)
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


@pytest.fixture
def client(cloud: RunningCloud) -> Iterator[Client]:
    with Client(f"unix:{processes.rest_socket(cloud.lab.run_directory)}") as made:
        yield made


def host_of(client: Client, name: str) -> dict[str, Any]:
    found = [host for host in client.status(ask=True)["hosts"] if host["host"] == name]
    return dict(found[0]) if found else {}


def test_a_second_agent_under_a_host_s_name_is_refused_named_and_changes_nothing(
    cloud: RunningCloud, client: Client
) -> None:
    lab = cloud.lab
    first, second = lab.host("h1"), lab.host("h2")
    lab.agent(second).stop()
    before = first_status(client)
    with EchoStream(cloud["one"].guest, cloud["two"].address(4), rate=50) as stream:
        assert stream.wait_for_answers(5, LONGEST_S)
        # h2's machine, told that it is h1.
        wrong = lab.start_agent(second, ("--host", "h1"))
        name = f"second-agent@{second.spec.provider_address}"
        until(lambda: host_of(client, name).get("problems"))
        (problem,) = host_of(client, name)["problems"]
        assert f"another agent, at {first.spec.provider_address}, is called h1 too" in problem
        codes = {one["subject"]: one["code"] for one in client.doctor()["findings"]}
        assert codes[name] == "second-agent"
        # The first goes on as if nothing had been: its rows are its own, its port works.
        cloud.north.put("/networkInterfaces/one", clouds.interface(PLANS[0]))
        until(lambda: cloud.is_configured("one"))
        assert first_status(client) == before
        # Given its own name it is its host again, at once.
        wrong.stop()
        lab.start_agent(second)
        until(lambda: not host_of(client, "h2")["unknown"])
        until(lambda: not host_of(client, name))
        cloud.settle()
    assert not stream.report.lost


def first_status(client: Client) -> tuple[object, ...]:
    told = host_of(client, "h1")
    return told["providerAddresses"], told["alive"], told["claims"], told["problems"]


def test_a_host_that_has_died_is_unknown_at_once_and_removed_by_its_name(
    cloud: RunningCloud, client: Client
) -> None:
    host = cloud.lab.host("h3")
    with pytest.raises(Conflict):
        client.remove_host("h3")
    assert client.trace("one", "three")["verdict"] == "delivered"
    cloud.lab.agent(host).kill()
    # What it has answered a second ago may still be told; three heartbeats it has not missed.
    until(lambda: host_of(client, "h3")["unknown"])
    told = host_of(client, "h3")
    assert told["alive"]
    assert told["unknown"].startswith("does not answer, and was last heard of")
    assert client.status(ask=True)["ports"]["unknown"] == 1
    found = client.trace("one", "three")
    assert (found["verdict"], found["unknown"][0]["host"]) == ("unknown", "h3")
    assert client.explain_port("three")["verdict"].startswith("unknown: h3 has it")
    removed = client.remove_host("h3")["removed"]
    assert {"Claim", "Heartbeat", "Host_Status", "Port_Status"} <= removed.keys()
    with pytest.raises(NotFound):
        client.remove_host("h3")
    assert client.explain_port("three")["verdict"].startswith("no host has it")
    # It comes back as if it had never been away.
    cloud.lab.start_agent(host)
    until(lambda: cloud.is_configured("three"))
    cloud.settle()
    assert client.trace("one", "three")["verdict"] == "delivered"


def documented(host: str) -> list[list[str]]:
    """The commands that docs/operators.md has for a host that is gone for good."""
    _, _, rest = OPERATORS.read_text().partition("A host that is gone for good is removed by")
    block = rest.partition("\n## ")[0].split("```")[1]
    commands = [line.partition("#")[0].split() for line in block.strip().splitlines()]
    return [[word.replace("HOST", host) for word in words] for words in commands]


def test_a_host_that_is_gone_for_good_is_removed_with_its_ports_as_the_document_says(
    cloud: RunningCloud, client: Client
) -> None:
    url = f"unix:{processes.rest_socket(cloud.lab.run_directory)}"
    assert cloud.is_configured("three")  # a port is on it
    cloud.lab.agent(cloud.lab.host("h3")).kill()
    until(lambda: host_of(client, "h3")["unknown"])
    code, _, said = run(["delete", "/servers/h3", "--yes"], url)
    assert code == 1
    assert "isthmus host remove h3" in said
    for program, *words in documented("h3"):
        assert program == "isthmus"
        asks = ["--yes"] if words[0] == "delete" else []
        code, _, said = run([*words, *asks], url)
        assert code == 0, said
    until(lambda: not host_of(client, "h3"))
    assert "h3" not in {one["subject"] for one in client.doctor()["findings"]}
