# SPDX-License-Identifier: Apache-2.0
"""A server presents the certificate of its files, however they came to be there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.store.presenting import certificate_of, look, presented
from isthmus.store.servers import ServerTls
from tests.store.cloud import LONGEST_S, until
from tests.store.listening import Listening, copy_key_first, listening

pytestmark = pytest.mark.system


def test_a_busy_server_presents_what_was_installed_or_renewed_at_once(directory: Path) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            for _ in range(4):
                issue(server.authority, "c", into=server.issued)
                await asyncio.to_thread(server.install)
                assert await server.presents() == {certificate_of(server.tls)}
            for _ in range(4):
                await asyncio.to_thread(
                    issue, server.authority, "c", into=server.tls.certificate.parent
                )
                assert await server.presents() == {certificate_of(server.tls)}

    asyncio.run(go())


def test_a_server_that_kept_its_old_certificate_is_made_to_present_the_new_one(
    directory: Path,
) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            before = certificate_of(server.tls)
            issue(server.authority, "c", into=server.issued)
            await asyncio.to_thread(copy_key_first, server)
            assert await server.presents() == {before}
            said = await look(server.files, [server.listen], server.tls, mend=False)
            assert "presents another certificate" in said
            keeper = server.keeper()
            keeping = asyncio.create_task(keeper.run())
            try:
                new = certificate_of(server.tls)
                assert new != before
                await until_presented(server, new)
                assert keeper.problem == ""
                # And again, while it is kept.
                issue(server.authority, "c", into=server.issued)
                await asyncio.to_thread(copy_key_first, server)
                await until_presented(server, certificate_of(server.tls))
                assert keeper.restarts == 0
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(go())


async def until_presented(server: Listening, certificate: bytes) -> None:
    async with asyncio.timeout(LONGEST_S):
        while await server.presents() != {certificate}:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)


def test_a_key_that_is_of_another_certificate_is_told_until_the_right_one_is_there(
    directory: Path,
) -> None:
    async def go() -> None:
        async with listening(directory) as server:
            other = issue(server.authority, "other")
            server.tls.certificate.write_bytes(other.certificate.read_bytes())
            server.tls.key.write_bytes(issue(server.authority, "c").key.read_bytes())
            keeper = server.keeper()
            keeping = asyncio.create_task(keeper.run())
            try:
                await until(lambda: "is not the key of" in keeper.problem)
                await asyncio.to_thread(server.install)
                await until(lambda: not keeper.problem)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
            assert await server.presents() == {certificate_of(server.tls)}

    asyncio.run(go())


def test_a_listener_that_does_not_take_us_still_shows_what_it_presents(directory: Path) -> None:
    async def go() -> None:
        stranger = directory / "stranger"
        make_authority(stranger)
        theirs = issue(stranger, "c")
        async with listening(directory) as server:
            for remote in server.remotes:
                ours = await presented(remote, server.tls)
                assert ours == (certificate_of(server.tls), True)
                other = ServerTls(theirs.certificate, theirs.key, theirs.authorities)
                assert await presented(remote, other) == (ours.certificate, False)

    asyncio.run(go())
