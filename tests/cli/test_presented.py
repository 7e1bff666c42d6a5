# SPDX-License-Identifier: Apache-2.0
"""What commands say of certificates is what listeners present."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.api.certificate_checks import thumbprint
from isthmus.api.certificates import issue, load_authority
from isthmus.api.rotation import rotate
from isthmus.store.servers import ServerFiles, stop_server
from tests.ports import free_ports
from tests.store.cloud import LONGEST_S
from tests.store.listening import Listening, copy_key_first, listening

pytestmark = pytest.mark.system


@pytest.fixture
def directory() -> Iterator[Path]:
    """Sockets need short paths."""
    with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as found:
        yield Path(found)


class Machine:
    """Commands on the machine of a server, as it is configured."""

    def __init__(self, server: Listening, directory: Path) -> None:
        self.rest = f"127.0.0.1:{free_ports(1)[0]}"
        self.socket = directory / "rest.sock"
        self.configuration = directory / "isthmus.toml"
        tls = server.tls
        self.configuration.write_text(
            f"""
[controller]
name = "c"
data_directory = "{server.files.directory}"
run_directory = "{server.files.run_directory}"
listen = ["unix:{self.socket}", "{self.rest}"]
client_certificates = ["operator"]
tls = {{ certificate = "{tls.certificate}", key = "{tls.key}", ca = "{tls.ca}" }}
store_listen = ["{server.listen}"]
[client]
url = "unix:{self.socket}"
"""
        )

    def begin(self, *words: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "isthmus.cli.main", *map(str, words)]
        environment = {**os.environ, "ISTHMUS_CONFIG": str(self.configuration)}
        output = subprocess.PIPE if words != ("controller",) else subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, text=True)

    def run(self, *words: str | Path) -> tuple[int, str]:
        """The exit status, and all that it says."""
        process = self.begin(*words)
        out, complaint = process.communicate(timeout=LONGEST_S)
        return process.returncode, out + complaint

    def until(self, status: int, *words: str | Path) -> str:
        end = time.monotonic() + LONGEST_S
        while (found := self.run(*words))[0] != status:
            assert time.monotonic() < end, found
        return found[1]


def test_a_server_that_does_not_present_its_file_is_told_and_an_installation_mends_it(
    directory: Path,
) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            await asyncio.to_thread(check, server)

    def check(server: Listening) -> None:
        machine = Machine(server, directory)
        folder = server.tls.ca.parent
        listing = ("certs", "list", "--folder", folder)
        assert machine.run(*listing)[0] == 0
        issue(server.authority, "c", into=server.issued)
        copy_key_first(server)
        for words in (listing, ("store", "status")):
            status, said = machine.run(*words)
            assert status == 1
            assert "presents another certificate than" in said
        status, said = machine.run("certs", "install", server.issued, "--into", folder)
        assert status == 0, said
        assert machine.run(*listing)[0] == 0
        assert "presents another" not in machine.run("store", "status")[1]

    asyncio.run(go())


def test_a_controller_asks_its_listeners_before_an_authority_is_retired(directory: Path) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            try:
                await asyncio.to_thread(check, server)
            finally:
                north = ServerFiles("north", server.files.directory, server.files.run_directory)
                await stop_server(north)

    def check(server: Listening) -> None:
        machine = Machine(server, directory)
        controller = machine.begin("controller")
        try:
            machine.until(0, "doctor")
            rotate(server.authority)
            retire = ("certs", "retire", "--folder", server.authority)
            server.tls.ca.write_bytes((server.authority / "ca.pem").read_bytes())
            status, said = machine.run(*retire)
            assert status != 0
            names = (f"server of the south store at {server.raft}", f"REST API at {machine.rest}")
            for name in names:
                assert f"{name} here uses" in said or f"{name} uses a certificate that an" in said
            issue(server.authority, "c", into=server.issued)
            copy_key_first(server)
            machine.until(0, *retire)
            told = json.loads(machine.run("doctor", "--json")[1])["certificates"]
            newest = thumbprint(load_authority(server.authority).certificate)
            assert {one["signedBy"] for one in told.values()} == {newest}
            assert len(told) == 3
        finally:
            controller.terminate()
            controller.wait()

    asyncio.run(go())
