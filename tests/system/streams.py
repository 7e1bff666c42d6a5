# SPDX-License-Identifier: Apache-2.0
"""TCP connections between guests that carry a little data in both directions all the time."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from isthmus_lab.namespaces import entered
from tests.system.cloud import LONGEST_S, Nic

_CHUNK = b"isthmus." * 16
_INTERVAL_S = 0.02


class Stream:
    """One connection. `counts` are the bytes that arrived at the server and at the client."""

    def __init__(self, client: Nic, server: Nic, family: int, port: int) -> None:
        self.name = f"{client.plan.name} to {server.plan.name}:{port} over IPv{family}"
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        address = server.address(family)
        with entered(server.guest.namespace):
            listener = socket.create_server((address, port), family=kind)
        with listener:
            listener.settimeout(LONGEST_S)
            with entered(client.guest.namespace):
                self._client = socket.socket(kind, socket.SOCK_STREAM)
            self._client.settimeout(LONGEST_S)
            self._client.connect((address, port))
            self._server, _ = listener.accept()
        self.ends = (self._server, self._client)
        for end in self.ends:
            end.setblocking(False)
        self.counts = [0, 0]
        self.last_arrival = [0.0, 0.0]


class Streams:
    """Keeps streams going while the block runs, and closes them."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Streams:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        for stream in self._streams:
            for end in stream.ends:
                end.close()

    def moving(self, among: Sequence[Stream], wait_s: float = LONGEST_S) -> bool:
        """Whether both ends of all `among` hear something new."""
        before = [list(stream.counts) for stream in among]
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            if all(
                now > then
                for stream, old in zip(among, before, strict=True)
                for now, then in zip(stream.counts, old, strict=True)
            ):
                return True
            time.sleep(0.02)
        return False

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for stream in self._streams:
                for number, end in enumerate(stream.ends):
                    selector.register(end, selectors.EVENT_READ, (stream, number))
            following = time.monotonic()
            while not self._ending.is_set():
                for key, _ in selector.select(max(0.0, following - time.monotonic())):
                    stream, number = key.data
                    stream.counts[number] += len(stream.ends[number].recv(65536))
                    stream.last_arrival[number] = time.monotonic()
                if time.monotonic() >= following:
                    following = time.monotonic() + _INTERVAL_S
                    for stream in self._streams:
                        for end in stream.ends:
                            _send(end)


def _send(end: socket.socket) -> None:
    try:
        end.send(_CHUNK)
    except BlockingIOError:
        return  # what nobody acknowledges has filled the buffer
