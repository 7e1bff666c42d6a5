# SPDX-License-Identifier: Apache-2.0
"""IPv6 as forgers send it: neighbour discovery, listener discovery, and extension headers.

Written from the standards, like `isthmus_lab.frames`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import NamedTuple

from isthmus.addresses import Mac, mac_bytes
from isthmus_lab.packets import PROTOCOL_ICMPV6, icmpv6_message, ipv6

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
DESTINATION_OPTIONS = 60

ALL_NODES = "ff02::1"
ALL_NODES_MAC = Mac(0x333300000001)

SOLICITED, OVERRIDE, ROUTER = 0x40000000, 0x20000000, 0x80000000
"""Flags of an advertisement (RFC 4861 section 4.4)."""

_SOURCE_MAC, _TARGET_MAC, _NOBODYS = 1, 2, 253
"""Types of options (RFC 4861 section 4.6); the last is for experiments (RFC 4727 section 5.1.3)."""


class Message(NamedTuple):
    """An ICMPv6 message without checksum: ``icmpv6(source, destination, *message)``."""

    kind: int
    code: int
    body: bytes

    def carrying(self, mark: bytes) -> Message:
        """With `mark` in one more option, which receivers skip."""
        return self._replace(body=self.body + _option(_NOBODYS, mark))


def solicitation(target: str, source_mac: Mac | None) -> Message:
    """Who has `target`? Without a MAC address, as who looks whether it is free."""
    body = bytes(4) + IPv6Address(target).packed
    return Message(135, 0, body + _mac_option(_SOURCE_MAC, source_mac))


def advertisement(target: str, target_mac: Mac | None, flags: int = OVERRIDE) -> Message:
    body = struct.pack("!I", flags) + IPv6Address(target).packed
    return Message(136, 0, body + _mac_option(_TARGET_MAC, target_mac))


def router_solicitation(source_mac: Mac) -> Message:
    return Message(133, 0, bytes(4) + _mac_option(_SOURCE_MAC, source_mac))


def router_advertisement(source_mac: Mac) -> Message:
    """Of a default router for half an hour."""
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    return Message(134, 0, body + _mac_option(_SOURCE_MAC, source_mac))


def redirect(target: str, destination: str, target_mac: Mac) -> Message:
    """Go by way of `target` to `destination`."""
    body = bytes(4) + IPv6Address(target).packed + IPv6Address(destination).packed
    return Message(137, 0, body + _mac_option(_TARGET_MAC, target_mac))


def listener_query() -> Message:
    """Who listens? (RFC 3810 section 5.1). For all groups; receivers ignore what is after it."""
    return Message(130, 0, struct.pack("!HH16sBBH", 1000, 0, bytes(16), 2, 125, 0))


def listener_report(group: str) -> Message:
    """I listen (RFC 3810 section 5.2), in exclude mode, from no source."""
    record = struct.pack("!BBH", 4, 0, 0) + IPv6Address(group).packed
    return Message(143, 0, struct.pack("!HH", 0, 1) + record)


def behind(
    headers: bytes, first: int, source: str, destination: str, message: Message, *, hops: int = 255
) -> bytes:
    """The packet of a message that stands behind extension `headers`, the first of type `first`."""
    return ipv6(
        *(source, destination, first),
        headers + icmpv6_message(source, destination, *message),
        hops=hops,
    )


def options_header(following: int = PROTOCOL_ICMPV6, units: int = 1) -> bytes:
    """Hop-by-hop or destination options, of padding only (RFC 8200 section 4.2); `units` are 8
    bytes."""
    header, left = struct.pack("!BB", following, units - 1), units * 8 - 2
    while left:
        size = min(left, 257)
        header += bytes(1) if size == 1 else struct.pack("!BB", 1, size - 2) + bytes(size - 2)
        left -= size
    return header


def routing_header(through: str, following: int = PROTOCOL_ICMPV6) -> bytes:
    """Of type 2 with no segments left (RFC 6275 section 6.4), which receivers pass over."""
    return struct.pack("!BBBBI", following, 2, 2, 0, 0) + IPv6Address(through).packed


def fragment_header(
    following: int, offset: int = 0, *, more: bool = False, identifier: int = 1
) -> bytes:
    """RFC 8200 section 4.5; `offset` in bytes."""
    return struct.pack("!BBHI", following, 0, offset | more, identifier)


def fragments(
    source: str, destination: str, following: int, payload: bytes, cut: int, *, identifier: int = 1
) -> tuple[bytes, bytes]:
    """Two packets, of the bytes before `cut` (a multiple of 8) and after it."""
    first = fragment_header(following, 0, more=True, identifier=identifier)
    second = fragment_header(following, cut, identifier=identifier)
    return (
        ipv6(source, destination, FRAGMENT, first + payload[:cut], hops=255),
        ipv6(source, destination, FRAGMENT, second + payload[cut:], hops=255),
    )


def link_local(mac: Mac) -> str:
    """The address that a guest makes of its MAC address (RFC 4291 appendix A)."""
    packed = mac_bytes(mac)
    identifier = bytes((packed[0] ^ 2,)) + packed[1:3] + b"\xff\xfe" + packed[3:]
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def _mac_option(kind: int, mac: Mac | None) -> bytes:
    return b"" if mac is None else _option(kind, mac_bytes(mac))


def _option(kind: int, value: bytes) -> bytes:
    units = (2 + len(value) + 7) // 8
    return (struct.pack("!BB", kind, units) + value).ljust(units * 8, b"\0")
