# SPDX-License-Identifier: Apache-2.0
"""Frames out of and into Python: send any bytes on a link, and see all that passes there.

A capture is a witness: that something did *not* arrive is believed only when the same capture is
known to see what does. So a capture can be waited on (`Capture.wait_for`), and a check sends
something allowed after what is forbidden: once the allowed frame is there, the forbidden one would
have been.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from isthmus_lab.namespaces import entered

_ALL_PROTOCOLS = 0x0003
_BUFFER_BYTES = 4 << 20


def send_frames(namespace: str, interface: str, frames: Iterable[bytes]) -> int:
    """Put whole Ethernet frames on `interface`; how many were sent."""
    count = 0
    with entered(namespace):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind((interface, 0))
        for frame in frames:
            raw.send(frame)
            count += 1
    return count


class Capture:
    """All frames that arrive on `interface` while the block runs, and satisfy `wanted`.

    Promiscuous. Frames that the machine itself sends out there are left out, unless `outgoing`.
    """

    def __init__(
        self,
        namespace: str,
        interface: str,
        wanted: Callable[[bytes], bool] = lambda frame: True,
        *,
        outgoing: bool = False,
    ) -> None:
        self.namespace = namespace
        self.interface = interface
        self._wanted = wanted
        self._outgoing = outgoing
        self._frames: list[bytes] = []
        self._arrived = threading.Condition()
        self._ending = -1
        """An event, so that the end is not waited for."""
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._receive, name=f"capture {interface}")

    def __enter__(self) -> Capture:
        with entered(self.namespace):
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        raw.bind((self.interface, _ALL_PROTOCOLS))
        raw.setblocking(False)
        self._socket = raw
        self._ending = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.eventfd_write(self._ending, 1)
        self._thread.join()
        os.close(self._ending)

    @property
    def frames(self) -> list[bytes]:
        """What has arrived so far."""
        with self._arrived:
            return list(self._frames)

    def having(self, part: bytes) -> list[bytes]:
        """Those that contain `part`, anywhere."""
        return [frame for frame in self.frames if part in frame]

    def wait_for(self, condition: Callable[[bytes], bool], timeout_s: float = 10.0) -> bytes | None:
        """The first frame, past or to come, that satisfies `condition`; None when none does in
        time.
        """
        deadline = time.monotonic() + timeout_s
        seen = 0
        with self._arrived:
            while True:
                for frame in self._frames[seen:]:
                    if condition(frame):
                        return frame
                seen = len(self._frames)
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._arrived.wait(left)

    def _receive(self) -> None:
        raw = self._socket
        assert raw is not None
        ready = select.poll()
        ready.register(raw, select.POLLIN)
        ready.register(self._ending, select.POLLIN)
        with raw:
            while all(descriptor != self._ending for descriptor, _ in ready.poll()):
                try:
                    frame, address = raw.recvfrom(65535)
                except BlockingIOError:
                    continue
                except OSError:
                    return  # the link went away, with a guest that moved: nothing more can arrive
                # packet(7): (interface, protocol, packet type, ...).
                if (address[2] != socket.PACKET_OUTGOING or self._outgoing) and self._wanted(frame):
                    with self._arrived:
                        self._frames.append(frame)
                        self._arrived.notify_all()
