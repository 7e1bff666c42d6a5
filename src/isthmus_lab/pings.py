# SPDX-License-Identifier: Apache-2.0
"""Pings from guests, counted: a few, or a steady stream that notes each answer.

Not by the ping command: once it has heard something it gives the last answer no more time than
between two questions, and what comes later, on a busy machine, it calls lost.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count as counting
from itertools import pairwise
from secrets import randbits
from types import TracebackType

from isthmus.errors import Invalid
from isthmus_lab.frames import echo_request
from isthmus_lab.guest import Guest
from isthmus_lab.namespaces import entered

_ANSWER_S = 2.0
"""How long the last question of a few may wait for its answer."""

_ECHO_REQUEST_6, _ECHO_REPLY_6 = 128, 129
"""RFC 4443 sections 4.1 and 4.2."""

_identifiers = counting(randbits(16))


@dataclass(frozen=True, slots=True)
class PingResult:
    sent: int
    received: int

    @property
    def lost(self) -> int:
        return self.sent - self.received


def ping(guest: Guest, address: str, *, count: int = 3, interval_s: float = 0.05) -> PingResult:
    """`count` echo requests to an address of either family, each answer matched to its question."""
    return ping_all([(guest, address)], count=count, interval_s=interval_s)[0]


def ping_all(
    pairs: Sequence[tuple[Guest, str]],
    *,
    count: int = 3,
    interval_s: float = 0.05,
    at_once: int = 12,
) -> list[PingResult]:
    """`ping` for each pair, `at_once` of them side by side; results in the order of `pairs`."""
    results: list[PingResult] = []
    for first in range(0, len(pairs), at_once):
        with ExitStack() as stack:
            streams = [
                stack.enter_context(
                    EchoStream(guest, address, rate=1 / interval_s, count=count, grace_s=_ANSWER_S)
                )
                for guest, address in pairs[first : first + at_once]
            ]
            for stream in streams:
                stream.wait_until_sent()
        reports = [stream.report for stream in streams]
        results += [PingResult(report.sent, report.received) for report in reports]
    return results


@dataclass(frozen=True, slots=True)
class EchoReport:
    """What became of a stream of pings. `lost` are sequence numbers."""

    sent: int
    received: int
    lost: tuple[int, ...]
    longest_gap_s: float
    """The longest time between two answers, or before the first or after the last."""


class EchoStream:
    """Pings from a guest at a steady rate while the block runs, or `count` of them, each answer
    noted by its sequence number.

    After the block, `report` says which of them were never answered; the last had `grace_s` for it.
    """

    def __init__(
        self,
        guest: Guest,
        address: str,
        *,
        rate: float = 100,
        count: int | None = None,
        grace_s: float = 1.0,
    ) -> None:
        self.guest = guest
        self.address = address
        try:
            self._family = ip_address(address).version
        except ValueError as error:
            raise Invalid(f"{address!r} is no IP address: nothing can be asked there") from error
        self._count = count
        self._grace_s = grace_s
        self._interval_s = 1 / rate
        # Of the namespace's streams, this one's: 16 bits that differ with each object.
        self._identifier = next(_identifiers) & 0xFFFF
        self._sent_at: list[float] = []
        self._answered_at: dict[int, float] = {}
        self._ending = threading.Event()
        self._all_sent = threading.Event()
        self._socket: socket.socket | None = None
        self._threads = [
            threading.Thread(target=self._send),
            threading.Thread(target=self._receive),
        ]

    def __enter__(self) -> EchoStream:
        with entered(self.guest.namespace):
            if self._family == 4:
                made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            else:
                made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self._socket = made
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        assert self._socket is not None
        self._socket.close()

    def wait_until_sent(self) -> None:
        """Until all `count` questions are sent."""
        self._all_sent.wait()

    def wait_for_answers(self, count: int, timeout_s: float) -> bool:
        """Whether `count` more answers come within `timeout_s`."""
        goal = len(self._answered_at) + count
        deadline = time.monotonic() + timeout_s
        while len(self._answered_at) < goal and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(self._answered_at) >= goal

    @property
    def report(self) -> EchoReport:
        answered = dict(self._answered_at)
        sent = list(self._sent_at)
        lost = tuple(number for number in range(len(sent)) if number not in answered)
        moments = sorted(answered.values())
        edges = [*sent[:1], *moments, *sent[-1:]]
        gaps = [after - before for before, after in pairwise(edges)]
        return EchoReport(len(sent), len(answered), lost, max(gaps, default=0.0))

    def _send(self) -> None:
        assert self._socket is not None
        start = time.monotonic()
        while len(self._sent_at) != self._count and not self._ending.wait(
            max(0.0, start + len(self._sent_at) * self._interval_s - time.monotonic())
        ):
            number = len(self._sent_at)
            packet = self._question(number & 0xFFFF, number.to_bytes(8, "big"))
            self._sent_at.append(time.monotonic())
            try:
                self._socket.sendto(packet, (self.address, 0))
            except OSError:
                continue  # no route, no carrier: sent and never answered
        self._all_sent.set()

    def _question(self, sequence: int, payload: bytes) -> bytes:
        packet = echo_request(self._identifier, sequence, payload)
        # RFC 3542 section 3.1: of ICMPv6 the kernel computes the checksum.
        return packet if self._family == 4 else bytes((_ECHO_REQUEST_6,)) + packet[1:]

    def _receive(self) -> None:
        assert self._socket is not None
        ended: float | None = None
        while True:
            if self._all_sent.is_set() and ended is None:
                ended = time.monotonic()
            everything = len(self._answered_at) >= len(self._sent_at)
            if ended is not None and (everything or time.monotonic() > ended + self._grace_s):
                return
            if select.select([self._socket], [], [], 0.05)[0]:
                self._note(self._socket.recv(2048))

    def _note(self, packet: bytes) -> None:
        # Of IPv4 a raw socket gives the IP header too, of IPv6 not.
        message = packet[(packet[0] & 0x0F) * 4 :] if self._family == 4 else packet
        reply = 0 if self._family == 4 else _ECHO_REPLY_6
        mine = self._identifier.to_bytes(2, "big")
        if len(message) >= 16 and message[0] == reply and message[4:6] == mine:
            self._answered_at.setdefault(int.from_bytes(message[8:16], "big"), time.monotonic())
