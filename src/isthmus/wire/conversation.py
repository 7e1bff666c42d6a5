# SPDX-License-Identifier: Apache-2.0
"""Who speaks to whom in a frame: addresses, protocol, and ports or what ICMP has in their place.
Whatever is cut short is told as far as it can be read; nothing raises."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

from isthmus.addresses import Address

_PORTED = (6, 17, 132)
_ICMP = (1, 58)


class Conversation(NamedTuple):
    """`source_port` and `destination_port` are 0 where there are none; `detail` tells conversations
    of ICMP apart: type, code and identifier (RFC 792, RFC 4443)."""

    source: Address
    destination: Address
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    detail: bytes = b""


def conversation(frame: bytes) -> Conversation | None:
    """None for what is not IP. Of IPv6, the protocol is the first header behind the fixed one."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        later = bool(int.from_bytes(packet[6:8], "big") & 0x1FFF)
        inner = b"" if later else packet[(packet[0] & 15) * 4 :]
        return _of(packet[12:16], packet[16:20], packet[9], inner)
    if kind == b"\x86\xdd" and len(packet) >= 40:
        return _of(packet[8:24], packet[24:40], packet[6], packet[40:])
    return None


def _of(source: bytes, destination: bytes, protocol: int, inner: bytes) -> Conversation:
    found = Conversation(ip_address(source), ip_address(destination), protocol)
    if protocol in _PORTED and len(inner) >= 4:
        ports = int.from_bytes(inner[:2], "big"), int.from_bytes(inner[2:4], "big")
        return found._replace(source_port=ports[0], destination_port=ports[1])
    if protocol in _ICMP:
        return found._replace(detail=inner[:2] + inner[4:6])
    return found
