# SPDX-License-Identifier: Apache-2.0
"""Connections between guests that are open and silent until somebody speaks: of TCP and UDP by the
guests' own stacks, and a question of ICMP that waits for its answer."""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import suppress
from itertools import count

from isthmus_lab import packets
from isthmus_lab.namespaces import entered
from tests.system.cloud import LONGEST_S, Frame, Nic, arrivals, to

TCP_PORT, UDP_PORT = 80, 53
_AGAIN_S = 0.2
_identifiers = count(1)


class Conversation:
    """`asking` has opened it to `answering`, in each of three protocols over one family."""

    def __init__(self, asking: Nic, answering: Nic, family: int) -> None:
        self.asking, self.answering, self.family = asking, answering, family
        self._family = socket.AF_INET if family == 4 else socket.AF_INET6
        self.tcp = self._connected()
        self.udp = self._asked()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (*self.tcp, *self.udp):
            end.close()

    def _connected(self) -> tuple[socket.socket, socket.socket]:
        address = self.answering.address(self.family)
        with entered(self.answering.guest.namespace):
            listener = socket.create_server((address, TCP_PORT), family=self._family)
        with listener:
            listener.settimeout(LONGEST_S)
            with entered(self.asking.guest.namespace):
                client = socket.socket(self._family, socket.SOCK_STREAM)
            client.settimeout(LONGEST_S)
            client.connect((address, TCP_PORT))
            server, _ = listener.accept()
        for one, other in ((client, server), (server, client)):
            assert says(one, other, LONGEST_S)
        return client, server

    def _asked(self) -> tuple[socket.socket, socket.socket]:
        ends = []
        for nic, port in ((self.asking, 0), (self.answering, UDP_PORT)):
            with entered(nic.guest.namespace):
                end = socket.socket(self._family, socket.SOCK_DGRAM)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind((nic.address(self.family), port))
            ends.append(end)
        client, server = ends
        client.connect((self.answering.address(self.family), UDP_PORT))
        end_s, found = time.monotonic() + LONGEST_S, None
        server.settimeout(_AGAIN_S)
        while found is None:
            assert time.monotonic() < end_s
            client.send(b"who")
            with suppress(TimeoutError):
                _, found = server.recvfrom(64)
        server.connect(found)
        return client, server

    def stops(self, first: str, wait_s: float = LONGEST_S) -> list[str]:
        """What does not go on: each way of each protocol, from who speaks `first`."""
        found = []
        for name, (client, server) in (("TCP", self.tcp), ("UDP", self.udp)):
            ways = {"asking": (client, server), "answering": (server, client)}
            for who in sorted(ways, key=lambda one: one != first):
                if not says(*ways[who], wait_s):
                    found.append(f"{name} from the {who} end over IPv{self.family}")
        if first == "answering" and not self.is_echoed():
            found.append(f"the answer of ICMP over IPv{self.family}")
        return found

    def is_echoed(self) -> bool:
        """Whether an echo reply reaches who asks."""
        reply = self.echo(0 if self.family == 4 else 129)
        return arrivals(self.answering, self.asking, {"reply": reply}, {"reply"}) == {"reply"}

    def echo(self, kind: int) -> Frame:
        """From the answering end, with no data but its mark."""
        ends = self.answering.address(self.family), self.asking.address(self.family)
        make = packets.icmp if self.family == 4 else packets.icmpv6
        number = next(_identifiers)

        def built(mark: bytes) -> bytes:
            body = number.to_bytes(2, "big") + b"\x00\x01" + mark
            return to(self.answering, self.asking, make(*ends, kind, 0, body))

        return built


def says(one: socket.socket, other: socket.socket, wait_s: float) -> bool:
    """Whether what one end sends reaches the other; of UDP it is sent again."""
    word = secrets.token_bytes(8)
    is_stream = one.type == socket.SOCK_STREAM
    if is_stream:
        one.sendall(word)
    end_s, heard = time.monotonic() + wait_s, b""
    other.settimeout(_AGAIN_S)
    while time.monotonic() < end_s:
        if not is_stream:
            with suppress(ConnectionError):
                one.send(word)
        with suppress(TimeoutError, ConnectionError):
            heard += other.recv(64)
        if word in heard:
            return True
    return False
