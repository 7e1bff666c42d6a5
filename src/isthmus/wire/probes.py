# SPDX-License-Identifier: Apache-2.0
"""Packets that ask for an answer, and how an answer is known: an echo request (RFC 792, RFC 4443
section 4.1) by its identifier, a TCP SYN (RFC 9293) by its source port."""

from __future__ import annotations

from ipaddress import IPv4Address
from struct import Struct
from typing import NamedTuple

from isthmus.addresses import Address, Mac, mac_bytes
from isthmus.wire.ethernet import checksum

_ICMP, _TCP, _ICMPV6 = 1, 6, 58
_ECHO = Struct(">BBHHH")
_SYN = Struct(">HHIIBBHHH")
_SYN_FLAG, _WINDOW = 2, 1024
_HOPS = 64


class Ends(NamedTuple):
    source_mac: Mac
    target_mac: Mac
    source: Address
    target: Address


def build(ends: Ends, protocol: str, identifier: int, port: int, length: int) -> bytes:
    """A frame: `protocol` icmp or tcp; `length` bytes of data in an echo request."""
    four = isinstance(ends.source, IPv4Address)
    if protocol == "tcp":
        number = _TCP
        body = _SYN.pack(identifier, port, 1, 0, 5 << 4, _SYN_FLAG, _WINDOW, 0, 0)
        at = 16
    else:
        number = _ICMP if four else _ICMPV6
        body = _ECHO.pack(8 if four else 128, 0, 0, identifier, 1) + bytes(length)
        at = 2
    pseudo = b""
    if number != _ICMP:
        # RFC 9293 section 3.1, RFC 8200 section 8.1
        size = len(body)
        pseudo = ends.source.packed + ends.target.packed
        pseudo += (
            bytes((0, number)) + size.to_bytes(2, "big")
            if four
            else (size.to_bytes(4, "big") + bytes((0, 0, 0, number)))
        )
    total = checksum(pseudo + body).to_bytes(2, "big")
    body = body[:at] + total + body[at + 2 :]
    head = mac_bytes(ends.target_mac) + mac_bytes(ends.source_mac)
    if four:
        return head + b"\x08\x00" + _ipv4(ends, number, len(body)) + body
    fixed = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((number, _HOPS))
    return head + b"\x86\xdd" + fixed + ends.source.packed + ends.target.packed + body


def _ipv4(ends: Ends, protocol: int, size: int) -> bytes:
    blank = b"\x45\0" + (20 + size).to_bytes(2, "big") + b"\0\0\x40\0"
    blank += bytes((_HOPS, protocol, 0, 0)) + ends.source.packed + ends.target.packed
    return blank[:10] + checksum(blank).to_bytes(2, "big") + blank[12:]


def identifier(frame: bytes) -> int | None:
    """Of an answer, what `build` was given; None for a frame that answers nothing."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        protocol, body = frame[23], frame[14 + (frame[14] & 15) * 4 :]
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        protocol, body = frame[20], frame[54:]
    else:
        return None
    if len(body) < 8:
        return None
    if protocol == _TCP:
        return int.from_bytes(body[2:4], "big")
    if (protocol, body[0]) in ((_ICMP, 0), (_ICMPV6, 129)):
        return int.from_bytes(body[4:6], "big")
    return None
