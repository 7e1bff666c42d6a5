# SPDX-License-Identifier: Apache-2.0
"""Takes the connections of one listening socket, as `admission` says, and watches over their pace.

asyncio's own server takes whatever comes, keeps an unfinished TLS handshake for a minute, and stops
listening for a second when files run out. Here a connection is counted before TLS begins, one is
taken in each turn of the event loop, so that those before it are heard first, and each is looked at
once in a second: `Connection.look` ends what is too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable

from isthmus.api.http.admission import Admission, Visit
from isthmus.api.http.connection import Connection

log = logging.getLogger(__name__)

BACKLOG = 2048
HANDSHAKE_S = 10.0
"""For TLS to begin: two round trips and some arithmetic."""
SHUTDOWN_S = 5.0
"""For TLS to end."""
UNACKNOWLEDGED_MS = 30_000
"""How long a client may take nothing of what it is sent; then the kernel ends the connection (RFC
5482). Without it, who reads no answer keeps its connection and what was to be sent."""
RECEIVED_BYTES = 64 * 1024
"""Of one connection, what the kernel takes in before we have read it."""
LOOK_S = 1.0
FULL_S = 0.1
"""Until files may be there again."""
LOGGED_S = 60.0
"""At most once in that time: who floods us shall not fill the disk."""

# asyncio gives every connection with TLS a buffer of 256 KiB before anybody has said anything. What
# is read at once becomes a little less: that is all.
sslproto.SSLProtocol.max_size = 32 * 1024

Make = Callable[[Visit], Connection]


def listen(bound: socket.socket) -> None:
    """Let clients of a bound socket wait to be taken."""
    if bound.family != socket.AF_UNIX:
        # inherited by each connection, and so the most that is read of one at once
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
    bound.listen(BACKLOG)


class Accepting:
    """A listening socket at work. Has of `asyncio.Server` what uvicorn uses: `close` and
    `wait_closed`."""

    def __init__(
        self, bound: socket.socket, make: Make, admission: Admission, context: ssl.SSLContext | None
    ) -> None:
        self._socket = bound
        self._make = make
        self._admission = admission
        self._context = context
        self._connections: dict[Visit, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepter: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._logged_s = -LOGGED_S
        self._told = 0

    def start(self) -> None:
        """Take connections of a socket that listens, in the running event loop."""
        self._accepter = asyncio.create_task(self._accept(), name="accept")
        self._watcher = asyncio.create_task(self._watch(), name="watch connections")

    def close(self) -> None:
        """Take no more."""
        for task in (self._accepter, *self._tasks):
            if task is not None:
                task.cancel()

    async def wait_closed(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        ending = [
            task for task in (self._accepter, self._watcher, *self._tasks) if task is not None
        ]
        if ending:
            await asyncio.wait(ending)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(self._socket)
            except ConnectionError:
                continue  # it has gone again
            except OSError as error:  # no files or no memory
                log.warning("accept failed error=%s", error.strerror)
                self._admission.make_room()
                await asyncio.sleep(FULL_S)
                continue
            self._take(loop, taken)
            await asyncio.sleep(0)

    def _take(self, loop: asyncio.AbstractEventLoop, taken: socket.socket) -> None:
        task: asyncio.Task[None] | None = None

        def end() -> None:
            connection = self._connections.get(visit)
            if connection is not None and connection.is_made:
                connection.abort()
            elif task is not None:
                task.cancel()

        visit = Visit(_address(taken), end, since_s=loop.time())
        if not self._admission.enter(visit):
            taken.close()
        else:
            if taken.family != socket.AF_UNIX:
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
            task = loop.create_task(self._begin(loop, visit, taken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._log_ended(loop.time())

    async def _begin(
        self, loop: asyncio.AbstractEventLoop, visit: Visit, taken: socket.socket
    ) -> None:
        """TLS, then the connection's own life."""
        connection = self._connections[visit] = self._make(visit)
        connection.on_end = lambda: self._over(visit)
        times = {} if self._context is None else _TLS_TIMES
        try:
            await loop.connect_accepted_socket(
                lambda: connection, taken, ssl=self._context, **times
            )
        except (OSError, asyncio.CancelledError):
            # ssl.SSLError and TimeoutError are OSErrors. Nobody is there who could be told.
            self._over(visit)
            with contextlib.suppress(OSError):
                taken.close()

    def _over(self, visit: Visit) -> None:
        self._admission.leave(visit)
        self._connections.pop(visit, None)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        before_s = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            now_s = loop.time()
            for connection in tuple(self._connections.values()):
                connection.look(now_s - before_s)
            before_s = now_s

    def _log_ended(self, now_s: float) -> None:
        if self._admission.ended > self._told and now_s > self._logged_s + LOGGED_S:
            self._logged_s = now_s
            log.warning(
                "connections ended to make room for others count=%d total=%d",
                self._admission.ended - self._told,
                self._admission.ended,
            )
            self._told = self._admission.ended


_TLS_TIMES = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": SHUTDOWN_S}


def _address(taken: socket.socket) -> str:
    """The other end's; empty on a unix socket, and when it has gone already."""
    try:
        name = taken.getpeername()
    except OSError:
        return ""
    return name[0] if isinstance(name, tuple) else ""
