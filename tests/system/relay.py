# SPDX-License-Identifier: Apache-2.0
"""A way for TCP from a host's network namespace to this machine's own, which can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from isthmus_lab import namespaces

_BYTES = 65536


class Relay:
    """Carries bytes from 127.0.0.1:`port` in a namespace to the same address of this one. A context
    manager. Of the bytes it knows nothing: TLS goes from end to end."""

    def __init__(self, namespace: str, port: int) -> None:
        self._port = port
        with namespaces.entered(namespace):
            self._listening = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """End every connection that there is; new ones are welcome."""
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()  # nobody listens there now
                continue
            with self._lock:
                self._open += [near, far]
            pair = threading.Thread(target=self._carry_both, args=(near, far), daemon=True)
            pair.start()
            self._threads.append(pair)

    def _carry_both(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_carry, args=(far, near), daemon=True)
        back.start()
        _carry(near, far)
        back.join()
        with self._lock:
            self._open = [one for one in self._open if one not in (near, far)]
        near.close()
        far.close()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Until either end is closed; then both know it."""
    with contextlib.suppress(OSError):
        while data := source.recv(_BYTES):
            target.sendall(data)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
