# SPDX-License-Identifier: Apache-2.0
"""The OVSDB client and a cluster of ovsdb-servers; resuming; TLS and TCP."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from isthmus.api.certificates import Kind, issue, make_authority
from isthmus.errors import Unavailable
from isthmus.store.connection import Change
from isthmus.store.failures import Duplicate, OutcomeUnknown
from isthmus.wire.ovsdb import delete, insert
from tests.ports import free_ports
from tests.store.client import add, client, find, names, until
from tests.store.database import Server, Thing

pytestmark = pytest.mark.system


def is_leader(server: Server) -> bool:
    return "Role: leader" in server.appctl("cluster/status", "Things")


def joined(server: Server) -> bool:
    return "Status: cluster member" in server.appctl("cluster/status", "Things")


@pytest.fixture
def cluster(directory: Path) -> Iterator[list[Server]]:
    """Three servers; the first leads."""
    first = Server(directory / "1", clustered=True)
    servers = [first, *(Server(directory / name, peer=first) for name in "23")]
    try:
        for server in servers:
            server.start()
        asyncio.run(until(lambda: all(map(joined, servers)) and is_leader(first)))
        yield servers
    finally:
        for server in servers:
            server.kill()


def test_after_a_short_gap_a_clustered_server_sends_only_what_was_missed(directory: Path) -> None:
    """Of a data base with some rows: what the server remembers is never larger than what it has."""
    changes: list[Change] = []

    async def steps(server: Server) -> None:
        near, far = f"{server.directory}/near.sock", server.remote
        server.appctl("ovsdb-server/add-remote", f"punix:{near}")
        async with (
            client(f"unix:{near}", on_changes=changes.extend) as connection,
            client(far) as other,
        ):
            kept = {f"n{n}" for n in range(50)}
            await add(connection, *kept)
            await add(connection, "a")
            (a, row), held = find(connection, "a"), connection.table(Thing)
            changes.clear()
            server.appctl("ovsdb-server/remove-remote", f"punix:{near}")
            await until(lambda: not connection.connected)
            await other.transact([delete("Thing", a), insert("Thing", Thing(name="d"))])
            server.appctl("ovsdb-server/add-remote", f"punix:{near}")
            await until(lambda: connection.connected)
            assert connection.rows == other.rows
            assert names(connection) == {*kept, "d"}
            assert connection.counters.resumes == 1
            assert connection.counters.reloads == 1
            assert Change(Thing, a, row, None) in changes
            assert len(changes) == 2
            assert connection.table(Thing) is held

    with Server(directory / "s", clustered=True) as server:
        asyncio.run(steps(server))


def test_after_a_long_gap_everything_is_read_and_only_the_difference_is_told(
    directory: Path,
) -> None:
    """ovsdb-server remembers a hundred transactions."""
    changes: list[Change] = []

    async def steps(server: Server) -> None:
        near, far = f"{server.directory}/near.sock", server.remote
        server.appctl("ovsdb-server/add-remote", f"punix:{near}")
        async with (
            client(f"unix:{near}", on_changes=changes.extend) as connection,
            client(far) as other,
        ):
            await add(connection, *"abc")
            changes.clear()
            server.appctl("ovsdb-server/remove-remote", f"punix:{near}")
            await until(lambda: not connection.connected)
            for n in range(120):
                await add(other, f"n{n}")
            server.appctl("ovsdb-server/add-remote", f"punix:{near}")
            await until(lambda: connection.connected)
            assert connection.rows == other.rows
            assert connection.counters.resumes == 0
            assert connection.counters.reloads == 2
            assert {change.old for change in changes} == {None}
            assert len(changes) == 120

    with Server(directory / "s", clustered=True) as server:
        asyncio.run(steps(server))


def test_who_wants_the_leader_follows_it_and_loses_nothing(cluster: list[Server]) -> None:
    async def steps() -> None:
        remotes = [server.remote for server in cluster]
        # The followers come first.
        async with client(*remotes[::-1], leader_only=True) as connection:
            await add(connection, *"abc")
            before = dict(connection.table(Thing))
            cluster[0].kill()
            await until(lambda: not connection.connected)
            await until(lambda: connection.connected)
            assert dict(connection.table(Thing)) == before
            await add(connection, "d")
            assert connection.counters.resumes >= 1
            for server in cluster[1:]:
                async with client(server.remote) as other:
                    # One that follows may hear of the last write a moment later.
                    await until(lambda other=other: other.rows == connection.rows)  # type: ignore[misc]

    asyncio.run(steps())


def test_a_leader_that_is_asked_to_step_down_is_left(cluster: list[Server]) -> None:
    """It is still there and still answers: only its word says that it leads no more."""

    async def steps() -> None:
        remotes = [server.remote for server in cluster]
        told: list[bool] = []
        async with client(*remotes, leader_only=True, on_connected=told.append) as connection:
            await add(connection, "a")
            cluster[0].appctl("cluster/leave", "Things")
            await until(lambda: told[-2:] == [False, True])
            await add(connection, "b")
            assert names(connection) == {"a", "b"}
            await until(lambda: any(is_leader(server) for server in cluster[1:]))

    asyncio.run(steps())


@pytest.mark.long
def test_a_server_without_a_majority_is_left_and_writes_are_refused(cluster: list[Server]) -> None:
    async def steps() -> None:
        async with client(*[server.remote for server in cluster]) as connection:
            await add(connection, "a")
            for server in cluster[1:]:
                server.signal(signal.SIGSTOP)
            try:
                with pytest.raises(Unavailable):
                    await connection.transact([insert("Thing", Thing(name="b"))], timeout_s=30)
                await until(lambda: not connection.connected)
                with pytest.raises(Unavailable) as refusal:
                    await add(connection, "c")
                assert not isinstance(refusal.value, OutcomeUnknown)
            finally:
                for server in cluster[1:]:
                    server.signal(signal.SIGCONT)
            await until(lambda: connection.connected)
            # A server that sees the leadership change under a transaction tries it again although
            # it may have happened: the index then finds what is its own.
            with suppress(Duplicate):
                await add(connection, "d")
            assert names(connection) - {"b"} == {"a", "d"}

    asyncio.run(steps())


# -- over the network ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_is_reached_over_tcp(directory: Path, host: str) -> None:
    (port,) = free_ports(1, host)
    shown = f"[{host}]" if ":" in host else host

    async def steps() -> None:
        async with client(f"tcp:{shown}:{port}") as connection:
            await add(connection, "a")
            assert names(connection) == {"a"}

    with Server(directory / "s", arguments=(f"--remote=ptcp:{port}:{shown}",)):
        asyncio.run(steps())


def test_a_server_is_reached_over_tls_by_who_has_a_certificate(directory: Path) -> None:
    make_authority(directory)
    issue(directory, "store", [Kind.SERVER], addresses=["127.0.0.1"])
    issue(directory, "host-1", [Kind.CLIENT])
    (port,) = free_ports(1)
    arguments = (
        f"--remote=pssl:{port}:127.0.0.1",
        f"--private-key={directory}/store-key.pem",
        f"--certificate={directory}/store.pem",
        f"--ca-cert={directory}/ca.pem",
    )
    remote = f"ssl:127.0.0.1:{port}"

    async def steps() -> None:
        tls = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        async with client(remote, tls=lambda: tls, wait=False) as stranger:
            await until(lambda: remote in stranger.problem)
            with pytest.raises(Unavailable):
                await stranger.loaded(0.1)
        async with client(remote, wait=False) as bare:
            await until(lambda: "certificate" in bare.problem)
            with pytest.raises(Unavailable, match="certificate"):
                await bare.loaded(0.1)
        other = ssl.create_default_context()
        async with client(remote, tls=lambda: other, wait=False) as distrustful:
            await until(lambda: "certificate verify failed" in distrustful.problem)
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await distrustful.loaded(0.1)
        tls.load_cert_chain(directory / "host-1.pem", directory / "host-1-key.pem")
        async with client(remote, tls=lambda: tls) as connection:
            many = [Thing(name=f"t{n}", words=("x" * 50,)) for n in range(2000)]
            await connection.transact([insert("Thing", thing) for thing in many])
            assert len(connection.table(Thing)) == len(many)

    with Server(directory / "s", arguments=arguments):
        asyncio.run(steps())
