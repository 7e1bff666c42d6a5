# SPDX-License-Identifier: Apache-2.0
"""docs/operators.md, "Three machines" and "Backup and restore", command for command; and kills."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.machines import Machine, chapter, follow, machines, until

pytestmark = pytest.mark.system

Machines = dict[str, Machine]


@pytest.fixture(scope="module")
def three() -> Iterator[Machines]:
    """As the chapter's first block makes them."""
    with machines(3) as found:
        follow(found, chapter("Three machines")[0])
        yield found


def stores(machine: Machine) -> dict[str, Any]:
    told = json.loads(machine.run("isthmus store status --json").stdout)
    return {one["store"]: one for one in told}


def is_well(machine: Machine) -> bool:
    return machine.run("isthmus store status").returncode == 0


def put(machine: Machine, name: str) -> None:
    """A resource, again until it is taken: what is refused is tried again by whoever asked."""
    body = json.dumps({"resourceRef": f"/securityTags/{name}", "properties": {}})
    until(lambda: machine.run(f"isthmus apply -f - <<< '{body}'").returncode == 0)


def tags(machine: Machine) -> set[str]:
    told = machine.run("isthmus get /securityTags --json")
    if told.returncode != 0:
        return set()
    return {one["resourceId"] for one in json.loads(told.stdout)["value"]}


def test_three_machines_are_one_cluster_and_each_takes_what_the_others_have(
    three: Machines,
) -> None:
    for machine in three.values():
        until(lambda: is_well(machine))  # noqa: B023  # called here
        for name, first in (("north", 6643), ("south", 6644)):
            members = set(stores(machine)[name]["members"].split(", "))
            assert members == {f"ssl:192.0.2.{number}:{first}" for number in (1, 2, 3)}
    for name, machine in three.items():
        put(machine, f"from-{name}")
    wanted = {"from-kvm1", "from-kvm2", "from-kvm3"}
    for machine in three.values():
        until(lambda: wanted <= tags(machine))  # noqa: B023  # called here
    told = json.loads(three["kvm3"].run("isthmus status --json").stdout)
    assert {one["name"] for one in told["controllers"]} == {"kvm1", "kvm2", "kvm3"}
    assert [one["name"] for one in told["controllers"] if one["deriving"]] == ["kvm1"]


def test_nothing_listens_for_others_but_by_tls(three: Machines) -> None:
    for machine in three.values():
        listening = machine.succeeds("ss -Hltn | awk '{print $4}'").split()
        there = {int(one.rpartition(":")[2]) for one in listening}
        assert there == {443, 6641, 6642, 6643, 6644}
        for port in sorted(there - {443}):
            plain = machine.run(f"ovsdb-client -t 3 list-dbs tcp:127.0.0.1:{port}")
            named = machine.run(f"ovsdb-client -t 3 list-dbs tcp:{address(machine)}:{port}")
            assert plain.returncode != 0
            assert named.returncode != 0
        own = "controller" if machine.name == "kvm1" else machine.name
        tls = f"-p /etc/isthmus/tls/{own}-key.pem -c /etc/isthmus/tls/{own}.pem"
        asked = f"ovsdb-client -t 3 {tls} -C /etc/isthmus/tls/ca.pem list-dbs"
        assert machine.run(f"{asked} ssl:{address(machine)}:6642").returncode == 0
        assert machine.run(f"{asked} ssl:{address(machine)}:6641").returncode != 0


def test_what_made_the_first_machine_can_be_repeated(three: Machines) -> None:
    again = chapter("Three machines")[0][:2]
    before = three["kvm1"].server("north")
    three["kvm1"].stop_controller()
    os.kill(before, signal.SIGKILL)  # init starts one for itself
    assert "left as it is" in three["kvm1"].succeeds(again[0][1])
    three["kvm1"].succeeds(again[1][1])
    three["kvm1"].start_controller()
    for machine in three.values():
        until(lambda: is_well(machine))  # noqa: B023  # called here
    assert len(stores(three["kvm1"])["north"]["members"].split(", ")) == 3


def address(machine: Machine) -> str:
    return f"192.0.2.{machine.name[-1]}"


@pytest.mark.parametrize("store", ["north", "south"])
def test_whichever_server_is_killed_all_take_writes_and_it_comes_back(
    three: Machines, store: str
) -> None:
    for name, machine in three.items():
        before = machine.server(store)
        os.kill(before, signal.SIGKILL)
        for other in three.values():
            put(other, f"{store}-{name}-{other.name}")
        until(lambda: machine.server(store) != before)  # noqa: B023  # called here
    wanted = {f"{store}-{one}-{other}" for one in three for other in three}
    for machine in three.values():
        until(lambda: wanted <= tags(machine))  # noqa: B023  # called here
        until(lambda: is_well(machine))  # noqa: B023  # called here


def test_a_machine_without_power_is_missed_and_comes_back_by_itself(three: Machines) -> None:
    three["kvm1"].lose_power()
    put(three["kvm2"], "without-kvm1")
    until(lambda: "192.0.2.1:6643 is away" in stores(three["kvm3"])["north"]["problem"])
    assert not is_well(three["kvm3"])
    refused = three["kvm3"].run("isthmus store leave")
    assert refused.returncode == 1
    assert "isthmus store remove" in refused.stderr
    three["kvm1"].start_controller()
    until(lambda: "without-kvm1" in tags(three["kvm1"]))
    for machine in three.values():
        until(lambda: is_well(machine))  # noqa: B023  # called here


def test_one_is_lost_and_removed_and_the_others_leave_until_there_is_one(three: Machines) -> None:
    put(three["kvm3"], "last-of-kvm3")
    until(lambda: "last-of-kvm3" in tags(three["kvm1"]))
    three["kvm3"].lose_power()
    until(lambda: "is away" in stores(three["kvm1"])["south"]["problem"])
    removing, leaving = chapter("Three machines")[1:]
    follow(three, removing)
    until(lambda: is_well(three["kvm1"]) and is_well(three["kvm2"]))

    # It comes back, and is none of them.
    three["kvm3"].succeeds("isthmus store start")
    until(lambda: not is_well(three["kvm3"]))
    three["kvm3"].succeeds("isthmus store leave --drop")
    again = "isthmus store join 192.0.2.1 --address 192.0.2.3"
    three["kvm3"].succeeds(again)
    three["kvm3"].start_controller()
    until(lambda: "last-of-kvm3" in tags(three["kvm3"]))
    three["kvm3"].succeeds("isthmus store leave")

    # In order, and back to one. What has left is said to be so.
    printed = follow(three, leaving)
    assert printed[1].count("has left its cluster") == 2
    assert stores(three["kvm1"])["north"]["members"] == "ssl:192.0.2.1:6643"
    assert "has left" in three["kvm2"].run("isthmus store start").stderr
    put(three["kvm1"], "alone")
    assert {"alone", "last-of-kvm3"} <= tags(three["kvm1"])


def test_a_backup_is_restored(three: Machines) -> None:
    (block,) = chapter("Backup and restore")
    follow(three, block[:1])
    put(three["kvm1"], "after-the-backup")
    follow(three, block[1:])
    until(lambda: tags(three["kvm1"]) and "after-the-backup" not in tags(three["kvm1"]))
    put(three["kvm1"], "after-the-restore")
    until(lambda: is_well(three["kvm1"]))
    assert "Traceback" not in three["kvm1"].log()
