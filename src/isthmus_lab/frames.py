# SPDX-License-Identifier: Apache-2.0
"""Frames as bytes: the ones that guests and strangers forge, and what passes on the underlay,
read.

Written from the standards and not from `isthmus.wire`: a proof must not share the product's
mistakes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from isthmus.addresses import Mac, mac_bytes

BROADCAST = Mac(0xFFFF_FFFF_FFFF)
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
PROTOCOL_ICMP = 1
PROTOCOL_UDP = 17
PROTOCOL_GRE = 47
VXLAN_PORT = 4789
"""RFC 7348 section 8."""

_ETHERNET_BYTES = 14
_IPV4_BYTES = 20
_GRE_KEY_PRESENT = 0x2000
_TRANSPARENT_ETHERNET_BRIDGING = 0x6558
"""RFC 7637 section 3.2: "The Protocol Type field ... is set to 0x6558"."""


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """An encapsulated frame as seen on the underlay."""

    encapsulation: str
    """``vxlan`` or ``nvgre``."""
    source: str
    destination: str
    vsid: int
    inner: bytes


def ethernet(destination: Mac, source: Mac, ethertype: int, payload: bytes) -> bytes:
    return mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", ethertype) + payload


def ipv4(source: str, destination: str, protocol: int, payload: bytes, *, ttl: int = 64) -> bytes:
    """An IPv4 packet without options. Raises ValueError for what is not an address."""
    addresses = IPv4Address(source).packed + IPv4Address(destination).packed
    length = _IPV4_BYTES + len(payload)
    blank = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, ttl, protocol, 0) + addresses
    return blank[:10] + struct.pack("!H", checksum(blank)) + blank[12:] + payload


def udp(source: str, destination: str, ports: tuple[int, int], payload: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram, checksum included. `ports`: source, destination."""
    length = 8 + len(payload)
    pseudo = IPv4Address(source).packed + IPv4Address(destination).packed
    pseudo += struct.pack("!BBH", 0, PROTOCOL_UDP, length)
    header = struct.pack("!HHHH", *ports, length, 0)
    # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    value = checksum(pseudo + header + payload) or 0xFFFF
    return ipv4(source, destination, PROTOCOL_UDP, header[:6] + struct.pack("!H", value) + payload)


def arp(
    operation: int,
    sender: tuple[Mac, str],
    target: tuple[Mac, str],
    *,
    source: Mac | None = None,
    destination: Mac = BROADCAST,
) -> bytes:
    """An ARP frame (RFC 826): 1 asks, 2 answers. `source` is the frame's, the sender's unless
    given.
    """
    body = struct.pack("!HHBBH", 1, ETHERTYPE_IPV4, 6, 4, operation)
    for mac, address in (sender, target):
        body += mac_bytes(mac) + IPv4Address(address).packed
    return ethernet(destination, sender[0] if source is None else source, ETHERTYPE_ARP, body)


def gratuitous_arp(mac: Mac, address: str) -> bytes:
    """RFC 5227 section 2.3: an announcement is a request whose sender and target address are the
    same.
    """
    return arp(1, (mac, address), (Mac(0), address))


def echo_request(identifier: int, sequence: int, payload: bytes) -> bytes:
    """An ICMP echo request (RFC 792), without the IP header."""
    blank = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence) + payload
    return blank[:2] + struct.pack("!H", checksum(blank)) + blank[4:]


def vxlan(vni: int, inner: bytes, *, source_port: int = 49152) -> bytes:
    """The UDP datagram of a VXLAN packet (RFC 7348 section 5), checksum zero as the RFC allows."""
    length = 8 + 8 + len(inner)
    header = struct.pack("!HHHH", source_port, VXLAN_PORT, length, 0)
    return header + struct.pack("!II", 0x0800_0000, vni << 8) + inner


def nvgre(vsid: int, inner: bytes, *, flow_id: int = 0) -> bytes:
    """The GRE packet of an NVGRE frame (RFC 7637 section 3.2)."""
    key = vsid << 8 | flow_id
    return struct.pack("!HHI", _GRE_KEY_PRESENT, _TRANSPARENT_ETHERNET_BRIDGING, key) + inner


def tunnelled(
    encapsulation: str,
    vsid: int,
    inner: bytes,
    source: tuple[Mac, str],
    destination: tuple[Mac, str],
) -> bytes:
    """A whole frame for the underlay; `source` and `destination` are the outer MAC and provider
    address.
    """
    if encapsulation == "vxlan":
        protocol, payload = PROTOCOL_UDP, vxlan(vsid, inner)
    else:
        protocol, payload = PROTOCOL_GRE, nvgre(vsid, inner)
    packet = ipv4(source[1], destination[1], protocol, payload)
    return ethernet(destination[0], source[0], ETHERTYPE_IPV4, packet)


def read_tunnelled(frame: bytes) -> Tunnelled | None:
    """What a frame of the underlay carries, or None when it is neither VXLAN nor NVGRE."""
    if len(frame) < _ETHERNET_BYTES + _IPV4_BYTES + 8 or frame[12:14] != b"\x08\x00":
        return None
    packet = frame[_ETHERNET_BYTES:]
    source, destination = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    payload = packet[(packet[0] & 0x0F) * 4 :]
    if packet[9] == PROTOCOL_UDP and payload[2:4] == VXLAN_PORT.to_bytes(2, "big"):
        vni = int.from_bytes(payload[12:15], "big")
        return Tunnelled("vxlan", source, destination, vni, payload[16:])
    if packet[9] == PROTOCOL_GRE and payload[:4] == b"\x20\x00\x65\x58":
        return Tunnelled(
            "nvgre", source, destination, int.from_bytes(payload[4:7], "big"), payload[8:]
        )
    return None


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
