# SPDX-License-Identifier: Apache-2.0
"""A store that others reach, join and leave: what is kept, what is refused, and for how long one
waits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.errors import Conflict, Invalid, NotFound, Unavailable
from isthmus.store import schema
from isthmus.store.clusters import cluster_status
from isthmus.store.databases import address_of, members_of
from isthmus.store.exposure import ServerTls
from isthmus.store.files import ServerFiles, State, placement
from isthmus.store.growing import (
    Place,
    drop,
    join,
    leave,
    parse_place,
    remove,
    share,
    wait_until_member,
)
from isthmus.store.servers import ensure_server, process_of, start_again, stop_server
from tests.ports import free_ports
from tests.store.cloud import LONGEST_S, furnish, interface, north_server, opened, put, until

NORTH = schema.north_schema()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("192.0.2.1", Place("192.0.2.1", 6641)),
        ("192.0.2.1:7000", Place("192.0.2.1", 7000)),
        ("2001:db8::1", Place("[2001:db8::1]", 6641)),
        ("[2001:db8::1]", Place("[2001:db8::1]", 6641)),
        ("[2001:DB8::1]:7000", Place("[2001:db8::1]", 7000)),
    ],
)
def test_a_machine_is_an_address_and_the_first_of_four_ports(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "kvm1", "192.0.2.1:0", "192.0.2.1:65535", "192.0.2.1:x"])
def test_what_is_no_address_of_a_machine_is_called_so(text: str) -> None:
    with pytest.raises(Invalid, match="no address of a machine"):
        parse_place(text)


def test_the_four_ports_are_those_of_the_manual() -> None:
    place = parse_place("192.0.2.1")
    assert (place.listen("north"), place.remote("north")) == (
        "pssl:6641:192.0.2.1",
        "ssl:192.0.2.1:6641",
    )
    assert place.remote("south") == "ssl:192.0.2.1:6642"
    assert (place.raft("north"), place.raft("south")) == (
        "ssl:192.0.2.1:6643",
        "ssl:192.0.2.1:6644",
    )


# -- real servers ----------------------------------------------------------------------------------


@pytest.fixture
def tls(directory: Path) -> Iterator[ServerTls]:
    folder = directory / "tls"
    make_authority(folder)
    issue(folder, "controller")
    yield ServerTls(folder / "controller.pem", folder / "controller-key.pem", folder / "ca.pem")


def files_in(directory: Path) -> ServerFiles:
    return ServerFiles("north", directory / "data", directory / "run")


@pytest.mark.system
def test_a_store_in_use_is_moved_to_where_others_reach_it_and_keeps_what_it_has(
    directory: Path, tls: ServerTls
) -> None:
    async def go() -> None:
        files = files_in(directory)
        raft, client = free_ports(2)
        address, listen = f"ssl:127.0.0.1:{raft}", (f"pssl:{client}:127.0.0.1",)
        async with north_server(directory) as server, opened(server.remote) as north:
            await furnish(north)
            await put(north, "/networkInterfaces/before", interface())
            before = process_of(files)
            aside = await share(files, NORTH, raft_address=address, listen=listen, tls=tls)
            assert aside is not None
            assert aside.exists()
            await until(lambda: north.connected and process_of(files) != before)
            assert north.view.get("/networkinterfaces/before") is not None
            await put(north, "/networkInterfaces/after", interface())
            assert members_of(files.database) == (address,)
            # Again, and it stays what it is, and remembers where it listens.
            assert await share(files, NORTH, raft_address=address, listen=listen, tls=tls) is None
            await stop_server(files)
            await start_again(files, (), tls)
            assert f"pssl:{client}:127.0.0.1" in _command(files)
            await until(lambda: north.connected)
            assert north.view.get("/networkinterfaces/after") is not None
            # Nor is it moved to where everybody reaches it.
            with pytest.raises(Invalid, match="refusing"):
                await share(files, NORTH, raft_address="tcp:192.0.2.1:1", listen=(), tls=tls)
            assert await address_of(files) == address

    asyncio.run(go())


def _command(files: ServerFiles) -> str:
    return Path(f"/proc/{process_of(files)}/cmdline").read_text()


@pytest.mark.system
def test_joining_what_does_not_answer_ends_in_time_says_why_and_is_given_up(
    directory: Path, tls: ServerTls
) -> None:
    async def go() -> None:
        files = files_in(directory)
        own, nobody = (f"ssl:127.0.0.1:{port}" for port in free_ports(2))
        for _ in range(2):  # asked again, it goes on
            await join(files, schema.NORTH, raft_address=own, members=[nobody], tls=tls)
            with pytest.raises(Unavailable, match=r"not in its cluster after 1 s: .*refused"):
                await wait_until_member(files, schema.NORTH, timeout_s=1.0)
        with pytest.raises(Conflict, match="already"):
            await join(files, schema.NORTH, raft_address=nobody, members=[own], tls=tls)
        assert await leave(files, schema.NORTH, timeout_s=LONGEST_S) is None
        assert not files.database.exists()
        assert process_of(files) is None

    asyncio.run(go())


@contextlib.asynccontextmanager
async def three(directory: Path, tls: ServerTls) -> AsyncIterator[list[ServerFiles]]:
    """A cluster on loopback."""
    addresses = [f"ssl:127.0.0.1:{port}" for port in free_ports(3)]
    members = [ServerFiles("north", directory / f"d{n}", directory / f"r{n}") for n in range(3)]
    try:
        await share(members[0], NORTH, raft_address=addresses[0], listen=(), tls=tls)
        for files, address in zip(members[1:], addresses[1:], strict=True):
            await join(files, schema.NORTH, raft_address=address, members=addresses[:1], tls=tls)
            await wait_until_member(files, schema.NORTH, timeout_s=LONGEST_S)
        yield members
    finally:
        for files in members:
            await stop_server(files)


async def _counts(files: ServerFiles, members: int) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            with contextlib.suppress(Unavailable):
                found = await cluster_status(files, schema.NORTH)
                if len([one for one in found.members if one.connected]) == members:
                    return
            await asyncio.sleep(0.05)


async def _has_no_leader(files: ServerFiles) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            if (await cluster_status(files, schema.NORTH)).leader == "unknown":
                return
            await asyncio.sleep(0.05)


@pytest.mark.system
def test_a_server_leaves_in_order_and_none_is_started_in_its_place(
    directory: Path, tls: ServerTls
) -> None:
    async def go() -> None:
        async with three(directory, tls) as members:
            for files in members:
                await _counts(files, 3)
            aside = await leave(members[1], schema.NORTH, timeout_s=LONGEST_S)
            assert aside is not None
            assert aside.exists()
            assert placement(members[1]).state is State.LEFT
            for start in (
                start_again(members[1], (), tls),
                ensure_server(
                    "north",
                    NORTH,
                    directory=members[1].directory,
                    run_directory=members[1].run_directory,
                ),
            ):
                with pytest.raises(Conflict, match="has left its cluster"):
                    await start
            assert not members[1].database.exists()
            await _counts(members[0], 2)
            # A move would take the other's half away.
            with pytest.raises(Conflict, match="2 servers"):
                await share(members[0], NORTH, raft_address="ssl:127.0.0.1:9", listen=(), tls=tls)
            await _counts(members[2], 2)
            await leave(members[0], schema.NORTH, timeout_s=LONGEST_S)
            await _counts(members[2], 1)
            with pytest.raises(Conflict, match="the only server"):
                await leave(members[2], schema.NORTH, timeout_s=LONGEST_S)

    asyncio.run(go())


@pytest.mark.system
def test_when_most_are_lost_one_goes_on_alone_with_what_it_has(
    directory: Path, tls: ServerTls
) -> None:
    async def go() -> None:
        async with three(directory, tls) as members:
            async with opened(members[0].remote) as north:
                await furnish(north)
                await put(north, "/networkInterfaces/kept", interface())
            address = await address_of(members[0])
            gone = [(await address_of(one), process_of(one)) for one in members[1:]]
            for name in ("tcp:127.0.0.1:1", gone[0][0]):
                refusal = NotFound if name.startswith("tcp") else Conflict
                with pytest.raises(refusal):
                    await remove(members[0], schema.NORTH, name, timeout_s=LONGEST_S)
            for _, pid in gone:
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            await _has_no_leader(members[0])
            with pytest.raises(Unavailable, match="--alone"):
                await leave(members[0], schema.NORTH, timeout_s=LONGEST_S)
            await share(members[0], NORTH, raft_address=address, listen=(), tls=tls, alone=True)
            async with opened(members[0].remote) as north:
                assert north.view.get("/networkinterfaces/kept") is not None
                await put(north, "/networkInterfaces/after", interface())
            # One that comes back is of another cluster: it is given up, and joins as a new one.
            await start_again(members[1], (), tls)
            assert await drop(members[1]) is not None
            await join(
                members[1], schema.NORTH, raft_address=gone[0][0], members=[address], tls=tls
            )
            await wait_until_member(members[1], schema.NORTH, timeout_s=LONGEST_S)
            await _counts(members[0], 2)

    asyncio.run(go())
