# SPDX-License-Identifier: Apache-2.0
"""What guests send one another through their own stacks: a TCP transfer that is compared, a marked
datagram.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import dataclass

from isthmus.errors import Unavailable
from isthmus_lab.guest import Guest
from isthmus_lab.namespaces import entered


@dataclass(frozen=True, slots=True)
class Transfer:
    """A TCP transfer that arrived whole."""

    size_bytes: int
    seconds: float

    @property
    def megabits_per_s(self) -> float:
        return self.size_bytes * 8 / self.seconds / 1e6


def tcp_transfer(
    sender: Guest,
    receiver: Guest,
    address: str,
    *,
    size_bytes: int = 4 << 20,
    timeout_s: float = 20.0,
    port: int = 0,
) -> Transfer:
    """Send `size_bytes` from one guest to `address` of the other, on `port` or any that is free,
    and compare digests.

    Raises Unavailable when the connection fails, stalls for `timeout_s`, or delivers something
    else.
    """
    block = hashlib.sha256(f"{sender.name}>{receiver.name}".encode()).digest() * 2048
    with entered(receiver.namespace):
        listener = socket.create_server(("0.0.0.0", port))
    received: list[str] = []
    acceptor = threading.Thread(target=_receive_all, args=(listener, timeout_s, received))
    expected = hashlib.sha256()
    start = time.monotonic()
    with listener:
        acceptor.start()
        try:
            with entered(sender.namespace):
                connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with connection:
                connection.settimeout(timeout_s)
                connection.connect((address, listener.getsockname()[1]))
                for offset in range(0, size_bytes, len(block)):
                    part = block[: size_bytes - offset]
                    expected.update(part)
                    connection.sendall(part)
        except OSError as error:
            received.append(f"{sender.name} failed: {error}")
        finally:
            acceptor.join(timeout_s + 1)
    if received != [expected.hexdigest()]:
        raise Unavailable(
            f"TCP {sender.name} → {receiver.name} ({address}): expected {size_bytes} bytes with"
            f" digest {expected.hexdigest()[:12]}, saw {', '.join(received) or 'nothing'}"
        )
    return Transfer(size_bytes, time.monotonic() - start)


def _receive_all(listener: socket.socket, timeout_s: float, received: list[str]) -> None:
    listener.settimeout(timeout_s)
    digest = hashlib.sha256()
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(timeout_s)
            while chunk := connection.recv(1 << 18):
                digest.update(chunk)
    except OSError as error:
        received.append(f"receiver failed: {error}")
    else:
        received.append(digest.hexdigest())


def send_udp(sender: Guest, address: str, payload: bytes, *, port: int = 9) -> None:
    """One datagram by the guest's own stack (broadcast allowed); port 9 is discard (RFC 863)."""
    with entered(sender.namespace):
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        plain.sendto(payload, (address, port))
