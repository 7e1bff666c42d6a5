# SPDX-License-Identifier: Apache-2.0
"""Link-layer and network addresses as values: parsing at the border, plain types inside.

A MAC address is an ``int`` of 48 bits (`Mac`); inside the south store and on every screen it is
text with colons in lower case, on the MS-NCNBI wire it is 12 upper-case hex digits. IP addresses
and prefixes are the standard library's `ipaddress` values while they are computed with, canonical
text (RFC 5952) at rest.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import NewType

Mac = NewType("Mac", int)
"""A 48-bit MAC address, most significant byte first."""

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

MULTICAST_BIT = 1 << 40
"""IEEE 802: the group bit is the least significant bit of the first byte on the wire."""

_MAC = re.compile(
    r"(?:[0-9a-f]{2}([:-]?)(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2})\Z"
)


def parse_mac(text: str) -> Mac:
    """Read a MAC address with colons, dashes, dots (Cisco) or no separators, in any letter case.

    Raises ValueError.
    """
    lowered = text.strip().lower()
    if not _MAC.match(lowered):
        raise ValueError(f"{text!r} is not a MAC address: write 12 hexadecimal digits")
    return Mac(int(re.sub("[:.-]", "", lowered), 16))


def mac_text(mac: Mac) -> str:
    """``02:00:00:00:00:01``."""
    digits = f"{mac:012x}"
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def mac_digits(mac: Mac) -> str:
    """``020000000001`` in upper case: the form of MS-NCNBI's privateMacAddress."""
    return f"{mac:012X}"


def mac_bytes(mac: Mac) -> bytes:
    return mac.to_bytes(6, "big")


def is_multicast_mac(mac: Mac) -> bool:
    return bool(mac & MULTICAST_BIT)


def parse_address(text: str) -> Address:
    """Read an IPv4 or IPv6 address. Raises ValueError."""
    return ip_address(text.strip())


def ipv4_number(text: str) -> int:
    """The number of an IPv4 address in canonical text, as policy has it: five times as fast as
    `ipaddress`, for what is done a hundred thousand times when a host starts."""
    a, b, c, d = text.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def parse_prefix(text: str, *, strict: bool = True) -> Prefix:
    """Read a CIDR prefix. Host bits must be zero, or are cleared if not `strict`. Raises
    ValueError."""
    return ip_network(text.strip(), strict=strict)
