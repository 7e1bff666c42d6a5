# SPDX-License-Identifier: Apache-2.0
"""One OpenFlow session with a switch, from connect to loss: who waits for which answer.

A request is answered once; a message that is only answered when it is wrong is watched. What comes
without having been waited for is a packet-in, an echo request, or an error of a packet-out, which
is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

from isthmus.errors import Broken, Unavailable
from isthmus.wire import openflow as of
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_errors import SwitchError, switch_error
from isthmus.wire.openflow_packets import PacketIn, packet_in
from isthmus.wire.openflow_replies import part, speaks_our_version

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    """Over all sessions of a connection."""

    connects: int = 0
    packet_ins: int = 0
    malformed: int = 0
    """Messages that were no OpenFlow, or no packet-in."""
    unexpected_errors: int = 0
    """Errors that nobody waited for: of packet-outs."""


class _Expected(NamedTuple):
    answered: asyncio.Future[None]
    take: Callable[[bytes], None] | None


class Session(asyncio.Protocol):
    """`lost` is done once the connection is; everything that waits then gets Unavailable."""

    def __init__(self, on_packet_in: Callable[[PacketIn], None], counters: Counters) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_packet_in = on_packet_in
        self._counters = counters
        self._framer = of.Framer()
        self._transport: asyncio.Transport | None = None
        self._expected: dict[int, _Expected] = {}
        self._watched: list[tuple[range, dict[int, SwitchError]]] = []
        self._why = "the switch closed the OpenFlow connection"

    # -- to the switch -----------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self._transport is None:
            raise Unavailable(self._why)
        self._transport.write(data)

    def abort(self, why: str) -> None:
        """Give the connection up."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def expect(self, xid: int, take: Callable[[bytes], None] | None = None) -> asyncio.Future[None]:
        """Done when the message with this transaction id is answered.

        `take` gets the body of each part of a multipart reply. Raises Unavailable when the session
        is lost, Broken when the switch answers with an error, Malformed when `take` does.
        """
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[xid] = _Expected(answered, take)
        return answered

    @contextmanager
    def watching(self, xids: range) -> Iterator[dict[int, SwitchError]]:
        """Collects the errors of messages with these transaction ids."""
        watch = (xids, dict[int, SwitchError]())
        self._watched.append(watch)
        try:
            yield watch[1]
        finally:
            self._watched.remove(watch)

    # -- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio types the argument more widely than what a stream protocol gets.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._framer.feed(data):
                if self._transport is None or self._transport.is_closing():
                    break  # given up at an earlier message
                self._receive(message)
        except Malformed as error:
            self._counters.malformed += 1
            self.abort(f"the switch sent what is no OpenFlow: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        why = f"{self._why}: {error}" if error else self._why
        expected, self._expected = self._expected, {}
        for answered, _ in expected.values():
            if not answered.done():
                answered.set_exception(Unavailable(why))
        if not self.lost.done():
            self.lost.set_result(None)

    # -- from the switch ---------------------------------------------------------------------------

    def _receive(self, message: of.Message) -> None:
        match message.type:
            case of.Type.EXPERIMENTER:
                self._receive_packet_in(message)
            case of.Type.ECHO_REQUEST:
                self.send(of.echo_reply(message))
            case of.Type.ERROR:
                self._receive_error(message)
            case of.Type.MULTIPART_REPLY:
                self._receive_part(message)
            case of.Type.HELLO:
                if not speaks_our_version(message):
                    self.abort("the switch does not speak OpenFlow 1.4")
            case _:
                self._answered(message.xid, None)

    def _receive_packet_in(self, message: of.Message) -> None:
        try:
            packet = packet_in(message)
        except Malformed as error:
            self._counters.malformed += 1
            log.warning("packet_in=malformed error=%s", error)
            return
        if packet is not None:
            self._counters.packet_ins += 1
            self._on_packet_in(packet)

    def _receive_error(self, message: of.Message) -> None:
        error = switch_error(message)
        for xids, errors in self._watched:
            if message.xid in xids:
                errors.setdefault(message.xid, error)
                return
        if message.xid in self._expected:
            self._answered(message.xid, Broken(f"the switch refuses a request: {error.name}"))
            return
        self._counters.unexpected_errors += 1
        log.warning(
            "openflow_error=%s xid=%d message=%s", error.name, message.xid, error.data.hex()
        )

    def _receive_part(self, message: of.Message) -> None:
        expected = self._expected.get(message.xid)
        if expected is None or expected.take is None:
            return
        received = part(message)
        try:
            expected.take(received.body)
        except Malformed as error:
            self._counters.malformed += 1
            self._answered(message.xid, error)
            return
        if not received.more:
            self._answered(message.xid, None)

    def _answered(self, xid: int, error: Exception | None) -> None:
        expected = self._expected.pop(xid, None)
        if expected is None or expected.answered.done():
            return  # answers to what nobody waits for any more, commit replies among them
        if error is None:
            expected.answered.set_result(None)
        else:
            expected.answered.set_exception(error)
