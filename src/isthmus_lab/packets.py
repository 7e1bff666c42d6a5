# SPDX-License-Identifier: Apache-2.0
"""IP packets of either family with what they carry, as bytes: the family is that of the addresses.

Written from the standards, like `isthmus_lab.frames`, whose IPv4 it uses.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address

from isthmus.addresses import Mac
from isthmus_lab import frames

ETHERTYPE_IPV6 = 0x86DD
PROTOCOL_TCP = 6
PROTOCOL_ICMPV6 = 58
PROTOCOL_SCTP = 132

SYN = 0x02

_CRC32C = 0x82F63B78
"""The Castagnoli polynomial, bits reversed (RFC 9260 appendix A)."""


def ethernet(destination: Mac, source: Mac, packet: bytes) -> bytes:
    """A frame with an IP packet, whose version says the EtherType."""
    ethertype = ETHERTYPE_IPV6 if packet[0] >> 4 == 6 else frames.ETHERTYPE_IPV4
    return frames.ethernet(destination, source, ethertype, packet)


def ip(source: str, destination: str, protocol: int, payload: bytes, *, hops: int = 64) -> bytes:
    """A packet without options or extension headers. Raises ValueError for what is no address."""
    if ip_address(source).version == 6:
        return ipv6(source, destination, protocol, payload, hops=hops)
    return frames.ipv4(source, destination, protocol, payload, ttl=hops)


def ipv6(source: str, destination: str, header: int, payload: bytes, *, hops: int = 64) -> bytes:
    """RFC 8200 section 3; `header` is the first of `payload`."""
    addresses = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), header, hops) + addresses + payload


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """`ports`: source, destination."""
    segment = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    value = _checksum(source, destination, frames.PROTOCOL_UDP, segment) or 0xFFFF
    return ip(source, destination, frames.PROTOCOL_UDP, _filled(segment, 6, value))


def tcp(
    source: str,
    destination: str,
    ports: tuple[int, int],
    payload: bytes,
    *,
    flags: int = SYN,
    sequence: int = 1,
) -> bytes:
    """One segment (RFC 9293 section 3.1). One that opens a connection may carry data."""
    segment = struct.pack("!HHIIBBHHH", *ports, sequence, 0, 5 << 4, flags, 8192, 0, 0) + payload
    value = _checksum(source, destination, PROTOCOL_TCP, segment)
    return ip(source, destination, PROTOCOL_TCP, _filled(segment, 16, value))


def icmp(source: str, destination: str, kind: int, code: int, body: bytes) -> bytes:
    """An ICMP message (RFC 792, RFC 4443): `body` is all after the checksum."""
    message = struct.pack("!BBH", kind, code, 0) + body
    if ip_address(source).version == 4:
        filled = _filled(message, 2, frames.checksum(message))
        return ip(source, destination, frames.PROTOCOL_ICMP, filled)
    return icmpv6(source, destination, kind, code, body, hops=64)


def icmpv6(
    source: str, destination: str, kind: int, code: int, body: bytes, *, hops: int = 255
) -> bytes:
    """Neighbour discovery has a hop limit of 255 (RFC 4861 section 3.1)."""
    message = icmpv6_message(source, destination, kind, code, body)
    return ipv6(source, destination, PROTOCOL_ICMPV6, message, hops=hops)


def icmpv6_message(source: str, destination: str, kind: int, code: int, body: bytes) -> bytes:
    """The message alone, checksum included, to stand behind extension headers."""
    message = struct.pack("!BBH", kind, code, 0) + body
    return _filled(message, 2, _checksum(source, destination, PROTOCOL_ICMPV6, message))


def sctp_init(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """An INIT chunk (RFC 9260 section 3.3.2) with `payload` in a parameter of an unknown type."""
    # Section 3.2.1: the upper two bits 10 say to skip what is not known.
    padding = b"\0" * (-len(payload) % 4)
    parameter = struct.pack("!HH", 0x8FFF, 4 + len(payload)) + payload + padding
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), 1, 65536, 1, 1, 1) + parameter
    packet = struct.pack("!HHII", *ports, 0, 0) + chunk
    # The CRC goes out with its lowest byte first.
    return ip(
        *(source, destination, PROTOCOL_SCTP),
        packet[:8] + struct.pack("<I", _crc32c(packet)) + packet[12:],
    )


def _filled(segment: bytes, offset: int, checksum: int) -> bytes:
    return segment[:offset] + struct.pack("!H", checksum) + segment[offset + 2 :]


def _checksum(source: str, destination: str, protocol: int, segment: bytes) -> int:
    """With the pseudo header of RFC 9293 section 3.1 or RFC 8200 section 8.1."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    return frames.checksum(addresses + struct.pack("!II", len(segment), protocol) + segment)


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_CRC32C if value & 1 else 0)
    return value ^ 0xFFFFFFFF
