# SPDX-License-Identifier: Apache-2.0
"""Whoever connects to a server and says nothing takes no place from others, until there are very
many of them: docs/security.md says what an operator does about these."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from isthmus.store.commands import succeeds
from isthmus.store.presenting import certificate_of, presented
from isthmus.store.remotes import check_remote
from tests.store.listening import listening

pytestmark = pytest.mark.system

FEW, STRANGERS = 128, 180


@contextlib.contextmanager
def few_files() -> Iterator[None]:
    """As for what is started in a shell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_server_that_was_started_with_few_files_serves_beside_many_silent_strangers(
    directory: Path,
) -> None:
    async def go() -> None:
        async with contextlib.AsyncExitStack() as stack:
            with few_files():
                server = await stack.enter_async_context(listening(directory))
            _, host, port = check_remote(server.remotes[0])
            for _ in range(STRANGERS):
                stack.enter_context(socket.create_connection((host, port)))
            own = ("ovsdb-client", "-t", "20", "list-dbs", server.files.remote)
            assert await succeeds(*own, timeout_s=30.0)
            found = await presented(server.remotes[0], server.tls)
            assert found == (certificate_of(server.tls), True)

    asyncio.run(go())
