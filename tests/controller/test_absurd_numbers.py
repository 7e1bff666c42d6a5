# SPDX-License-Identifier: Apache-2.0
"""Numbers of the south store that somebody has set where nobody could count on: counting begins
anew, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from isthmus.controller.asking import Asking
from isthmus.controller.hearing import Hearing
from isthmus.controller.observed_state import ObservedState
from isthmus.controller.probes import Probes
from isthmus.policy.rows import Deriver, Heartbeat, Host, Probe
from isthmus.store.connection import Connection
from isthmus.store.south import deriver_of
from isthmus.wire.ovsdb import insert, update
from tests.controller.clocks import Clock
from tests.controller.test_fence import PORTS, south, writing
from tests.store.conftest import directory

__all__ = ["directory"]

pytestmark = pytest.mark.system

ABSURD = [(1 << 63) - 1, (1 << 53) + 5, (1 << 53) - 1, -(1 << 63), -1]


def probes_of(connection: Connection) -> tuple[Probes, ObservedState]:
    observed = ObservedState(lambda: 1_700_000_000.0, Hearing(Clock()))
    observed.change(None, Host(id="h1", certificate_name="h1"))
    return Probes(connection, observed, Asking(connection, lambda _: True), lambda: False), observed


async def answered_after(probes: Probes, number: int) -> list[object]:
    """Milliseconds, of each host."""
    told: Any = await probes.probe(number, 0, 0.0)  # JSON
    return [host["milliseconds"] for host in told["hosts"]]


@pytest.mark.parametrize("number", ABSURD)
def test_a_probe_that_nobody_could_raise_is_begun_anew(directory: Path, number: int) -> None:
    async def go() -> None:
        async with south(directory) as remote, writing(remote, "c1") as (_, connection):
            await connection.transact([insert(Probe.TABLE, Probe(number=number))])
            await connection.transact([insert(Probe.TABLE, Probe(name="another", number=number))])
            probes, observed = probes_of(connection)
            # What a host has answered to the number that was there answers none of ours.
            observed.change(None, Heartbeat(host="h1", at_s=1, probe=max(0, number)))
            raised = (await probes.raise_probe())["probe"]
            assert raised == 1
            assert await answered_after(probes, 1) == [None]
            observed.change(None, Heartbeat(host="h1", at_s=2, probe=1))
            assert await answered_after(probes, 1) != [None]
            assert (await probes.raise_probe())["probe"] == 2

    asyncio.run(go())


@pytest.mark.parametrize("generation", [(1 << 63) - 1, 1 << 53, -(1 << 63)])
def test_whatever_generation_is_written_a_controller_takes_over(
    directory: Path, generation: int
) -> None:
    async def go() -> None:
        async with south(directory) as remote, writing(remote, "c1") as (writer, connection):
            await writer.take_over()
            ((row_id, row),) = connection.table(Deriver).items()
            absurd = Deriver(generation=generation, holder="nobody")
            await connection.transact([update(row.TABLE, row_id, absurd, ["generation", "holder"])])
            assert writer.notice_successor()
            assert await writer.take_over() == 1
            await writer.write([(None, PORTS[0])])

    asyncio.run(go())


def test_a_second_row_of_a_deriver_makes_no_second_deriver(directory: Path) -> None:
    async def go() -> None:
        async with south(directory) as remote, writing(remote, "c1") as (writer, connection):
            for name in ("a", "z"):
                other = Deriver(name=name, generation=7, holder="nobody")
                await connection.transact([insert(Deriver.TABLE, other)])
            assert await writer.take_over() == 1
            found = deriver_of(connection)
            assert found is not None
            assert (found[1].name, found[1].holder) == ("deriver", "c1")
            await writer.write([(None, PORTS[0])])

    asyncio.run(go())
