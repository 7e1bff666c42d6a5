# SPDX-License-Identifier: Apache-2.0
"""The north store on a real server: what is accepted is kept, what is refused leaves nothing."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import pytest

from isthmus.errors import Conflict, Invalid, IsthmusError, PreconditionFailed, Unavailable
from isthmus.intent.model import Allocation, Stored
from isthmus.intent.overlay import Overlay
from isthmus.intent.planning import Put, plan_batch
from isthmus.store.failures import OutcomeUnknown
from isthmus.store.north import North
from isthmus.store.north_view import LANE_BLOCK, Lane, NorthView, StoredChange, _first_gap
from isthmus.wire.ovsdb import RowId
from tests.store.cloud import (
    LONGEST_S,
    SUBNET,
    furnish,
    interface,
    north_server,
    opened,
    put,
    remove,
    restart,
    same_picture,
    until,
)

pytestmark = pytest.mark.system


def run(directory: Path, work: Callable[[North, str], Awaitable[None]]) -> None:
    """Do the work on a furnished north store; it is told the remote, too."""

    async def go() -> None:
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await work(north, server.remote)

    asyncio.run(go())


def rows(north: North) -> dict[str, Stored | None]:
    return {key: north.view.get(key) for key in north.view.row_ids}


def test_what_was_written_is_there_after_a_restart_of_everything(directory: Path) -> None:
    async def go() -> None:
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await put(north, "/networkInterfaces/n", interface())
            before = rows(north)
        async with north_server(directory) as server, opened(server.remote) as north:
            assert rows(north) == before
            assert north.view.holder(Allocation("rdid", "1")) == "/virtualnetworks/v"

    asyncio.run(go())


def test_a_refused_request_leaves_nothing(directory: Path) -> None:
    async def work(north: North, _: str) -> None:
        await put(north, "/networkInterfaces/n", interface("10.0.0.9"))
        before = rows(north)
        with pytest.raises(Conflict) as caught:
            await put(north, "/networkInterfaces/m", interface("10.0.0.9"))
        assert caught.value.code == "PrivateIPAddressInUse"
        with pytest.raises(Conflict):
            await remove(north, SUBNET)
        with pytest.raises(PreconditionFailed):
            await put(north, "/networkInterfaces/n", interface(), expected_etag="stale")
        requests = [
            Put(path="/networkInterfaces/good", body={"properties": interface()}),
            Put(path="/networkInterfaces/bad", body={"properties": {"isPrimary": "perhaps"}}),
        ]
        with pytest.raises(Invalid):
            await north.write(lambda view, ids: plan_batch(view, ids, requests))
        assert rows(north) == before

    run(directory, work)


def test_references_hold_and_allocations_go_with_their_holder(directory: Path) -> None:
    async def work(north: North, _: str) -> None:
        await put(north, "/networkInterfaces/n", interface("10.0.0.9"))
        config = north.view.get("/networkinterfaces/n/ipconfigurations/c")
        assert config is not None
        address = next(a for a in config.allocations if a.scope.startswith("ip "))
        assert north.view.holder(address) == config.key
        assert config.key in north.view.referrers(SUBNET.lower())
        await remove(north, "/networkInterfaces/n")
        assert north.view.holder(address) is None
        await put(north, "/networkInterfaces/m", interface("10.0.0.9"))
        assert north.view.holder(address) == "/networkinterfaces/m/ipconfigurations/c"

    run(directory, work)


def test_two_interfaces_can_exchange_addresses_in_one_batch(directory: Path) -> None:
    async def work(north: North, remote: str) -> None:
        first, second = "/networkInterfaces/n", "/networkInterfaces/m"
        await put(north, first, interface("10.0.0.9"))
        await put(north, second, interface("10.0.0.10"))
        free = [
            Put(path=first, body={"properties": interface("10.0.0.11")}),
            Put(path=second, body={"properties": interface("10.0.0.9")}),
            Put(path=first, body={"properties": interface("10.0.0.10")}),
        ]
        await north.write(lambda view, ids: plan_batch(view, ids, free))
        async with opened(remote, replica="c2") as other:
            for ref, address in ((first, "10.0.0.10"), (second, "10.0.0.9")):
                row = other.view.get(f"{ref.lower()}/ipconfigurations/c")
                assert row is not None
                assert address.encode() in row.properties

    run(directory, work)


def test_requests_that_come_together_see_each_other(directory: Path) -> None:
    async def work(north: North, _: str) -> None:
        results = await asyncio.gather(
            *(put(north, f"/networkInterfaces/n{k}", interface()) for k in range(40)),
            *(put(north, "/networkInterfaces/x", interface(f"10.0.9.{k}")) for k in range(2, 12)),
            *(put(north, f"/networkInterfaces/y{k}", interface("10.0.8.8")) for k in range(5)),
            return_exceptions=True,
        )
        refused = [one for one in results if isinstance(one, BaseException)]
        assert [type(one) for one in refused] == [Conflict] * 4
        assert len(list(north.view.collection("networkInterfaces"))) == 40 + 1 + 1
        held = [a for row in rows(north).values() if row for a in row.allocations]
        assert max(Counter(held).values()) == 1
        assert north.connection.counters.transactions < 40

    run(directory, work)


def test_the_database_itself_refuses_to_delete_what_another_controller_has_just_used(
    directory: Path,
) -> None:
    async def work(north: North, remote: str) -> None:
        async with opened(remote, replica="c2") as other:
            for number in range(20):
                await asyncio.gather(
                    put(north, f"/networkInterfaces/n{number}", interface()),
                    remove(other, SUBNET),
                    return_exceptions=True,
                )
                await until(lambda: same_picture([north, other]))
                subnet = north.view.get(SUBNET.lower())
                nic = north.view.get(f"/networkinterfaces/n{number}")
                assert subnet is not None or nic is None
                await furnish(north)
                await remove(north, f"/networkInterfaces/n{number}")
                await until(lambda: same_picture([north, other]))

    run(directory, work)


def test_deletions_and_writes_are_found_by_their_request_by_every_controller(
    directory: Path,
) -> None:
    async def work(north: North, remote: str) -> None:
        await put(north, "/networkInterfaces/n", interface(), request_id="r1")
        await remove(north, "/networkInterfaces/n", request_id="r2", operation_id="o2")
        await put(north, "/networkInterfaces/m", interface(), request_id="r3")
        async with opened(remote, replica="c2") as other:
            for one in (north, other):
                assert one.written("r1") == []
                found = one.deletion("r2")
                assert found is not None
                assert (found.key, found.status) == ("/networkinterfaces/n", 200)
                assert one.operation("o2") == found
                assert "/networkinterfaces/m" in {row.key for row in one.written("r3")}

    run(directory, work)


def test_a_server_that_is_away_refuses_at_once_and_one_that_comes_back_serves(
    directory: Path,
) -> None:
    async def work(north: North, remote: str) -> None:
        pid = int((directory / "run" / "north.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not north.connected)
        with pytest.raises(Unavailable):
            await put(north, "/networkInterfaces/n", interface())
        await restart(directory)
        await until(lambda: north.connected)
        await put(north, "/networkInterfaces/n", interface())
        assert north.view.get("/networkinterfaces/n") is not None

    run(directory, work)


def test_no_acknowledged_write_is_lost_when_the_server_is_killed(directory: Path) -> None:
    async def work(north: North, remote: str) -> None:
        acknowledged: set[str] = set()
        refused: set[str] = set()
        unknown: set[str] = set()

        stop = asyncio.Event()

        async def client(number: int) -> None:
            for index in count():
                if stop.is_set():
                    return
                name = f"n{number}-{index}"
                try:
                    await put(north, f"/networkInterfaces/{name}", interface())
                except OutcomeUnknown:
                    unknown.add(name)
                except Unavailable:
                    refused.add(name)
                else:
                    acknowledged.add(name)
                await asyncio.sleep(0.005)

        async def kill() -> None:
            await until(lambda: len(acknowledged) >= 30)
            os.kill(int((directory / "run" / "north.pid").read_text()), signal.SIGKILL)
            await until(lambda: len(refused) >= 8)
            await restart(directory)
            before = len(acknowledged)
            await until(lambda: len(acknowledged) >= before + 30)
            stop.set()

        await asyncio.gather(kill(), *(client(number) for number in range(8)))
        async with opened(remote, replica="c2") as again:
            stored = {row.resource_id for row in again.view.collection("networkInterfaces")}
            assert acknowledged <= stored
            assert not refused & stored
            # Of what was under way nobody knows; of the rest, everybody.
            assert len(unknown) <= 8
            # Never half a tree: an interface is there with its address or not at all.
            for name in stored:
                key = f"/networkinterfaces/{name}"
                assert len(again.view.children(key, "networkInterfaces/ipConfigurations")) == 1

    run(directory, work)


async def _race(remote: str, n_clients: int, n_interfaces: int, n_updates: int) -> None:
    async with opened(remote, replica="c1") as one, opened(remote, replica="c2") as other:
        norths = (one, other)
        await furnish(one)
        await put(one, "/networkInterfaces/shared", interface("10.0.63.1"))
        await until(lambda: other.view.get("/networkinterfaces/shared"))
        history: list[tuple[int, str, str]] = []
        commits = 0

        async def create(number: int) -> None:
            for index in range(number, n_interfaces, n_clients):
                await put(norths[number % 2], f"/networkInterfaces/n{index}", interface())

        async def change(number: int) -> None:
            nonlocal commits
            north, choose = norths[number % 2], random.Random(number)
            for _ in range(n_updates):
                row = north.view.get("/networkinterfaces/shared")
                assert row is not None
                address = f"10.0.63.{choose.randrange(2, 250)}"
                try:
                    plan = await put(
                        north,
                        "/networkInterfaces/shared",
                        interface(address),
                        expected_etag=row.etag,
                    )
                except (PreconditionFailed, Conflict):
                    continue
                written = next(r for r in (*plan.updates, *plan.inserts) if r.key == row.key)
                history.append((commits, row.etag, written.etag))
                commits += 1

        await asyncio.gather(
            *(create(number) for number in range(n_clients)),
            *(change(number) for number in range(n_clients)),
        )
        await until(lambda: same_picture(norths))
        held = [a for row in rows(one).values() if row for a in row.allocations]
        assert max(Counter(held).values()) == 1
        assert len(list(one.view.collection("networkInterfaces"))) == n_interfaces + 1
        # Linear: no two successes relied upon the same etag, and each was made by one of them.
        relied = Counter(before for _, before, _ in history)
        assert max(relied.values()) == 1
        made = {after for _, _, after in history}
        assert sum(before not in made for _, before, _ in history) == 1
        final = one.view.get("/networkinterfaces/shared")
        assert final is not None
        assert final.etag in made - relied.keys()


def test_two_controllers_race_without_a_duplicate_address_or_a_lost_update(
    directory: Path,
) -> None:
    async def go() -> None:
        async with north_server(directory) as server:
            await _race(server.remote, 8, 400, 25)

    asyncio.run(go())


@pytest.mark.long
def test_ten_thousand_dynamic_interfaces_by_sixteen_clients_of_two_controllers(
    directory: Path,
) -> None:
    async def go() -> None:
        async with north_server(directory) as server:
            await _race(server.remote, 16, 10_000, 200)

    asyncio.run(go())


def test_each_change_is_told_once_with_what_was_before(directory: Path) -> None:
    async def go() -> None:
        told: list[StoredChange] = []
        async with north_server(directory) as server:
            north = North([server.remote], replica="c1", on_changes=told.extend)
            await north.start()
            await north.loaded(LONGEST_S)
            await furnish(north)
            await put(north, "/networkInterfaces/n", interface())
            seen: dict[str, Stored | None] = {}
            for key, old, new in told:
                assert seen.get(key) == old
                seen[key] = new
            assert {key: row for key, row in seen.items() if row} == rows(north)
            await north.stop()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("taken", "start", "gap"),
    [
        ([], 5, 5),
        ([5, 6, 7], 5, 8),
        ([5, 6, 8], 5, 7),
        ([1, 2, 5, 6, 7, 9], 5, 8),
        ([6, 7], 5, 5),
        ([5], 6, 6),
    ],
)
def test_the_first_gap_is_found(taken: list[int], start: int, gap: int) -> None:
    assert _first_gap(taken, start) == gap


def test_lanes_keep_controllers_apart_and_a_full_one_is_served_from_the_others() -> None:
    view = NorthView()
    for number in range(4):
        view.lane = Lane(number, 4)
        assert view.free("s", ((0, 1000),)) == number * LANE_BLOCK
        assert view.free("s", ((number * LANE_BLOCK + 9, 1000),)) == number * LANE_BLOCK + 9
    view.lane = Lane(3, 4)
    assert view.free("s", ((5, 8),)) == 5
    assert view.free("s", ((10, 9),)) is None
    assert view.free("s", ((5, 4), (7, 9))) == 7


@pytest.mark.parametrize("n_lanes", [1, 2, 3])
def test_a_batch_takes_every_number_there_is_whatever_the_lanes(n_lanes: int) -> None:
    view = NorthView()
    view.lane = Lane(0, n_lanes)
    last, taken = 10 * LANE_BLOCK, set[int]()
    for batch in range(30):
        overlay = Overlay(view)
        for one in range(40):
            number = overlay.free("s", ((1, last),))
            if number is None:
                assert taken == set(range(1, last + 1))
                return
            assert number not in taken
            taken.add(number)
            row = holding(f"/n/{batch}-{one}", number)
            overlay.put(row)
        for row in overlay.plan((), "").inserts:
            view.change(RowId(row.key), None, row)
    raise AssertionError("it never ended")


def holding(key: str, number: int) -> Stored:
    return Stored(
        key=key,
        ref=key,
        kind="n",
        resource_id=key,
        instance_id=key,
        etag="e",
        allocations=frozenset({Allocation("s", str(number))}),
    )


def test_a_contended_request_ends_in_a_plain_error(directory: Path) -> None:
    async def work(north: North, remote: str) -> None:
        async with opened(remote, replica="c2") as other:
            stop = asyncio.Event()

            async def disturb() -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    await put(
                        other,
                        "/macPools/m",
                        {
                            "startMacAddress": "02-00-00-00-00-00",
                            "endMacAddress": "02-00-00-FF-FF-FF",
                        },
                    )

            task = asyncio.create_task(disturb())
            for number in range(30):
                try:
                    await put(north, f"/networkInterfaces/n{number}", interface())
                except IsthmusError as error:
                    assert isinstance(error, Unavailable)
            stop.set()
            await task

    run(directory, work)
