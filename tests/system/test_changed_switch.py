# SPDX-License-Identifier: Apache-2.0
"""Somebody else takes flows or meters off a switch, or puts some on it: it is noticed, told and
mended, with nobody's help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.switches.ovs.pipeline import Stage
from tests.system import cloud as clouds
from tests.system.cloud import (
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    until,
    virtual_network,
)
from tests.system.echoes import ECHO, echo

pytestmark = pytest.mark.system

PLANS = (
    Plan("one", "h1", ((10, "echoes"),)),
    Plan("near", "h1", ((11, "echoes"),)),
    Plan("far", "h2", ((12, "echoes"),)),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(access_control_list("echoes", *ECHO), virtual_network("red"), plans=PLANS)
        yield made


def told(cloud: RunningCloud) -> list[str]:
    """What is said of it, which says how often it was."""
    found = cloud.north.doctor()["findings"]
    return [one["finding"] for one in found if one["code"] == "switch-changed"]


def test_a_switch_that_waits_for_flows_is_told_with_the_setting(cloud: RunningCloud) -> None:
    """`ovs-ctl restart` that was ended half-way leaves it."""
    host = cloud.lab.host("h1")

    def found() -> list[str]:
        return [
            one["repair"]
            for one in cloud.north.doctor()["findings"]
            if one["code"] == "flow-restore-wait"
        ]

    host.switch.vsctl("set", "open_vswitch", ".", "other_config:flow-restore-wait=true")
    until(found)
    (repair,) = found()
    host.switch.vsctl(*repair.partition("ovs-vsctl ")[2].split())
    until(lambda: not found())


def held(cloud: RunningCloud) -> tuple[set[str], set[str]]:
    """The flows and meters of h1, without those that end by themselves."""
    switch = cloud.lab.host("h1").switch
    flows = switch.ofctl("dump-flows", "--no-stats", "br-int").splitlines()
    meters = switch.ofctl("-O", "OpenFlow14", "dump-meters", "br-int").splitlines()
    return (
        {line.strip() for line in flows if "cookie=" in line and "hard_timeout" not in line},
        {line.strip() for line in meters if "meter=" in line},
    )


@pytest.mark.parametrize(
    "command",
    [
        ("del-flows", "br-int"),
        ("del-flows", "br-int", f"table={Stage.JUDGE}"),
        ("-O", "OpenFlow14", "del-meters", "br-int"),
        ("add-flow", "br-int", f"table={Stage.JUDGE},priority=65000,actions=drop"),
    ],
    ids=["all flows", "one table", "meters", "a flow of somebody else"],
)
def test_what_somebody_else_changes_is_told_and_mended(
    cloud: RunningCloud, command: tuple[str, ...]
) -> None:
    before, told_before = held(cloud), told(cloud)
    assert all(before)
    cloud.lab.host("h1").switch.ofctl(*command)
    until(lambda: held(cloud) == before)
    until(lambda: told(cloud) not in ([], told_before))
    for receiver in (cloud["near"], cloud["far"]):
        question = {"question": echo(cloud["one"], receiver, 4)}
        assert arrivals(cloud["one"], receiver, question, {"question"}) == {"question"}
