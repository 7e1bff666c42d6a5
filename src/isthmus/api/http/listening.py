# SPDX-License-Identifier: Apache-2.0
"""One address to listen on: what it is, whether it may be, and uvicorn serving it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from isthmus.api.http.accepting import Accepting, listen
from isthmus.api.http.access import Access
from isthmus.api.http.admission import MOST, Admission
from isthmus.api.http.authentication import Application, Authentication
from isthmus.api.http.connection import Connection
from isthmus.api.http.tls import ReplaceableTls, TlsFiles
from isthmus.api.http.web_pages import is_loopback
from isthmus.errors import Invalid, IsthmusError, Unavailable

log = logging.getLogger(__name__)

# It has a line for every request that is no HTTP: nobody shall fill the disk with them.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

UNIX = "unix:"
KEEP_ALIVE_S = 75
"""Longer than the minute at which many clients poll; nginx's default too."""
STOP_S = 5
"""For running requests to finish when the server stops; a commit takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen and for whom.

    `address` is ``unix:/path``, ``127.0.0.1:8080``, ``[::]:443`` or ``name:port``; port 0 takes a
    free one. `certificates` are SHA-256 thumbprints, common names or subjects of clients; `users`
    is a file that `isthmus.api.http.users` writes. `mode` is that of a unix socket.
    """

    address: str
    tls: TlsFiles | None = None
    certificates: tuple[str, ...] = ()
    users: Path | None = None
    mode: int = 0o600


class Listening:
    """A `Listener` at work. The constructor raises Invalid or NotFound for one that must not be
    served."""

    def __init__(self, app: Application, listener: Listener, *, most: int = MOST) -> None:
        """`most` connections at once."""
        self._listener = listener
        self._endpoint = _endpoint(listener.address)
        self._access = Access(listener.certificates, listener.users)
        _refuse_unsafe(listener, self._endpoint, self._access)
        self._tls = (
            ReplaceableTls(listener.tls, ask_for_certificates=self._access.asks_for_certificates)
            if listener.tls
            else None
        )
        known = Authentication(app, self._access, self._names())
        self._server = _Server(_configuration(known), Admission(most), self._tls)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem = ""

    def _names(self) -> Callable[[], frozenset[str]] | None:
        """By which names others than this machine call it; None where they cannot."""
        tls = self._tls
        return None if tls is None else lambda: tls.names

    @property
    def url(self) -> str:
        """``https://127.0.0.1:443`` or ``unix:/path``."""
        if isinstance(self._endpoint, Path) or self._socket is None:
            return self._listener.address
        host, port = self._socket.getsockname()[:2]
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def start(self) -> None:
        """Bind and serve. Raises Unavailable when the address cannot be had."""
        try:
            self._socket = _bind(self._endpoint, self._listener.mode)
            # at once: who sees a unix socket expects that somebody is there
            listen(self._socket)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {self._listener.address}: {error.strerror}; stop what listens"
                " there or choose another address",
                code="AddressInUse",
                target=self._listener.address,
            ) from error
        self._task = asyncio.create_task(self._server.serve([self._socket]), name=self.url)
        while not self._server.started and not self._task.done():  # noqa: ASYNC110  # no event of uvicorn's
            await asyncio.sleep(0)
        if self._task.done():
            await self._task
        log.info("listening url=%s", self.url)

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        if self._socket is not None:
            self._socket.close()
        if isinstance(self._endpoint, Path) and self._task is not None:
            self._endpoint.unlink(missing_ok=True)

    def has_changed(self) -> bool:
        """Whether a file of certificates or users is another one than when it was read."""
        return bool(
            (self._tls and self._tls.has_changed())
            or (self._access.passwords and self._access.passwords.has_changed())
        )

    def reload(self) -> None:
        """Read the files again. What is broken is logged, shown in `problem`, and stays as it
        was."""
        try:
            if self._tls is not None:
                self._tls.reload()
            if self._access.passwords is not None:
                self._access.passwords.reload()
        except IsthmusError as error:
            self.problem = f"{self.url}: {error.message}"
            log.warning("reload failed url=%s error=%s", self.url, error.message)
        else:
            self.problem = ""
            log.info("reloaded url=%s", self.url)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, for the process decides when to stop, and without asyncio's
    server, which takes every connection."""

    def __init__(
        self, config: uvicorn.Config, admission: Admission, tls: ReplaceableTls | None
    ) -> None:
        super().__init__(config)
        self._admission = admission
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets, "we bind for ourselves"
        accepting = Accepting(
            sockets[0],
            lambda visit: Connection(self.config, self.server_state, {}, visit),
            self._admission,
            self._tls.context if self._tls else None,
        )
        accepting.start()
        self.servers = [accepting]  # type: ignore[list-item]  # has what uvicorn asks of it
        self.started = True


def _configuration(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        headers=[("server", "Isthmus")],
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
    )


def _endpoint(address: str) -> Path | tuple[str, int]:
    """A unix socket's path, or host and port. Raises Invalid."""
    if address.startswith(UNIX):
        return Path(address.removeprefix(UNIX))
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise Invalid(
            f"{address!r} is no address to listen on: write unix:/path, 127.0.0.1:8080 or [::]:443",
            target=address,
        )
    return host.strip("[]"), int(port)


def _refuse_unsafe(listener: Listener, endpoint: Path | tuple[str, int], access: Access) -> None:
    """MS-NCNBI section A.11: TLS always. We make one exception, for what stays on this machine."""
    if isinstance(endpoint, Path) or is_loopback(endpoint[0]):
        if access.asks_for_certificates and listener.tls is None:
            raise Invalid(
                f"{listener.address} lists client certificates, which need TLS: give it a"
                " certificate",
                target=listener.address,
            )
        return
    if listener.tls is None:
        raise Invalid(
            f"refusing to listen on {listener.address} without TLS, which others than this machine"
            " can reach: give it a certificate (isthmus certs), or listen on 127.0.0.1 or a unix"
            " socket",
            target=listener.address,
        )
    if access.is_open:
        raise Invalid(
            f"refusing to listen on {listener.address} for everybody, which others than this"
            " machine can reach: list client certificates, or give a file of users (isthmus users)",
            target=listener.address,
        )


def _bind(endpoint: Path | tuple[str, int], mode: int) -> socket.socket:
    """A bound socket; of a unix one the mode holds from its first moment. Raises OSError."""
    if isinstance(endpoint, Path):
        return _bind_unix(endpoint, mode)
    host, port = endpoint
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host not in ("", "::"))
        bound.bind(address)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_unix(path: Path, mode: int) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_socket() and not _is_served(path):
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)
    try:
        bound.bind(str(path))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(before)
    return bound


def _is_served(path: Path) -> bool:
    """Whether somebody listens on a unix socket: else it is what a killed process left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
