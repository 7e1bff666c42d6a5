# SPDX-License-Identifier: Apache-2.0
"""Off this machine no store is served without TLS, and no server joins that is not of ours."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.errors import Invalid, Unavailable
from isthmus.store import north_rows, schema
from isthmus.store.clusters import cluster_status
from isthmus.store.connection import Connection
from isthmus.store.exposure import ServerTls, refuse_exposed
from isthmus.store.growing import join
from isthmus.store.servers import ServerFiles, ensure_server, running, stop_server
from tests.ports import free_ports
from tests.store.cloud import LONGEST_S, until

TLS = ServerTls(Path("c"), Path("k"), Path("a"))


@pytest.mark.parametrize("address", ["ptcp:6641", "ptcp:6641:0.0.0.0", "ptcp:6641:[::]"])
@pytest.mark.parametrize("tls", [None, TLS])
def test_clients_of_other_machines_are_served_by_tls_alone(
    address: str, tls: ServerTls | None
) -> None:
    with pytest.raises(Invalid, match="refusing to serve"):
        refuse_exposed([address], [], tls)
    with pytest.raises(Invalid, match="needs a certificate"):
        refuse_exposed(["pssl:6641"], [], None)
    refuse_exposed(["pssl:6641", "pssl:6641:192.0.2.1"], [], TLS)


@pytest.mark.parametrize("tls", [None, TLS])
def test_servers_of_other_machines_join_by_tls_alone(tls: ServerTls | None) -> None:
    for address in ("tcp:192.0.2.1:6643", "tcp:[2001:db8::1]:6643", "tcp:kvm1:6643"):
        with pytest.raises(Invalid, match="refusing to serve"):
            refuse_exposed([], [address], tls)
    with pytest.raises(Invalid, match="needs a certificate"):
        refuse_exposed([], ["ssl:192.0.2.1:6643"], None)
    refuse_exposed([], ["ssl:192.0.2.1:6643"], TLS)


def test_this_machine_reaches_its_stores_without() -> None:
    refuse_exposed(
        ["ptcp:1:127.0.0.1", "ptcp:1:[::1]", "punix:/x"], ["tcp:127.0.0.1:1", "unix:/x"], None
    )
    for address in ("6641", "tcp:6641:127.0.0.1x", ""):
        with pytest.raises(Invalid):
            refuse_exposed([address], [], TLS)


# -- real servers ----------------------------------------------------------------------------------


class Authorities:
    """Ours for the north store, ours for hosts, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("north", "hosts", "stranger"):
            make_authority(folder / name)
            issue(folder / name, "one")

    def tls(self, name: str) -> ServerTls:
        place = self._folder / name
        return ServerTls(place / "one.pem", place / "one-key.pem", place / "ca.pem")

    def context(self, name: str) -> ssl.SSLContext:
        tls = self.tls(name)
        # All trust the north's servers: whom these trust is the question.
        context = ssl.create_default_context(cafile=self.tls("north").ca)
        context.check_hostname = False
        context.load_cert_chain(tls.certificate, tls.key)
        return context


@pytest.fixture
def authorities(directory: Path) -> Iterator[Authorities]:
    yield Authorities(directory / "tls")


@pytest.mark.system
def test_a_server_is_not_started_where_strangers_reach_it(
    directory: Path, authorities: Authorities
) -> None:
    async def go() -> None:
        for listen, address, tls in (
            (("ptcp:6641",), "", authorities.tls("north")),
            ((), "tcp:192.0.2.1:6643", authorities.tls("north")),
            ((), "ssl:192.0.2.1:6643", None),
        ):
            with pytest.raises(Invalid):
                await ensure_server(
                    "north",
                    schema.north_schema(),
                    directory=directory / "d",
                    run_directory=directory / "r",
                    listen=listen,
                    raft_address=address,
                    tls=tls,
                )
            files = ServerFiles("north", directory / "d", directory / "r")
            assert await running(files) is None
            assert not files.database.exists()

    asyncio.run(go())


@pytest.mark.system
@pytest.mark.parametrize("whose", ["hosts", "stranger"])
def test_neither_a_host_nor_a_stranger_reads_the_north_store_or_joins_it(
    directory: Path, authorities: Authorities, whose: str
) -> None:
    async def go() -> None:
        first = ServerFiles("north", directory / "d1", directory / "r1")
        second = ServerFiles("north", directory / "d2", directory / "r2")
        client_port, first_port, second_port = free_ports(3)
        address = f"ssl:127.0.0.1:{first_port}"
        await ensure_server(
            "north",
            schema.north_schema(),
            directory=first.directory,
            run_directory=first.run_directory,
            listen=(f"pssl:{client_port}:127.0.0.1",),
            raft_address=address,
            tls=authorities.tls("north"),
        )
        try:
            for name, welcome in ((whose, False), ("north", True)):
                await _connects(f"ssl:127.0.0.1:{client_port}", authorities, name, welcome)
            joining = f"ssl:127.0.0.1:{second_port}"
            await join(
                second,
                schema.NORTH,
                raft_address=joining,
                members=[address],
                tls=authorities.tls(whose),
            )
            await _logs(first, "certificate verify failed")
            assert len((await cluster_status(first, schema.NORTH)).members) == 1
            assert (await cluster_status(second, schema.NORTH)).status != "cluster member"
            await stop_server(second)
            second.database.unlink()
            await join(
                second,
                schema.NORTH,
                raft_address=joining,
                members=[address],
                tls=authorities.tls("north"),
            )
            await _counts(first, 2)
        finally:
            for files in (second, first):
                with contextlib.suppress(Unavailable):
                    await stop_server(files)

    asyncio.run(go())


async def _connects(remote: str, authorities: Authorities, name: str, welcome: bool) -> None:
    connection = Connection(
        [remote], schema.NORTH, north_rows.TABLES, name=name, tls=lambda: authorities.context(name)
    )
    await connection.start()
    try:
        if welcome:
            await connection.loaded(LONGEST_S)
        else:
            await until(lambda: remote in connection.problem)
            assert not connection.connected
    finally:
        await connection.stop()


async def _logs(files: ServerFiles, words: str) -> None:
    await until(lambda: words in files.log.read_text())


async def _counts(files: ServerFiles, members: int) -> None:
    async with asyncio.timeout(LONGEST_S):
        while True:
            if len((await cluster_status(files, schema.NORTH)).members) == members:
                return
            await asyncio.sleep(0.05)
