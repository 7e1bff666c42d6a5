# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection: uvicorn's, with what the application must know of it that uvicorn does not
tell, and with bounds that uvicorn does not have.

uvicorn does not pass the client's certificate on. It is the same for all requests of a connection,
so it is read once, when the connection is made (TLS has finished then), and given to each request
in ``scope["extensions"]``.

Bounded here, before anybody has said who they are:

- what is not a body: bytes of a head, of a chunk's extensions, of a trailer; and headers by number;
- requests that are sent ahead of their answers;
- the time for a head and for a body, and for the rest of a body that nobody wants.

How many connections there may be is for `admission` to say. How long a client may read nothing of
its answer, and take to begin TLS, is bounded in `accepting`.
"""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from collections.abc import Callable
from typing import Any, cast

import httptools
from cryptography import x509
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from isthmus.api.http.access import Peer
from isthmus.api.http.admission import Visit

PEER = "isthmus.peer"
"""Key of the `Peer` in ``scope["extensions"]``."""

VISIT = "isthmus.visit"
"""Key of the `Visit` in ``scope["extensions"]``."""

LONGEST_HEAD_BYTES = 64 * 1024
"""Request line and headers. Certificates and tokens of known clients fit in 16 KiB."""
MOST_HEADERS = 100
"""Known clients send about ten. Each costs more memory than it has bytes."""
MOST_AHEAD = 8
"""Requests that wait while one is answered. Known clients send none ahead."""
HEAD_S = 20.0
"""For a head, from its first byte, and for the first one from the beginning of the connection."""
BODY_S = 30.0
"""For a body, and one second more for each `BODY_BYTES`."""
BODY_BYTES = 64 * 1024
UNWANTED_S = 5.0
"""For the rest of a body after its request was answered: a client that is cut off while it sends
may not see the answer."""
UNREAD_BYTES = 64 * 1024
"""Of TLS, what is taken in while an earlier request is answered."""
READ_BYTES = 16 * 1024
"""Without TLS, what is read at once."""
PIECE_BYTES = 4096
"""Of a head, what is read before its bounds are looked at."""

# What uvicorn takes in of a body before anybody asks for it: it has 64 KiB for each connection.
httptools_impl.HIGH_WATER_LIMIT = 16 * 1024  # type: ignore[attr-defined]


class Connection(HttpToolsProtocol):
    """uvicorn's connection with `PEER` and `VISIT` in every scope, and with bounds."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        visit: Visit,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._visit = visit
        self._extensions: dict[str, dict[object, object] | Peer | Visit] = {}
        self._in_head = True
        self._beside_body = 0
        """Bytes since the last progress: of a body, or to the end of a head or a message."""
        self._body_bytes = 0
        self._waited_s = 0.0
        """For the client, in what it is sending now."""
        self._answered: RequestResponseCycle | None = None
        self.is_made = False
        self.on_end: Callable[[], None] = _nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn narrows the argument's type in the same way.
        super().connection_made(transport)
        self.is_made = True
        if isinstance(transport, sslproto._SSLProtocolTransport):
            # asyncio would take in 512 KiB that nobody has asked for
            transport.set_read_buffer_limits(high=UNREAD_BYTES)
        else:
            # asyncio would read 256 KiB at once, and uvicorn pauses only after that
            transport.max_size = READ_BYTES  # type: ignore[attr-defined]
        peer = Peer(self._visit.address, _certificate(transport))
        self._extensions = {PEER: peer, VISIT: self._visit}

    def connection_lost(self, exc: Exception | None) -> None:
        self._let_go()
        super().connection_lost(exc)
        self.on_end()

    def abort(self) -> None:
        """End the connection, whatever is on its way."""
        self._let_go()
        self.transport.abort()

    def _let_go(self) -> None:
        """Nobody hears answers any more, and what waits for its turn need not wait on: it would
        keep the connection in memory, which it belongs to."""
        self.pipeline.clear()
        # uvicorn's `cycle` is the last that came; the one that is being answered may be another.
        for cycle in (self._cycle, self._answered):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        self._let_go()
        super().send_400_response(msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    # -- what comes in -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        start = 0
        while start < len(data) and not self.transport.is_closing():
            # A body is read as it comes. What is no body is looked at in small pieces.
            end = start + PIECE_BYTES if self._in_head or self._beside_body else len(data)
            piece = data[start:end]
            self._beside_body += len(piece)
            super().data_received(piece)
            if self._beside_body > LONGEST_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")
            start = end

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._beside_body = max(1, self._beside_body)  # it may begin where another ends
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        # ASGI calls it a dict of dicts; these entries are ours alone.

    def on_header(self, name: bytes, value: bytes) -> None:
        # RFC 9110 section 6.5.1: a trailer is not merged into the headers. uvicorn would add it
        # to those of a request that may have been let in already.
        if not self._in_head:
            return
        if len(self.headers) >= MOST_HEADERS:
            raise httptools.HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MOST_AHEAD:
            raise httptools.HttpParserError("too many requests ahead of their answers")
        self._in_head = False
        self._body_bytes = 0
        self._progressed()
        self._visit.busy = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._progressed()

    def on_response_complete(self) -> None:
        self._visit.busy = bool(self.pipeline)  # then the next one begins
        super().on_response_complete()
        self._visit.since_s = self.loop.time()
        self._waited_s = 0.0

    def _progressed(self) -> None:
        self._beside_body = 0
        self._waited_s = 0.0

    # -- time --------------------------------------------------------------------------------------

    def look(self, elapsed_s: float) -> None:
        """Some time has gone by since the last look: end the connection if it is too slow."""
        if not self.is_made or not self._is_waited_for():
            return
        self._waited_s += elapsed_s
        if self._waited_s > self._allowed_s():
            self.abort()

    def _is_waited_for(self) -> bool:
        """Whether it is the client's turn. An idle connection has sent nothing of its next request;
        for that uvicorn's own timer holds."""
        if self.flow.read_paused:
            return False
        return not self._in_head or self._beside_body > 0 or self._cycle is None

    def _allowed_s(self) -> float:
        if self._in_head:
            return HEAD_S
        cycle = self._cycle
        if cycle is not None and cycle.response_complete:
            return UNWANTED_S
        return BODY_S + self._body_bytes / BODY_BYTES

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """uvicorn says that it is never None; before the first request it is."""
        return cast("RequestResponseCycle | None", self.cycle)

    def shutdown(self) -> None:
        """The server stops. A stream has no end that could be waited for; what has a length is
        finished."""
        cycle = self._cycle
        if cycle is not None and cycle.chunked_encoding and not cycle.response_complete:
            self.transport.close()
        else:
            super().shutdown()


def _nothing() -> None:
    """Nobody waits for the end yet."""


def _certificate(transport: asyncio.Transport) -> x509.Certificate | None:
    """The client's certificate. OpenSSL has verified it: the context asks with CERT_OPTIONAL,
    which lets nobody in who shows one that is not signed by our authorities."""
    connection = transport.get_extra_info("ssl_object")
    encoded = connection.getpeercert(binary_form=True) if connection is not None else None
    return x509.load_der_x509_certificate(encoded) if encoded else None
