# SPDX-License-Identifier: Apache-2.0
"""``isthmus lab``: each command a process of its own, as people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from isthmus.errors import Invalid, NotFound
from isthmus_lab import namespaces, operations
from isthmus_lab.lab import Lab
from tests.lab import handmade
from tests.lab.conftest import TUNNELS
from tests.lab.remains import remains_of, unique_name

PROGRAM = "from isthmus_lab.command import lab; lab()"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )


def succeed(*arguments: str) -> str:
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def name() -> Iterator[str]:
    chosen = unique_name()
    yield chosen
    Lab(chosen).down()


@pytest.mark.system
def test_a_lab_is_used_by_one_command_after_the_other(name: str) -> None:
    assert "h1, h2, h3" in succeed("up", "--bare", "--name", name)
    lab = Lab.opened(name)
    for host in lab.hosts.values():
        handmade.make_bridge(host)
    by_hand = ("--no-dhcp", "--name", name)
    assert "web1 is on h1" in succeed("plug", "web1", "h1", "--mac", "020000000001", *by_hand)
    succeed("plug", "web2", "h2", "--mac", "02-00-00-00-00-02", "--port", "Other", *by_hand)
    for number in (1, 2):
        address = f"10.0.0.{number}/24"
        succeed(
            "exec",
            "--name",
            name,
            f"web{number}",
            "--",
            "ip",
            "addr",
            "add",
            address,
            "dev",
            "eth0",
        )
    handmade.Hand(Lab.opened(name), TUNNELS).program()

    assert "3 of 3 answered" in succeed("ping", "web1", "web2", "--name", name)
    assert command("ping", "web1", "10.0.0.9", "-c", "1", "--name", name).returncode == 1

    assert "web1 is on h3" in succeed("move", "web1", "h3", "--name", name)
    handmade.Hand(Lab.opened(name), TUNNELS).program()
    assert "2 of 2 answered" in succeed("ping", "web1", "10.0.0.2", "-c", "2", "--name", name)

    shown = json.loads(succeed("status", "--json", "--name", name))
    assert [host["encapsulations"] for host in shown["hosts"]] == [
        *(["vxlan", "nvgre"], ["vxlan", "nvgre"]),
        ["nvgre"],
    ]
    assert shown["guests"] == [
        {
            "name": f"web{number}",
            "port": port,
            "mac": f"02:00:00:00:00:0{number}",
            "host": host,
            "addresses": [f"10.0.0.{number}"],
            "namespace": f"is-{name}-web{number}",
        }
        for number, port, host in ((1, "web1", "h3"), (2, "Other", "h2"))
    ]
    assert "172.31.0.3" in succeed("status", "--name", name)
    assert "web1 was on h3" in succeed("unplug", "web1", "--name", name)
    assert "web1 is on no host" in succeed("unplug", "web1", "--name", name)
    assert json.loads(succeed("status", "--json", "--name", name))["guests"][0]["host"] is None
    assert "web1 is on h1" in succeed("plug", "web1", "h1", *by_hand)
    assert "br-phy" in succeed("exec", "--name", name, "h2", "--", "ovs-vsctl", "list-br")

    succeed("down", "--name", name)
    assert remains_of(name) == {}


@pytest.mark.system
def test_an_interrupted_up_leaves_nothing(name: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "up", "--bare", "--hosts", "8", "--name", name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # Not by remains_of, which takes long enough on a busy machine for the lab to be up.
    while not namespaces.existing(f"is-{name}-") and process.poll() is None:
        pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    assert remains_of(name) == {}


def test_what_is_not_there_is_named(name: str) -> None:
    with pytest.raises(NotFound, match=f"no lab '{name}' is up"):
        operations.describe_lab(name)
    with pytest.raises(Invalid, match="0 hosts: a lab has 1 to 100"):
        operations.start_lab(name, hosts=0)


@pytest.mark.system
def test_a_wrong_host_or_guest_is_answered_with_those_that_exist(name: str) -> None:
    operations.start_lab(name, hosts=1, bare=True)
    with pytest.raises(NotFound, match="no host h9; it has: h1"):
        operations.plug_guest("web1", "h9", mac="020000000001", name=name)
    with pytest.raises(NotFound, match="no guest web1; it has: none"):
        operations.ping_guest("web1", "10.0.0.1", name=name)
    operations.stop_lab(name)
