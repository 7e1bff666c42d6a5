# SPDX-License-Identifier: Apache-2.0
"""A hundred kills among the servers of three machines, while each machine takes writes. What came
of it (`-s` shows it) is in docs/reliability.md."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.system.machines import Machine, chapter, follow, machines, until
from tests.system.writes import Writes

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(3600)]

KILLS = 102
STORES = ("north", "south")

Machines = dict[str, Machine]


@pytest.fixture
def three() -> Iterator[Machines]:
    with machines(3) as found:
        follow(found, chapter("Three machines")[0])
        yield found


def url(machine: Machine) -> str:
    """Of its controller, for a process outside it."""
    (found,) = (machine.folder / "run" / "isthmus").glob("rest.sock")
    return f"unix:{found}"


def is_well(machine: Machine) -> bool:
    return machine.run("isthmus store status").returncode == 0


def is_replaced(machine: Machine, store: str, dead: int) -> bool:
    with suppress(OSError, ValueError):
        return machine.server(store) != dead
    return False


def test_servers_of_a_cluster_that_are_killed_in_turn_lose_no_acknowledged_write(
    three: Machines,
) -> None:
    for machine in three.values():
        until(lambda: is_well(machine))  # noqa: B023  # called here
    away_s: list[float] = []
    turns = [(name, store) for store in STORES for name in three]
    with ExitStack() as stack:
        writes = {
            name: stack.enter_context(Writes(url(machine), f"{name}-"))
            for name, machine in three.items()
        }
        for number in range(KILLS):
            name, store = turns[number % len(turns)]
            machine = three[name]
            dead = machine.server(store)
            os.kill(dead, signal.SIGKILL)
            began_s = time.monotonic()
            until(lambda: is_replaced(machine, store, dead) and is_well(machine))  # noqa: B023
            away_s.append(time.monotonic() - began_s)
    away = sorted(away_s)
    print(
        f"\ncluster: {KILLS} kills;"
        f" acknowledged { ({name: len(one.acknowledged) for name, one in writes.items()}) },"
        f" refused { ({name: one.refused for name, one in writes.items()}) };"
        f" away median {away[len(away) // 2]:.2f} s, longest {away[-1]:.2f} s"
    )
    for machine in three.values():
        for one in writes.values():
            assert one.acknowledged
            until(lambda: one.lost(url(machine)) == set())  # noqa: B023  # called here
    for machine in three.values():
        assert "Traceback" not in machine.log()
