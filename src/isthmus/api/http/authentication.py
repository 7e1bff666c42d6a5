# SPDX-License-Identifier: Apache-2.0
"""Authentication of one listener: nobody's request reaches the application before we know whose it
is, and that no web page has sent it; but for what the application answers to everybody."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from starlette.types import Receive, Scope, Send

from isthmus.api.http.access import IDENTITY, Access, Credentials, How
from isthmus.api.http.connection import PEER, VISIT
from isthmus.api.http.replies import Reply, error_reply, send_reply
from isthmus.api.http.request import HttpRequest
from isthmus.api.http.web_pages import Names, refuse_web_pages
from isthmus.errors import IsthmusError, Unauthorized
from isthmus.store.identifiers import RandomIds

log = logging.getLogger(__name__)


class Application(Protocol):
    """What is served: an ASGI application that says whom it answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def ways(self, scope: Scope) -> Collection[How]:
        """By which ways the sender of that request may be known; none where everybody is answered.
        Asked before anybody is known: it raises nothing, and costs O(length of the path)."""
        ...


class Authentication:
    """An ASGI application that lets in what `access` lets in, and no web page."""

    def __init__(self, app: Application, access: Access, names: Names | None) -> None:
        """`names`: see `refuse_web_pages`."""
        self._app = app
        self._access = access
        self._names = names
        self._ids = RandomIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ways = self._app.ways(scope)
        if ways:
            peer = scope["extensions"][PEER]
            try:
                refuse_web_pages(
                    scope["headers"],
                    scheme=scope["scheme"],
                    version=scope["http_version"],
                    names=self._names,
                )
                scope[IDENTITY] = await self._access.identify(peer, _credentials(scope), ways)
            except IsthmusError as error:
                # for who counts them to shut a guesser out; a name that was tried may be a password
                log.info("api=refused status=%d address=%s", error.status, peer.address or "unix")
                request = HttpRequest.of(scope, self._ids.guid())
                await send_reply(send, request.dressed(self._refusal(error)), receive)
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
