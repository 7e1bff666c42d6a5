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
_FRAGMENT = 44
"""The fragment header of IPv6 (RFC 8200 section 4.5)."""
SMALLEST_MTU = 576
"""RFC 791 section 3.1: so long a packet every host takes, whole or in fragments."""


class Ends(NamedTuple):
    source_mac: Mac
    target_mac: Mac
    source: Address
    target: Address


def build(
    ends: Ends, protocol: str, identifier: int, port: int, length: int, mtu_bytes: int = 1 << 16
) -> tuple[bytes, ...]:
    """The frames of one packet, several where it is longer than `mtu_bytes`: `protocol` icmp or
    tcp; `length` bytes of data in an echo request."""
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
    room = max(mtu_bytes, SMALLEST_MTU) - (20 if four else 40)
    if len(body) <= room:
        packet = _ipv4(ends, number, body) if four else _ipv6(ends, number, body)
        return (head + packet,)
    most = (room if four else room - 8) // 8 * 8
    frames = []
    for at in range(0, len(body), most):
        part, more = body[at : at + most], at + most < len(body)
        if four:
            packet = _ipv4(ends, number, part, identifier, at // 8 | more << 13)
        else:
            # the offset stands three bits higher than in IPv4: it reads as a number of bytes
            fragment = bytes((number, 0)) + (at | more).to_bytes(2, "big")
            fragment += identifier.to_bytes(4, "big")
            packet = _ipv6(ends, _FRAGMENT, fragment + part)
        frames.append(head + packet)
    return tuple(frames)


def _ipv4(
    ends: Ends, protocol: int, body: bytes, identification: int = 0, fragment: int = 0x4000
) -> bytes:
    """`fragment`: flags and offset; by default that it is to stay whole."""
    blank = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + identification.to_bytes(2, "big")
    blank += fragment.to_bytes(2, "big") + bytes((_HOPS, protocol, 0, 0))
    blank += ends.source.packed + ends.target.packed
    return b"\x08\x00" + blank[:10] + checksum(blank).to_bytes(2, "big") + blank[12:] + body


def _ipv6(ends: Ends, protocol: int, body: bytes) -> bytes:
    fixed = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((protocol, _HOPS))
    return b"\x86\xdd" + fixed + ends.source.packed + ends.target.packed + body


def identifier(frame: bytes) -> int | None:
    """Of an answer, or its first fragment, what `build` was given; None for a frame that answers
    nothing."""
    if frame[12:14] == b"\x08\x00" and len(frame) >= 34:
        if int.from_bytes(frame[20:22], "big") & 0x1FFF:
            return None
        protocol, body = frame[23], frame[14 + (frame[14] & 15) * 4 :]
    elif frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
        protocol, body = frame[20], frame[54:]
        if protocol == _FRAGMENT and len(body) >= 8:
            if int.from_bytes(body[2:4], "big") & 0xFFF8:
                return None
            protocol, body = body[0], body[8:]
    else:
        return None
    if len(body) < 8:
        return None
    if protocol == _TCP:
        return int.from_bytes(body[2:4], "big")
    if (protocol, body[0]) in ((_ICMP, 0), (_ICMPV6, 129)):
        return int.from_bytes(body[4:6], "big")
    return None
