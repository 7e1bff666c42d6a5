# SPDX-License-Identifier: Apache-2.0
"""Pings from guests, counted: a few by the ping command, or a steady stream that notes each
answer.
"""

from __future__ import annotations

import re
import select
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType

from isthmus.errors import Unavailable
from isthmus_lab.daemon import start_process
from isthmus_lab.frames import echo_request
from isthmus_lab.guest import Guest
from isthmus_lab.namespaces import entered

_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) (?:packets )?received")


@dataclass(frozen=True, slots=True)
class PingResult:
    sent: int
    received: int

    @property
    def lost(self) -> int:
        return self.sent - self.received


def ping(guest: Guest, address: str, *, count: int = 3, interval_s: float = 0.05) -> PingResult:
    """`count` echo requests by the ping command. Raises Unavailable when it does not even run."""
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
        running = [
            _start_ping(guest, address, count, interval_s)
            for guest, address in pairs[first : first + at_once]
        ]
        results += [_finish_ping(process) for process in running]
    return results


def _start_ping(
    guest: Guest, address: str, count: int, interval_s: float
) -> subprocess.Popen[bytes]:
    command = ["ping", "-n", "-q", "-c", str(count), "-i", f"{interval_s:g}", "-W", "1", address]
    return start_process(command, run_directory=guest.run_directory, namespace=guest.namespace)


def _finish_ping(process: subprocess.Popen[bytes]) -> PingResult:
    said = process.communicate(timeout=60)[0].decode(errors="replace")
    found = _SUMMARY.search(said)
    if found is None:
        raise Unavailable(f"ping gave no summary but: {said.strip()}")
    return PingResult(int(found[1]), int(found[2]))


@dataclass(frozen=True, slots=True)
class EchoReport:
    """What became of a stream of pings. `lost` are sequence numbers."""

    sent: int
    received: int
    lost: tuple[int, ...]
    longest_gap_s: float
    """The longest time between two answers, or before the first or after the last."""


class EchoStream:
    """Pings from a guest at a steady rate while the block runs, each answer noted by its sequence
    number.

    After the block, `report` says which of them were never answered; the last had a second for it.
    """

    GRACE_S = 1.0

    def __init__(self, guest: Guest, address: str, *, rate: int = 100) -> None:
        self.guest = guest
        self.address = address
        self._interval_s = 1 / rate
        # Of the namespace's streams, this one's: 16 bits that differ with each object.
        self._identifier = (id(self) >> 4) & 0xFFFF
        self._sent_at: list[float] = []
        self._answered_at: dict[int, float] = {}
        self._ending = threading.Event()
        self._socket: socket.socket | None = None
        self._threads = [
            threading.Thread(target=self._send),
            threading.Thread(target=self._receive),
        ]

    def __enter__(self) -> EchoStream:
        with entered(self.guest.namespace):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
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
        while not self._ending.wait(
            max(0.0, start + len(self._sent_at) * self._interval_s - time.monotonic())
        ):
            number = len(self._sent_at)
            packet = echo_request(self._identifier, number & 0xFFFF, number.to_bytes(8, "big"))
            self._sent_at.append(time.monotonic())
            try:
                self._socket.sendto(packet, (self.address, 0))
            except OSError:
                continue  # no route, no carrier: sent and never answered

    def _receive(self) -> None:
        assert self._socket is not None
        ended: float | None = None
        while True:
            if self._ending.is_set() and ended is None:
                ended = time.monotonic()
            everything = len(self._answered_at) >= len(self._sent_at)
            if ended is not None and (everything or time.monotonic() > ended + self.GRACE_S):
                return
            if select.select([self._socket], [], [], 0.05)[0]:
                self._note(self._socket.recv(2048))

    def _note(self, packet: bytes) -> None:
        message = packet[(packet[0] & 0x0F) * 4 :]
        mine = self._identifier.to_bytes(2, "big")
        if len(message) >= 16 and message[0] == 0 and message[4:6] == mine:
            self._answered_at.setdefault(int.from_bytes(message[8:16], "big"), time.monotonic())
