# SPDX-License-Identifier: Apache-2.0
"""A hundred kills of each ovsdb-server of ours, under pings and writes. What came of it (`-s` shows
it) is in docs/reliability.md."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from isthmus.api.client import Client
from isthmus.errors import IsthmusError, Unavailable
from isthmus_lab import processes
from isthmus_lab.pings import EchoStream
from isthmus_lab.switch import Switch
from tests.system.cloud import LONGEST_S, Plan, RunningCloud, running_cloud, until, virtual_network
from tests.system.writes import Writes

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(1800)]

KILLS = 100
RATE = 100
IN_SERVICE_S = 2.2
"""Between the return of a server and its next end: a keeper then need not wait (`STEADY_S`)."""


@pytest.fixture
def cloud() -> Iterator[RunningCloud]:
    with running_cloud() as made:
        plans = [Plan(f"web{number}", f"h{number}", ((10 + number, ""),)) for number in (1, 2, 3)]
        made.furnish(virtual_network("red"), plans=plans)
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


@contextmanager
def pinging(cloud: RunningCloud) -> Iterator[list[EchoStream]]:
    """web1 asks web2 (by VXLAN) and web3 (by NVGRE), a hundred times a second each."""
    with ExitStack() as stack:
        streams = [
            stack.enter_context(
                EchoStream(cloud["web1"].guest, cloud[to].address(4), rate=RATE, grace_s=5.0)
            )
            for to in ("web2", "web3")
        ]
        for stream in streams:
            assert stream.wait_for_answers(10, LONGEST_S)
        yield streams


def killed(pid_file: Path) -> int:
    """End the process that the file names; its number."""
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGKILL)
    return pid


def told(what: str, streams: list[EchoStream], writes: Writes, away_s: list[float]) -> None:
    reports = [stream.report for stream in streams]
    away = sorted(away_s)
    print(
        f"\n{what}: {len(away_s)} kills;"
        f" pings {sum(one.sent for one in reports)}, lost {[one.lost for one in reports]};"
        f" longest gap {max(one.longest_gap_s for one in reports) * 1e3:.0f} ms;"
        f" writes acknowledged {len(writes.acknowledged)}, refused {writes.refused},"
        f" lost {len(writes.lost())};"
        f" away median {away[len(away) // 2]:.2f} s, longest {away[-1]:.2f} s"
    )


@pytest.mark.parametrize("store", ["north", "south"])
def test_a_store_that_is_killed_again_and_again_costs_no_packet_and_no_acknowledged_write(
    cloud: RunningCloud, store: str
) -> None:
    directory = processes.controller_directory(cloud.lab.run_directory)
    pid_file = directory / f"{store}.pid"
    away_s: list[float] = []
    with pinging(cloud) as streams, Writes(f"unix:{directory}/rest.sock") as writes:
        for _ in range(KILLS):
            dead = killed(pid_file)
            began_s = time.monotonic()
            until(lambda: _replaced(pid_file, dead) and _serves(directory, store))  # noqa: B023  # called here
            away_s.append(time.monotonic() - began_s)
            time.sleep(IN_SERVICE_S)
    told(store, streams, writes, away_s)
    assert [stream.report.lost for stream in streams] == [(), ()]
    assert writes.lost() == set()
    cloud.settle()  # it derives, and hosts do what it says


def _replaced(pid_file: Path, dead: int) -> bool:
    with suppress(OSError, ValueError):
        return int(pid_file.read_text()) != dead
    return False


def _serves(directory: Path, store: str) -> bool:
    with suppress(IsthmusError), Client(f"unix:{directory}/rest.sock") as client:
        found = {one["name"]: one for one in client.status()["stores"]}
        return bool(found[store]["connected"])
    return False


def test_the_data_base_of_a_switch_that_is_killed_again_and_again_changes_no_flow(
    cloud: RunningCloud,
) -> None:
    """Of each host in turn. What is lost meanwhile is Open vSwitch's part (docs/reliability.md);
    here all must work after each, and nothing be programmed anew."""
    directory = processes.controller_directory(cloud.lab.run_directory)
    switches = [host.switch for host in cloud.lab.hosts.values()]
    before = [_flows(switch) for switch in switches]
    away_s: list[float] = []
    with pinging(cloud) as streams, Writes(f"unix:{directory}/rest.sock") as writes:
        for number in range(KILLS):
            switch = switches[number % len(switches)]
            began_s = time.monotonic()
            switch.kill_database()
            until(_answers(lambda: switch.vsctl("show")))  # noqa: B023  # called here
            away_s.append(time.monotonic() - began_s)
            time.sleep(IN_SERVICE_S)
        for stream in streams:
            assert stream.wait_for_answers(RATE, LONGEST_S)
    told("switch", streams, writes, away_s)
    assert writes.lost() == set()
    assert [_flows(switch) for switch in switches] == before
    cloud.settle()


def _flows(switch: Switch) -> list[str]:
    """What br-int has, without what counts."""
    printed = switch.ofctl("dump-flows", "--no-stats", "--no-names", "br-int")
    return sorted(line.strip() for line in printed.splitlines() if "cookie" in line)


def _answers(ask: Callable[[], object]) -> Callable[[], bool]:
    def asked() -> bool:
        with suppress(Unavailable):
            ask()
            return True
        return False

    return asked
