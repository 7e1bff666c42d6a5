# SPDX-License-Identifier: Apache-2.0
"""Authentication of one listener: nobody's request reaches the application before we know whose it
is, and that no web page has sent it."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from isthmus.api.access import Access, Credentials
from isthmus.api.connection import PEER, VISIT
from isthmus.api.exchange import Exchange
from isthmus.api.replies import Reply, error_reply, send_reply
from isthmus.api.web_pages import Names, refuse_web_pages
from isthmus.errors import IsthmusError, Unauthorized
from isthmus.store.identifiers import RandomIds

log = logging.getLogger(__name__)

IDENTITY = "isthmus.identity"
"""Key of the `Identity` in the scope."""

LIVENESS = "/healthz"
"""Answered to everybody: what probes of load balancers ask, and it tells nothing but yes or no."""


class Gate:
    """An ASGI application that lets in what `access` lets in, and no web page."""

    def __init__(self, app: ASGIApp, access: Access, names: Names | None) -> None:
        """`names`: see `refuse_web_pages`."""
        self._app = app
        self._access = access
        self._names = names
        self._ids = RandomIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != LIVENESS:
            peer = scope["extensions"][PEER]
            try:
                refuse_web_pages(
                    scope["headers"],
                    scheme=scope["scheme"],
                    version=scope["http_version"],
                    names=self._names,
                )
                scope[IDENTITY] = await self._access.identify(peer, _credentials(scope))
            except IsthmusError as error:
                # for who counts them to shut a guesser out; a name that was tried may be a password
                log.info("api=refused status=%d address=%s", error.status, peer.address or "unix")
                exchange = Exchange.of(scope, self._ids.guid())
                await send_reply(send, exchange.dressed(self._refusal(error)), receive)
                return
            scope["extensions"][VISIT].known = True
        await self._app(scope, receive, send)

    def _refusal(self, error: IsthmusError) -> Reply:
        reply = error_reply(error)
        if isinstance(error, Unauthorized) and self._access.challenge:
            challenge = (b"www-authenticate", self._access.challenge.encode())
            reply = reply._replace(headers=(*reply.headers, challenge))
        return reply


def _credentials(scope: Scope) -> Credentials:
    authorization = b""
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
    return Credentials(authorization.decode("latin-1"))
