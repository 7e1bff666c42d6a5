# SPDX-License-Identifier: Apache-2.0
"""Makes the switch know its neighbours on the underlay before the first tunnel packet.

The userspace data path drops a tunnel packet while it asks for the next hop's MAC address. A
datagram that the host itself sends there (RFC 863, discard) has the host ask, and the switch
listens. The kernel's data path needs none of this.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address

_DISCARD_PORT = 9


class Primer:
    """Sends datagrams that ask for nothing; does nothing unless the data path needs it."""

    def __init__(self, datapath_type: str) -> None:
        self._socket: socket.socket | None = None
        if datapath_type == "netdev":
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def prime(self, provider_addresses: Iterable[int]) -> None:
        """Have the neighbours, or the routers on the way to them, looked up."""
        if self._socket is None:
            return
        for address in provider_addresses:
            # Unreachable now, or a full buffer: the first packet asks again, as it would have.
            with contextlib.suppress(OSError):
                self._socket.sendto(b"", (str(IPv4Address(address)), _DISCARD_PORT))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
