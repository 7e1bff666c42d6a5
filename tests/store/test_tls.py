# SPDX-License-Identifier: Apache-2.0
"""Hosts reach the south store by TLS: each proves itself by a certificate of our authority."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.errors import Unavailable
from isthmus.policy.rows import Heartbeat
from isthmus.store import schema
from isthmus.store.client_tls import ClientTls
from isthmus.store.connection import Connection
from isthmus.store.servers import ServerFiles, ServerTls, ensure_server, stop_server
from isthmus.wire.ovsdb import insert
from tests.ports import free_ports
from tests.store.cloud import LONGEST_S, until

pytestmark = pytest.mark.system


def _tls(folder: Path, name: str) -> ClientTls:
    return ClientTls(folder / f"{name}.pem", folder / f"{name}-key.pem", folder / "ca.pem")


def test_a_host_with_a_certificate_of_ours_writes_and_a_stranger_does_not(
    directory: Path,
) -> None:
    async def go() -> None:
        ours, theirs = directory / "ours", directory / "theirs"
        for folder in (ours, theirs):
            make_authority(folder)
            for name in ("controller", "h1"):
                issue(folder, name)
        (port,) = free_ports(1)
        files = ServerFiles("south", directory / "d", directory / "r")
        await ensure_server(
            "south",
            schema.south_schema(),
            directory=files.directory,
            run_directory=files.run_directory,
            listen=(f"pssl:{port}:127.0.0.1",),
            tls=ServerTls(ours / "controller.pem", ours / "controller-key.pem", ours / "ca.pem"),
        )
        remote = f"ssl:127.0.0.1:{port}"
        try:
            for folder, welcome in ((ours, True), (theirs, False)):
                connection = Connection(
                    [remote],
                    schema.SOUTH,
                    (Heartbeat,),
                    name="host",
                    tls=_tls(folder, "h1").context,
                )
                await connection.start()
                try:
                    if welcome:
                        await connection.loaded(LONGEST_S)
                        row = Heartbeat(host="h1", at_s=1)
                        await connection.transact([insert(row.TABLE, row)])
                        assert list(connection.table(Heartbeat).values()) == [row]
                    else:
                        await until(lambda: remote in connection.problem)  # noqa: B023  # awaited here
                        with pytest.raises(Unavailable, match="ssl"):
                            await connection.loaded(0.1)
                finally:
                    await connection.stop()
        finally:
            await stop_server(files)

    asyncio.run(go())
