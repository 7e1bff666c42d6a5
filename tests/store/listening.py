# SPDX-License-Identifier: Apache-2.0
"""A server of the south store that others than its machine reach, with certificates to replace."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from isthmus.api.certificates import issue, make_authority
from isthmus.store import schema
from isthmus.store.presenting import presented
from isthmus.store.servers import ServerFiles, ServerTls, ensure_server, stop_server
from isthmus.store.supervising import Keeper
from tests.ports import free_ports

BUSY_S = 0.001


class Listening:
    """A server that others reach, its files, and the folder whose authority has signed them."""

    def __init__(self, directory: Path) -> None:
        self.authority = directory / "authority"
        self.issued = directory / "issued"
        self.tls = ServerTls(
            *(directory / "tls" / name for name in ("c.pem", "c-key.pem", "ca.pem"))
        )
        self.files = ServerFiles("south", directory / "data", directory / "run")
        port, raft = free_ports(2)
        self.listen = f"pssl:{port}:127.0.0.1"
        self.raft = f"ssl:127.0.0.1:{raft}"
        self.remotes = (f"ssl:127.0.0.1:{port}", self.raft)
        make_authority(self.authority)
        issue(self.authority, "c", into=self.issued)
        self.install()

    def install(self) -> None:
        """As an operator does."""
        command = ("certs", "install", str(self.issued), "--into", str(self.tls.ca.parent))
        isthmus = (sys.executable, "-m", "isthmus.cli.main")
        subprocess.run([*isthmus, *command], check=True, capture_output=True)

    async def start(self) -> None:
        await ensure_server(
            "south",
            schema.south_schema(),
            directory=self.files.directory,
            run_directory=self.files.run_directory,
            listen=[self.listen],
            raft_address=self.raft,
            tls=self.tls,
        )

    def keeper(self) -> Keeper:
        what = self.files, schema.south_schema()
        return Keeper(*what, serves=lambda: True, listen=[self.listen], tls=self.tls)

    async def presents(self) -> set[bytes]:
        return {(await presented(remote, self.tls)).certificate for remote in self.remotes}


@contextlib.asynccontextmanager
async def listening(directory: Path) -> AsyncIterator[Listening]:
    """A server that writes keep busy, as they do in use: it looks at its files all the time."""
    found = Listening(directory)
    await found.start()

    async def poke() -> None:
        reader, writer = await asyncio.open_unix_connection(found.files.socket)
        try:
            while True:
                writer.write(b'{"id":1,"method":"echo","params":[]}')
                await reader.read(1000)
                await asyncio.sleep(BUSY_S)
        finally:
            writer.transport.abort()

    poking = asyncio.create_task(poke())
    try:
        yield found
    finally:
        poking.cancel()
        await asyncio.gather(poking, return_exceptions=True)
        await stop_server(found.files)


def copy_key_first(server: Listening) -> None:
    """As by hand, with time for the server to look between the two."""
    for file in (server.tls.key, server.tls.certificate):
        file.write_bytes((server.issued / file.name).read_bytes())
        time.sleep(0.3)
