# SPDX-License-Identifier: Apache-2.0
"""What an operator does with a cloud that runs: apply and watch, status, explain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isthmus_lab import operations, processes
from isthmus_lab.lab import Lab
from tests.cli.conftest import run
from tests.lab.remains import remains_of, unique_name

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "two-subnets.yaml"
LONGEST_S = 60.0


class RunningCloud:
    """A lab of two hosts with the example's ports; web1 is on h1, web2 on h2."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lab: Lab = operations.start_lab(name, hosts=2)
        self.url = f"unix:{processes.rest_socket(self.lab.run_directory)}"

    def run(self, *arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
        return run(arguments, self.url, stdin)

    def status(self) -> tuple[int, list[str]]:
        """Exit status, and the problems."""
        code, out, _ = self.run("status", "--json")
        problems: list[str] = json.loads(out)["problems"]
        return code, problems

    def explained(self, port: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.run("explain", "port", port, "--json")[1])
        return found


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    made = RunningCloud(unique_name())
    try:
        code, out, said = made.run("apply", "-f", str(EXAMPLE), "--watch")
        assert code == 0, said
        assert "on all 2 hosts after" in out
        for guest, host in (("web1", "h1"), ("web2", "h2")):
            operations.plug_guest(guest, host, name=made.name)
        yield made
    finally:
        operations.stop_lab(made.name)
    assert remains_of(made.name) == {}


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + LONGEST_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def answers(cloud: RunningCloud) -> bool:
    """Whether web2 answers each ping of web1: it works where it is before h1 has heard of it."""
    return operations.ping_guest("web1", "web2", name=cloud.name).lost == 0


def works(cloud: RunningCloud, port: str) -> bool:
    return str(cloud.explained(port)["verdict"]).startswith("works")


def test_a_healthy_cloud_has_no_problems_and_its_ports_are_shown_where_they_are(
    cloud: RunningCloud,
) -> None:
    until(lambda: works(cloud, "web1") and works(cloud, "web2"))
    until(lambda: cloud.status() == (0, []))

    def shown() -> dict[str, list[str]]:
        _, out, _ = cloud.run("get", "/networkInterfaces")
        return {line.split("\t")[0]: line.split("\t")[-2:] for line in out.splitlines()}

    until(lambda: shown()["web1"] == ["h1", "Success"])
    until(lambda: shown()["web2"] == ["h2", "Success"])
    until(lambda: answers(cloud))


def test_an_explanation_shows_the_flows_of_the_switch_with_their_counters(
    cloud: RunningCloud,
) -> None:
    until(lambda: works(cloud, "web1"))
    operations.ping_guest("web1", "web2", name=cloud.name)

    def are_shown_and_have_counted() -> bool:
        """A switch brings its counters up to date once in a second."""
        hosts = cloud.explained("web1")["hosts"]
        assert isinstance(hosts, list)
        (host,) = hosts
        flows = host["answer"].get("flows", [])
        stages = {flow["stage"] for flow in flows}
        return (
            host["answer"].get("missing") == []
            and {"CLASSIFY", "ADMISSION", "NEIGHBOUR", "FORWARD"} <= stages
            and sum(flow["packets"] for flow in flows) > 0
        )

    until(are_shown_and_have_counted)
    code, out, _ = cloud.run("explain", "port", "data1")
    assert code == 1
    assert "Verdict   no host has it" in out
    assert cloud.run("explain", "port", "nothing")[0] == 1


def test_a_host_that_is_no_server_is_ignored_and_shown_until_it_is_one(cloud: RunningCloud) -> None:
    until(lambda: works(cloud, "web2"))
    code, _, said = cloud.run("delete", "--yes", "/servers/h2")
    assert code != 0
    assert "on its switch are the ports of /networkInterfaces/web2" in said
    operations.unplug_guest("web2", name=cloud.name)
    until(lambda: cloud.run("delete", "--yes", "/servers/h2")[0] == 0)
    operations.plug_guest("web2", "h2", name=cloud.name, dhcp=False)
    until(lambda: any("h2 speaks, but no server" in one for one in cloud.status()[1]))
    ignored = "h2, which is no server, claims web2; this is ignored"
    until(lambda: ignored in cloud.status()[1])
    assert cloud.status()[0] == 1
    until(lambda: "only h2 claims it" in str(cloud.explained("web2")["verdict"]))
    until(lambda: operations.ping_guest("web1", "web2", name=cloud.name, count=1).lost == 1)
    again = cloud.run("apply", "-f", "-", stdin='{"resourceRef": "/servers/h2"}')
    assert again[0] == 0
    until(lambda: works(cloud, "web2") and cloud.status() == (0, []))
    until(lambda: operations.ping_guest("web1", "web2", name=cloud.name, count=1).lost == 0)


def test_a_question_to_an_agent_that_is_away_says_so(cloud: RunningCloud) -> None:
    until(lambda: works(cloud, "web1"))
    host = cloud.lab.host("h1")
    cloud.lab.agent(host).kill()
    try:
        until(lambda: "does not answer" in str(cloud.explained("web1")["verdict"]))
        until(lambda: answers(cloud))
    finally:
        cloud.lab.start_agent(host)
    until(lambda: works(cloud, "web1"))
