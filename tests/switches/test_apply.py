# SPDX-License-Identifier: Apache-2.0
"""Changes in bundles against a real Open vSwitch: what is refused, and that it holds up nothing
else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from isthmus.switches.ovs.apply import BUNDLE_FLOWS, Refusal, Refused, apply, commit
from isthmus.switches.ovs.connection import Connection
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow, Meter
from isthmus.wire.openflow_replies import MeterStats
from tests.switches.real_switch import RealSwitch, connected

T = TypeVar("T")

pytestmark = pytest.mark.system

NO_PREREQUISITE = Flow(0, 1, oxm.match(oxm.ipv4_src("10.0.0.1")), b"", 1)
"""Refused when it is put into the bundle."""
BACKWARDS = Flow(30, 1, b"", act.instructions(goto=20), 2)
"""The same, for its instructions."""
NO_SUCH_METER = Flow(0, 3, b"", act.instructions(meter=99), 3)
"""Refused when the bundle is committed."""


def good(count: int, cookie: int = 0x10) -> list[Flow]:
    return [
        Flow(10, 100, oxm.match(oxm.reg(0, n)), act.instructions(goto=20), cookie)
        for n in range(count)
    ]


def run(switch: RealSwitch, steps: Callable[[Connection], Awaitable[T]]) -> T:
    async def all_steps() -> T:
        async with connected(switch) as connection:
            return await steps(connection)

    return asyncio.run(all_steps())


async def installed(connection: Connection) -> set[Flow]:
    return {found.flow for found in await connection.dump_flows()}


def test_an_add_replaces_the_flow_at_its_place_and_applying_twice_is_applying_once(
    switch: RealSwitch,
) -> None:
    old, new = good(10, cookie=1), good(10, cookie=2)

    async def steps(connection: Connection) -> set[Flow]:
        await apply(connection, old)
        await apply(connection, new)
        await apply(connection, new)
        return await installed(connection)

    assert run(switch, steps) == set(new)


def test_deletes_need_only_the_place_and_deleting_the_absent_is_success(switch: RealSwitch) -> None:
    flows = good(10)

    async def steps(connection: Connection) -> set[Flow]:
        await apply(connection, flows)
        elsewhere = [flow._replace(cookie=99, instructions=b"") for flow in flows[:4]]
        assert await apply(connection, deletes=[*elsewhere, *elsewhere]) == ()
        return await installed(connection)

    assert run(switch, steps) == set(flows[4:])


def test_adds_come_before_deletes(switch: RealSwitch) -> None:
    (flow,) = good(1)

    async def steps(connection: Connection) -> set[Flow]:
        await apply(connection, [flow], [flow])
        return await installed(connection)

    assert run(switch, steps) == set()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (NO_PREREQUISITE, "OFPBMC_BAD_PREREQ"),
        (BACKWARDS, "OFPBIC_BAD_TABLE_ID"),
        (NO_SUCH_METER, "OFPMMFC_INVALID_METER"),
    ],
)
def test_a_bundle_with_a_refused_flow_leaves_nothing_of_it(
    switch: RealSwitch, bad: Flow, error: str
) -> None:
    before = good(5, cookie=1)

    async def steps(connection: Connection) -> set[Flow]:
        await apply(connection, before)
        with pytest.raises(Refused) as refused:
            await commit(connection, [*good(20, cookie=2), bad], before[:2])
        assert refused.value.refusals == (Refusal(bad, error),)
        assert error in refused.value.message
        assert f"cookie={bad.cookie:#x},table={bad.table}" in refused.value.message
        return await installed(connection)

    assert run(switch, steps) == set(before)


@pytest.mark.parametrize("bad", [NO_PREREQUISITE, BACKWARDS, NO_SUCH_METER])
def test_a_refused_flow_holds_up_no_other(switch: RealSwitch, bad: Flow) -> None:
    flows = good(3 * BUNDLE_FLOWS)
    middle = BUNDLE_FLOWS + BUNDLE_FLOWS // 2

    async def steps(connection: Connection) -> set[Flow]:
        refusals = await apply(connection, [*flows[:middle], bad, *flows[middle:]])
        assert [refusal.change for refusal in refusals] == [bad]
        return await installed(connection)

    assert run(switch, steps) == set(flows)


def test_of_many_refused_flows_each_is_named(switch: RealSwitch) -> None:
    flows = good(50)
    unmetered = [NO_SUCH_METER._replace(priority=n) for n in range(10)]
    bad = [NO_PREREQUISITE, BACKWARDS, *unmetered]

    async def steps(connection: Connection) -> set[Flow]:
        refusals = await apply(connection, [*bad, *flows, NO_PREREQUISITE])
        assert {refusal.change for refusal in refusals} == set(bad)
        return await installed(connection)

    assert run(switch, steps) == set(flows)


def test_a_refusal_leaves_the_flow_that_was_to_be_replaced(switch: RealSwitch) -> None:
    (flow,) = good(1)
    worse = flow._replace(instructions=act.instructions(goto=5), cookie=3)

    async def steps(connection: Connection) -> set[Flow]:
        await apply(connection, [flow])
        (refusal,) = await apply(connection, [worse])
        assert refusal.error == "OFPBIC_BAD_TABLE_ID"
        return await installed(connection)

    assert run(switch, steps) == {flow}


def test_meters_are_there_before_flows_and_go_after_them(switch: RealSwitch) -> None:
    meter, faster = Meter(7, rate=10, burst=20), Meter(7, rate=50, burst=60)
    flow = Flow(0, 1, b"", act.instructions(meter=7, goto=10), 1)

    async def steps(connection: Connection) -> None:
        assert await apply(connection, [flow], meters=[meter]) == ()
        assert await apply(connection, meters=[faster]) == ()
        assert await connection.dump_meters() == [faster]
        assert await connection.dump_meter_stats() == [MeterStats(7, 0, 0)]
        assert await installed(connection) == {flow}
        assert await apply(connection, deletes=[flow], deleted_meters=[faster, meter]) == ()
        assert await connection.dump_meters() == []
        assert await installed(connection) == set()

    run(switch, steps)


def test_a_refused_meter_is_named_and_flows_without_it_are_applied(switch: RealSwitch) -> None:
    impossible = Meter(0, rate=1, burst=1)  # meters are numbered from 1
    flows = good(3)

    async def steps(connection: Connection) -> set[Flow]:
        (refusal,) = await apply(connection, flows, meters=[impossible])
        assert refusal == Refusal(impossible, "OFPMMFC_INVALID_METER")
        assert refusal.text == "meter 0: OFPMMFC_INVALID_METER"
        return await installed(connection)

    assert run(switch, steps) == set(flows)


def test_bundles_of_two_appliers_at_once_do_not_meet(switch: RealSwitch) -> None:
    first, second = good(1000), [flow._replace(table=11) for flow in good(1000)]

    async def steps(connection: Connection) -> set[Flow]:
        refusals = await asyncio.gather(
            apply(connection, [*first, NO_PREREQUISITE]), apply(connection, [*second, BACKWARDS])
        )
        assert [[refusal.change for refusal in of_one] for of_one in refusals] == [
            [NO_PREREQUISITE],
            [BACKWARDS],
        ]
        return await installed(connection)

    assert run(switch, steps) == {*first, *second}
