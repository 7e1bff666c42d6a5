# SPDX-License-Identifier: Apache-2.0
"""One connection to one ovsdb-server: requests and their answers, and what comes unasked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.errors import Unavailable
from isthmus.store.failures import OutcomeUnknown
from isthmus.wire import ovsdb
from isthmus.wire.malformed import Malformed

log = logging.getLogger(__name__)

OnMessage = Callable[[ovsdb.Message], None]


@dataclass(slots=True)
class Counters:
    """Since the beginning of a connection's life, over all its sessions."""

    messages: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    transactions: int = 0
    reloads: int = 0
    resumes: int = 0
    malformed: int = 0


class Session(asyncio.Protocol):
    """Speaks JSON-RPC. `lost` is done when the connection is over."""

    def __init__(self, on_notification: OnMessage, counters: Counters) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.heard = False
        """Whether anything came since this was last set to False."""
        self._on_notification = on_notification
        self._counters = counters
        self._framer = ovsdb.Framer()
        self._transport: asyncio.Transport | None = None
        self._answers: dict[object, asyncio.Future[ovsdb.Message]] = {}
        self._takers: dict[object, OnMessage] = {}
        self._next = 0

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._over(f"the connection was lost: {error}" if error else "the server closed it")

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._counters.bytes_in += len(data)
        try:
            for piece in self._framer.feed(data):
                if self.lost.done():
                    break  # given up at an earlier message
                self._counters.messages += 1
                self._take(ovsdb.message(piece))
        except Malformed as error:
            self._counters.malformed += 1
            log.warning("ovsdb=malformed error=%s", error)
            self.abort(f"the server sends what is no OVSDB: {error}")

    def _take(self, message: ovsdb.Message) -> None:
        if message.method == "echo" and message.id is not None:
            self._send(ovsdb.response(ovsdb.raw_list(message.params), message.id))
        elif message.method is not None:
            self._on_notification(message)
        else:
            taker = self._takers.pop(message.id, None)
            if taker is not None and message.error is None:
                taker(message)  # before the answer is taken off: who waits must hear of a failure
            answer = self._answers.pop(message.id, None)
            if answer is not None and not answer.done():
                answer.set_result(message)

    # -- requests ----------------------------------------------------------------------------------

    async def ask(
        self,
        method: str,
        params: object,
        *,
        timeout_s: float,
        take: OnMessage | None = None,
    ) -> ovsdb.Message:
        """Send a request and return its answer. `take` is given a good answer as soon as it is
        read, before anything that follows it.

        Raises Unavailable when there is no connection, OutcomeUnknown when it is lost or no answer
        comes in time; it is then given up. Raises Invalid for text that JSON or the server cannot
        carry.
        """
        if self._transport is None or self._transport.is_closing():
            raise Unavailable("there is no connection to the data base")
        self._next += 1
        number = self._next
        data = ovsdb.request(method, params, number)
        answer: asyncio.Future[ovsdb.Message] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        if take is not None:
            self._takers[number] = take
        self._send(data)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            why = f"the data base did not answer {method} in {timeout_s:g} s"
            self.abort(why)
            raise OutcomeUnknown(why) from None

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._counters.bytes_out += len(data)
            self._transport.write(data)

    def abort(self, why: str) -> None:
        """Give the connection up."""
        self._over(why)
        if self._transport is not None:
            self._transport.abort()

    def _over(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(OutcomeUnknown(why))
