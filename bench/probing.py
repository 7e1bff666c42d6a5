# SPDX-License-Identifier: Apache-2.0
"""From a request to the first answered ping: two guests of the lab, and a pinger that never sleeps
long.

The guest on h1 has a fixed address, and its peer's MAC address by hand: what is measured is the
network, not how often Linux repeats an ARP question.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time

from isthmus_lab import namespaces
from isthmus_lab.guest import Guest
from isthmus_lab.lab import Lab

GUEST_MAC, PEER_MAC = "02:00:02:00:00:01", "02:00:02:00:00:02"
GUEST_ADDRESS, PEER_ADDRESS = "10.1.0.200", "10.1.0.201"
PEER_PORT = "peer"
_EVERY_S = 0.002
_ECHO = struct.Struct("!BBHHH")


class Pair:
    """The two guests, plugged and addressed."""

    def __init__(self, lab: Lab) -> None:
        self.guest = _guest(lab, "probe", GUEST_MAC, "h1", GUEST_ADDRESS)
        self.peer = _guest(lab, PEER_PORT, PEER_MAC, "h2", PEER_ADDRESS)
        for one, address, mac in (
            (self.guest, PEER_ADDRESS, PEER_MAC),
            (self.peer, GUEST_ADDRESS, GUEST_MAC),
        ):
            one.run(["ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0"])
        self._switch = lab.host("h1").switch

    def name_port(self, port: str) -> None:
        """Which port the guest's interface is."""
        interface = self.guest.host_interface
        self._switch.vsctl("set", "interface", interface, f"external_ids:iface-id={port}")


def _guest(lab: Lab, name: str, mac: str, host: str, address: str) -> Guest:
    guest = lab.add_guest(name, mac, name)
    lab.plug(guest, lab.host(host))
    guest.set_address(address, 24)
    return guest


class Pinger:
    """Pings the peer all the time, in a thread of its own; `first_answer` is when it answered."""

    def __init__(self, guest: Guest) -> None:
        self.first_answer: float | None = None
        self.answered = threading.Event()
        self._ended = threading.Event()
        with namespaces.entered(guest.namespace):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        identifier = os.getpid() & 0xFFFF
        number = 0
        while not self._ended.is_set() and not self.answered.is_set():
            number += 1
            self._socket.sendto(_echo(identifier, number), (PEER_ADDRESS, 0))
            if select.select([self._socket], [], [], _EVERY_S)[0]:
                packet = self._socket.recv(256)
                if packet[20] == 0:
                    self.first_answer = time.perf_counter()
                    self.answered.set()


def _echo(identifier: int, number: int) -> bytes:
    head = _ECHO.pack(8, 0, 0, identifier, number & 0xFFFF)
    total = sum(struct.unpack("!4H", head))
    total = (total >> 16) + (total & 0xFFFF)
    return _ECHO.pack(8, 0, ~total & 0xFFFF, identifier, number & 0xFFFF)
