# SPDX-License-Identifier: Apache-2.0
"""What a controller holds does not grow with what has come and gone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from isthmus.api.client import Client
from tests.system.controllers import Controller, furnish, ports, server_of_others, until

pytestmark = [pytest.mark.system, pytest.mark.long]

PORTS, ROUNDS, AT_ONCE = 3000, 10, 500
MOST = 1.05
"""Of what was held after the first time."""


def parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def make(client: Client, names: Sequence[str]) -> None:
    subnet = {"subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"}}
    body = {"properties": {"ipConfigurations": [{"resourceId": "c", "properties": subnet}]}}
    for part in parts(names):
        client.batch(
            {"method": "PUT", "resourceRef": f"/networkInterfaces/{name}", "body": body}
            for name in part
        )


def unmake(client: Client, names: Sequence[str]) -> None:
    for part in parts(names):
        client.batch(
            {"method": "DELETE", "resourceRef": f"/networkInterfaces/{name}"} for name in part
        )


def rss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def test_three_thousand_ports_made_and_deleted_ten_times_leave_no_more_than_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second controller derives nothing and follows all the same. Names are new each time."""
    first, second = Controller(folder, "c1"), Controller(folder, "c2")
    held: list[tuple[int, int]] = []
    with server_of_others(folder, {}) as remote:
        try:
            for controller in (first, second):
                controller.use_store(remote)
                controller.start()
                until(controller.answers)
            furnish(first)
            for turn in range(ROUNDS):
                names = [f"t{turn}n{number}" for number in range(PORTS)]
                with first.client() as client:
                    make(client, names)
                    until(lambda: ports(first) == ports(second) == PORTS)
                    unmake(client, names)
                    until(lambda: ports(first) == ports(second) == 0)
                time.sleep(1.0)  # what garbage there is has its time
                assert first.process is not None
                assert second.process is not None
                held.append((rss_kib(first.process.pid), rss_kib(second.process.pid)))
        finally:
            first.kill()
            second.kill()
    with capsys.disabled():
        print("\nKiB after each time, of who derives and who does not:", held)
    for which in (0, 1):
        assert held[-1][which] <= MOST * held[0][which], held
