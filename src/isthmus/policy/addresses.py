# SPDX-License-Identifier: Apache-2.0
"""The addresses that a port speaks from: which of them leads, and which it may take beside its own.

The address that leads stands for all that is none of the port's: broadcasts, address pairs, and
what is misdirected are under its rules.
"""

from __future__ import annotations

from ipaddress import ip_address

from isthmus.addresses import mac_text
from isthmus.policy.rows import Port


def family_of(address: str) -> int:
    """Of an address as policy has it."""
    return 6 if ":" in address else 4


def of_family(port: Port, family: int) -> tuple[str, ...]:
    """The port's addresses of one family, the one that leads first: the one that DHCP gives, or
    the first of all."""
    found = [text for text in port.addresses if (":" in text) == (family == 6)]
    if len(found) > 1:
        found.sort(key=lambda text: (text != port.dhcp_address, text))
    return tuple(found)


def leading(port: Port, family: int) -> str:
    """The address of a family that leads; empty where the port has none."""
    return next(iter(of_family(port, family)), "")


def ruled_as(port: Port, address: str) -> str:
    """The address of a port whose rules hold for an address: itself, or the one that leads; empty
    where there is none of its family."""
    return address if address in port.addresses else leading(port, family_of(address))


def allows(port: Port, address: str, mac: str) -> bool:
    """Whether a port was given a pair that covers an address with a MAC address."""
    number = ip_address(address)
    return any(
        number in pair.network and mac_text(pair.mac) == mac
        for pair in port.pairs
        if pair.network.version == number.version
    )
