# SPDX-License-Identifier: Apache-2.0
"""One HTTP connection: uvicorn's, and what the application must know of it that uvicorn does not
tell.

uvicorn does not pass the client's certificate on. It is the same for all requests of a connection,
so it is read once, when the connection is made (TLS has finished then), and given to each request
in ``scope["extensions"]``. Also bounded here: the bytes of a request's head, for which httptools
has no limit.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from cryptography import x509
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from isthmus.api.access import Peer

PEER = "isthmus.peer"
"""Key of the `Peer` in ``scope["extensions"]``."""

LONGEST_HEAD_BYTES = 64 * 1024
"""Request line and headers. Certificates and tokens of known clients fit in 16 KiB."""

HEAD_TIMEOUT_S = 20.0
"""For a new connection to send its first whole head; afterwards uvicorn's keep-alive timer
holds."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection with `PEER` in every scope, and bounds on the head of a request."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._extensions: dict[str, dict[object, object] | Peer] = {PEER: Peer("")}
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # uvicorn narrows the argument's type in the same way.
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._extensions = {PEER: Peer(address, _certificate(transport))}
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > LONGEST_HEAD_BYTES:
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        # ASGI calls it a dict of dicts; this entry is ours alone.

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True

    def shutdown(self) -> None:
        """The server stops. A stream has no end that could be waited for; what has a length is
        finished."""
        # uvicorn says that it is never None; before the first request it is
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is not None and cycle.chunked_encoding and not cycle.response_complete:
            self.transport.close()
        else:
            super().shutdown()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _certificate(transport: asyncio.Transport) -> x509.Certificate | None:
    """The client's certificate. OpenSSL has verified it: the context asks with CERT_OPTIONAL,
    which lets nobody in who shows one that is not signed by our authorities."""
    connection = transport.get_extra_info("ssl_object")
    encoded = connection.getpeercert(binary_form=True) if connection is not None else None
    return x509.load_der_x509_certificate(encoded) if encoded else None
