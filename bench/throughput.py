# SPDX-License-Identifier: Apache-2.0
"""What rules cost packets: TCP, UDP and round trips between guests, without rules and with stateful
ones, beside OVN through the same Open vSwitch."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple, Protocol

from bench.isthmus_rig import isthmus_rig
from bench.ovn_rig import OvnRig, ovn_rig
from bench.results import Figure, figure, median
from isthmus.errors import IsthmusError
from isthmus_lab.guest import Guest
from isthmus_lab.lab import Lab

PORTS = 100
PORT = 5201
SECONDS = 2
ROUNDS = 3
ATTEMPTS = 5
"""A server of iperf3 that has just ended a test now and then resets the connection for the next."""
PATHS = {"same_host": "h1", "across_hosts": "h2"}

_ALLOWED = f"ip4 && (icmp4 || tcp.dst == {PORT} || udp.dst == {PORT})"


class Rig(Protocol):
    """Isthmus's or OVN's."""

    lab: Lab

    def put_port(self, name: str, address: str, mac: str) -> None: ...
    def settle(self) -> float: ...


class Measured(NamedTuple):
    """Medians of `ROUNDS`: Mbit/s, datagrams of 64 bytes received a second, milliseconds."""

    tcp: float
    udp: float
    rtt: float


def throughput(*, peer: bool) -> list[Figure]:
    ours = {
        rules: _measured(lambda r=rules: isthmus_rig(PORTS, rules=r))  # type: ignore[misc]
        for rules in (False, True)
    }
    theirs = {
        rules: _measured(lambda: ovn_rig(PORTS), enforce=rules) if peer else {}
        for rules in (False, True)
    }
    figures = []
    for path in PATHS:
        for rules, suffix in ((False, "none"), (True, "rules")):
            for name, unit, goal in (
                ("tcp", "Mbit/s", "≥ OVN's"),
                ("udp", "packets/s", "≥ OVN's"),
                ("rtt", "ms", "≤ OVN's"),
            ):
                other = theirs[rules].get(path)
                figures.append(
                    figure(
                        *(f"{name}_{path}_{suffix}", PORTS, getattr(ours[rules][path], name)),
                        unit,
                        goal=goal,
                        peer="OVN" if peer else "",
                        peer_value=getattr(other, name) if other else None,
                        note=_against(ours, path, name) if rules else "",
                    )
                )
    return figures


def _against(ours: dict[bool, dict[str, Measured]], path: str, name: str) -> str:
    without, ruled = (getattr(ours[rules][path], name) for rules in (False, True))
    return f"{ruled / without:.2f} of that without rules"


def _measured(
    rig_of: Callable[[], AbstractContextManager[Rig]], *, enforce: bool = False
) -> dict[str, Measured]:
    with rig_of() as rig:
        guests = _guests(rig)
        if enforce and isinstance(rig, OvnRig):
            rig.enforce(_ALLOWED)
        rig.settle()
        return {path: _path(guests["t0"], guests[path]) for path in PATHS}


def _guests(rig: Rig) -> dict[str, Guest]:
    found = {}
    for number, (name, host) in enumerate((("t0", "h1"), *PATHS.items()), 1):
        mac, address = f"06:00:aa:00:00:{number:02x}", f"10.1.0.{240 + number}"
        port = f"thr{number}"
        rig.put_port(port, address, mac)
        guest = rig.lab.add_guest(port, mac, port)
        rig.lab.plug(guest, rig.lab.host(host))
        guest.set_address(address, 24, 1400)
        found[name] = guest
    return found


def _path(sender: Guest, receiver: Guest) -> Measured:
    address = receiver.addresses()[0]
    _reached(sender, address)
    server = receiver.start(["iperf3", "-s", "-p", str(PORT)])
    try:
        time.sleep(0.3)
        tcp = [_iperf(sender, address) for _ in range(ROUNDS)]
        udp = [_iperf(sender, address, "-u", "-b", "0", "-l", "64") for _ in range(ROUNDS)]
    finally:
        server.kill()
        server.wait()
    rtt = [_round_trip(sender, address) for _ in range(ROUNDS)]
    return Measured(*(median(values) or 0.0 for values in (tcp, udp, rtt)))


def _reached(sender: Guest, address: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(IsthmusError):
            sender.run(["ping", "-c1", "-W1", address])
            return
    raise TimeoutError(f"{address} does not answer {sender.name}")


def _iperf(sender: Guest, address: str, *options: str) -> float:
    command = ["iperf3", "-c", address, "-p", str(PORT), "-t", str(SECONDS), "-J", *options]
    for _ in range(ATTEMPTS):
        answer = json.loads(sender.run(command, timeout_s=60))
        if "error" not in answer:
            break
        time.sleep(0.5)
    else:
        raise subprocess.SubprocessError(answer["error"])
    told = answer["end"]
    if "-u" in options:
        found = told["sum"]
        return float(found["packets"] - found["lost_packets"]) / float(found["seconds"])
    return float(told["sum_received"]["bits_per_second"]) / 1e6


def _round_trip(sender: Guest, address: str) -> float:
    told = sender.run(["ping", "-q", "-c", "300", "-i", "0.002", address])
    found = re.search(r"= [0-9.]+/([0-9.]+)/", told)
    if found is None:
        raise subprocess.SubprocessError(told)
    return float(found[1])
