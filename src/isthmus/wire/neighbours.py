# SPDX-License-Identifier: Apache-2.0
"""What a frame says of neighbours: an ARP message (RFC 826), or a neighbour advertisement (RFC 4861
section 4.4); and frames that ask for one."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from isthmus.addresses import Address, Mac, mac_bytes
from isthmus.wire.ethernet import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ETHERTYPE_ARP,
    Arp,
    Ethernet,
    build_arp,
    build_ethernet,
    checksum,
    parse_arp,
    parse_ethernet,
)
from isthmus.wire.malformed import Malformed

ETHERTYPE_IPV6 = 0x86DD
_IPV6_BYTES = 40
_ICMPV6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_SOLICITED = 0x40
_SOLICITED_NODE = 0xFF02_0000_0000_0000_0000_0001_FF00_0000
_SOURCE_LINK_LAYER = b"\x01\x01"
_TARGET = slice(_IPV6_BYTES + 8, _IPV6_BYTES + 24)


def announced(frame: bytes) -> tuple[Address, Mac]:
    """The address that its sender says is its own, and the MAC address. Raises Malformed."""
    ethernet = parse_ethernet(frame)
    if ethernet.ethertype == ETHERTYPE_ARP:
        message = parse_arp(ethernet.payload)
        return message.sender, message.sender_mac
    packet = ethernet.payload
    if ethernet.ethertype != ETHERTYPE_IPV6 or len(packet) < _TARGET.stop:
        raise Malformed(f"neither ARP nor a whole advertisement: {len(packet)} bytes")
    if packet[6] != _ICMPV6 or packet[_IPV6_BYTES] != _ADVERTISEMENT:
        raise Malformed("an IPv6 packet that is no neighbour advertisement")
    return IPv6Address(packet[_TARGET]), ethernet.source


def is_answer(frame: bytes) -> bool:
    """Whether it answers somebody's question, and does not announce. Raises Malformed."""
    ethernet = parse_ethernet(frame)
    if ethernet.ethertype == ETHERTYPE_ARP:
        message = parse_arp(ethernet.payload)
        return message.operation == ARP_REPLY and message.target != message.sender
    packet = ethernet.payload
    return len(packet) >= _TARGET.stop and bool(packet[_IPV6_BYTES + 4] & _SOLICITED)


def who_has(address: IPv4Address, sender: IPv4Address, sender_mac: Mac) -> bytes:
    """An ARP question to everybody."""
    asked = Arp(ARP_REQUEST, sender_mac, sender, Mac(0), address)
    return build_ethernet(Ethernet(BROADCAST, sender_mac, ETHERTYPE_ARP, build_arp(asked)))


def solicitation(address: IPv6Address, sender_mac: Mac) -> bytes:
    """A neighbour solicitation to the address's solicited-node group, from the link-local address
    of a MAC address (RFC 4291 appendix A). From the unspecified address it would be taken for
    duplicate address detection (RFC 4862 section 5.4)."""
    low = int(address) & 0xFFFFFF
    group = IPv6Address(_SOLICITED_NODE | low).packed
    mac = mac_bytes(sender_mac)
    source = b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]))
    body = bytes((_SOLICITATION, 0, 0, 0, 0, 0, 0, 0)) + address.packed + _SOURCE_LINK_LAYER + mac
    pseudo = source + group + len(body).to_bytes(4, "big") + bytes((0, 0, 0, _ICMPV6))
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    header = b"\x60\0\0\0" + len(body).to_bytes(2, "big") + bytes((_ICMPV6, 255))
    payload = header + source + group + body
    destination = Mac(0x3333_FF00_0000 | low)
    return build_ethernet(Ethernet(destination, sender_mac, ETHERTYPE_IPV6, payload))
