# SPDX-License-Identifier: Apache-2.0
"""The headers around what Isthmus answers itself: Ethernet II, ARP, IPv4, UDP.

Reading trims padding, skips 802.1Q tags, and raises Malformed where lengths or the IPv4 header
checksum do not fit. The UDP checksum is not verified: a guest that offloads it to its virtual NIC
sends an unfinished one.

Standards: RFC 894, IEEE 802.1Q, RFC 826, RFC 791, RFC 768, RFC 1071 (checksum).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct

from isthmus.addresses import Mac, mac_bytes
from isthmus.wire.malformed import Malformed

ETHERTYPE_IPV4, ETHERTYPE_ARP = 0x0800, 0x0806
BROADCAST = Mac(0xFFFFFFFFFFFF)

ARP_REQUEST, ARP_REPLY = 1, 2

PROTOCOL_UDP = 17

_TAGS = (0x8100, 0x88A8)
_MOST_TAGS = 2
_ARP = Struct(">HHBBH6s4s6s4s")
_IPV4 = Struct(">BBHHHBBH4s4s")
_UDP = Struct(">HHHH")
_PSEUDO = Struct(">4s4sxBH")

_DONT_FRAGMENT = 0x4000
_FRAGMENT = 0x3FFF
"""More fragments follow, or this is not the first."""


@dataclass(frozen=True, slots=True)
class Ethernet:
    destination: Mac
    source: Mac
    ethertype: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Arp:
    """RFC 826, for IPv4 over Ethernet."""

    operation: int
    sender_mac: Mac
    sender: IPv4Address
    target_mac: Mac
    target: IPv4Address


@dataclass(frozen=True, slots=True)
class IPv4:
    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes
    ttl: int = 64


@dataclass(frozen=True, slots=True)
class Udp:
    source_port: int
    destination_port: int
    payload: bytes


def parse_ethernet(data: bytes) -> Ethernet:
    """Up to two 802.1Q tags are passed over. Raises Malformed."""
    if len(data) < 14:
        raise Malformed(f"an Ethernet frame of {len(data)} bytes")
    start = 12
    ethertype = int.from_bytes(data[start : start + 2], "big")
    while ethertype in _TAGS:
        start += 4
        if start > 12 + 4 * _MOST_TAGS or start + 2 > len(data):
            raise Malformed("an Ethernet frame ends within its 802.1Q tags, or has more than two")
        ethertype = int.from_bytes(data[start : start + 2], "big")
    destination, source = int.from_bytes(data[:6], "big"), int.from_bytes(data[6:12], "big")
    return Ethernet(Mac(destination), Mac(source), ethertype, data[start + 2 :])


def build_ethernet(frame: Ethernet) -> bytes:
    """Without padding to 60 bytes, which the sending port adds."""
    return (
        mac_bytes(frame.destination)
        + mac_bytes(frame.source)
        + frame.ethertype.to_bytes(2, "big")
        + frame.payload
    )


def parse_arp(data: bytes) -> Arp:
    """Read the payload of an Ethernet frame. Raises Malformed."""
    if len(data) < _ARP.size:
        raise Malformed(f"an ARP message of {len(data)} bytes")
    hardware, protocol, mac_length, address_length, operation, *addresses = _ARP.unpack_from(data)
    if (hardware, protocol, mac_length, address_length) != (1, ETHERTYPE_IPV4, 6, 4):
        raise Malformed(f"an ARP message that is not of IPv4 over Ethernet: {data[:8].hex()}")
    sender_mac, sender, target_mac, target = addresses
    return Arp(
        operation,
        Mac(int.from_bytes(sender_mac, "big")),
        IPv4Address(sender),
        Mac(int.from_bytes(target_mac, "big")),
        IPv4Address(target),
    )


def build_arp(message: Arp) -> bytes:
    return _ARP.pack(
        *(1, ETHERTYPE_IPV4, 6, 4, message.operation),
        *(mac_bytes(message.sender_mac), message.sender.packed),
        *(mac_bytes(message.target_mac), message.target.packed),
    )


def parse_ipv4(data: bytes) -> IPv4:
    """Read the payload of an Ethernet frame. Raises Malformed, also for fragments."""
    if len(data) < _IPV4.size:
        raise Malformed(f"an IPv4 packet of {len(data)} bytes")
    first, _, length, _, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(data)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < _IPV4.size or not header <= length <= len(data):
        raise Malformed(
            f"an IPv4 packet of version {first >> 4}, {header} bytes of header "
            f"and {length} in all, in {len(data)} bytes"
        )
    if checksum(data[:header]) != 0:
        raise Malformed("an IPv4 packet whose header checksum is wrong")
    if fragment & _FRAGMENT:
        raise Malformed("a fragment of an IPv4 packet")
    return IPv4(IPv4Address(source), IPv4Address(destination), protocol, data[header:length], ttl)


def build_ipv4(packet: IPv4) -> bytes:
    """Without options. Raises struct.error if it gets longer than 65535 bytes."""
    fields = (0x45, 0, _IPV4.size + len(packet.payload), 0, _DONT_FRAGMENT)
    addresses = (packet.source.packed, packet.destination.packed)
    blank = _IPV4.pack(*fields, packet.ttl, packet.protocol, 0, *addresses)
    header = _IPV4.pack(*fields, packet.ttl, packet.protocol, checksum(blank), *addresses)
    return header + packet.payload


def parse_udp(data: bytes) -> Udp:
    """Read the payload of an IPv4 packet. Raises Malformed."""
    if len(data) < _UDP.size:
        raise Malformed(f"a UDP datagram of {len(data)} bytes")
    source_port, destination_port, length, _ = _UDP.unpack_from(data)
    if not _UDP.size <= length <= len(data):
        raise Malformed(f"a UDP datagram of {length} bytes, in {len(data)}")
    return Udp(source_port, destination_port, data[_UDP.size : length])


def build_udp(datagram: Udp, source: IPv4Address, destination: IPv4Address) -> bytes:
    """With the checksum over the addresses that it will be sent between."""
    length = _UDP.size + len(datagram.payload)
    ports = (datagram.source_port, datagram.destination_port)
    pseudo = _PSEUDO.pack(source.packed, destination.packed, PROTOCOL_UDP, length)
    summed = checksum(pseudo + _UDP.pack(*ports, length, 0) + datagram.payload)
    # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
    return _UDP.pack(*ports, length, summed or 0xFFFF) + datagram.payload


def checksum(data: bytes) -> int:
    """RFC 1071: the internet checksum; 0 over data that holds its own."""
    if len(data) % 2:
        data += b"\x00"
    # Sums of 16-bit words and of the whole number are equal modulo 0xFFFF; 0 stands for 0xFFFF
    # unless all is 0.
    number = int.from_bytes(data, "big")
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))
