# SPDX-License-Identifier: Apache-2.0
"""An authority is not retired while a server still presents what it has signed, whatever the files
say."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.api.rotation import dependants, retire, rotate
from isthmus.controller.listeners import Shown, ask, findings, store_listeners, told
from isthmus.errors import Conflict
from isthmus.store import schema
from isthmus.store.presenting import look
from isthmus.store.servers import stop_server
from tests.store.listening import Listening, copy_key_first, listening

pytestmark = pytest.mark.system


@pytest.fixture
def directory() -> Iterator[Path]:
    """Sockets need short paths."""
    with tempfile.TemporaryDirectory(prefix="st", dir="/tmp") as found:
        yield Path(found)


async def shown_by(server: Listening) -> list[Shown]:
    own = server.files, schema.SOUTH, [server.listen]
    return await ask(await store_listeners("south", server.tls, (), own))


def codes(shown: list[Shown], *, after_s: float = 0.0) -> list[str]:
    return [one.code for one in findings(shown, time.time() + after_s)]


def begin_rotation(server: Listening) -> None:
    """Until all that is left is to retire."""
    rotate(server.authority)
    issue(server.authority, "c", into=server.issued)
    server.tls.ca.write_bytes((server.issued / "ca.pem").read_bytes())
    copy_key_first(server)


def test_a_server_that_presents_its_old_certificate_holds_the_old_authority(
    directory: Path,
) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            assert codes(await shown_by(server)) == []
            await asyncio.to_thread(begin_rotation, server)
            shown = await shown_by(server)
            assert codes(shown) == ["certificate-not-presented"]
            name = f"server of the south store at {server.raft}"
            with pytest.raises(Conflict, match=f"{name} uses a certificate that an old one"):
                retire(server.authority, told(shown))
            # Asked as one of another machine, it has a name all the same.
            remote = await ask(await store_listeners("south", server.tls, server.remotes, None))
            assert codes(remote) == ["certificate-authority"] * 2
            assert len(dependants(server.authority, told(remote))) == 2

            await look(server.files, [server.listen], server.tls, mend=True)
            shown = await shown_by(server)
            assert codes(shown) == []
            assert codes(shown, after_s=820 * 86400.0) == ["certificate-dates"]
            retire(server.authority, told(shown))

    asyncio.run(go())


def test_a_server_that_is_away_or_does_not_take_us_holds_it_as_well(directory: Path) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            stranger = directory / "stranger"
            make_authority(stranger)
            issue(stranger, "c")
            theirs = server.tls._replace(certificate=stranger / "c.pem", key=stranger / "c-key.pem")
            found = await ask(await store_listeners("south", theirs, server.remotes, None))
            assert codes(found) == ["certificate-refused"] * 2
            assert len(dependants(server.authority, told(found))) == 2
            await stop_server(server.files)
            found = await shown_by(server)
            assert codes(found) == ["no-certificate"]
            assert "does not answer" in dependants(server.authority, told(found))[0]
            found = await ask(await store_listeners("south", server.tls, server.remotes, None))
            assert codes(found) == ["no-certificate"] * 2

    asyncio.run(go())
