# SPDX-License-Identifier: Apache-2.0
"""Serving the API on any number of listeners in a running event loop.

Each listener has its address, TLS and rule of access; one that others than this machine can reach
must have TLS and must know its clients, or it is refused before anything listens. Certificates and
users are read again when their files change and on `ApiServer.reload` (which is for SIGHUP),
without closing a listener or a connection.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Sequence

from isthmus.api.http.admission import MOST, most_of_each
from isthmus.api.http.authentication import Application
from isthmus.api.http.listening import UNIX, Listener, Listening

log = logging.getLogger(__name__)

WATCH_S = 2.0
"""How often files are looked at: four `stat` calls a listener."""


MOST_FILES = 65_536
"""A bound of our own, where the machine has none: some systems count in billions."""


class ApiServer:
    """The listeners of one process.

    The constructor raises Invalid or NotFound for what must not or cannot be served.
    """

    def __init__(self, app: Application, listeners: Sequence[Listener]) -> None:
        on_ports = sum(not listener.address.startswith(UNIX) for listener in listeners)
        most = most_of_each(_files(), on_ports)
        self._listening = tuple(
            Listening(app, one, most=MOST if one.address.startswith(UNIX) else most)
            for one in listeners
        )
        self._watcher: asyncio.Task[None] | None = None

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it listens, with the ports that were really taken; after `start`."""
        return tuple(one.url for one in self._listening)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why changed files could not be used; the former ones still are."""
        return tuple(one.problem for one in self._listening if one.problem)

    async def start(self) -> None:
        """Listen. Raises Unavailable when an address cannot be had; then nothing listens."""
        try:
            for one in self._listening:
                await one.start()
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="watch certificates and users")

    async def stop(self) -> None:
        """Stop listening; requests that are running may finish for a few seconds."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        await asyncio.gather(*(one.stop() for one in self._listening))

    def reload(self) -> None:
        """Read all certificates and users again, changed or not."""
        for one in self._listening:
            one.reload()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for one in self._listening:
                try:
                    if one.has_changed():
                        one.reload()
                except Exception:  # whatever is wrong with the files, they are looked at again
                    log.exception("listener=%s reload=failed", one.url)


def _files() -> int:
    """How many files this process may have: as many as it may allow itself. Most systems give a
    process 1,024 (select(2) knows no more) and let it ask for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
