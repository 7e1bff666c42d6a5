# SPDX-License-Identifier: Apache-2.0
"""What a frame says of neighbours: an ARP message (RFC 826), or a neighbour advertisement (RFC 4861
section 4.4)."""

from __future__ import annotations

from ipaddress import IPv6Address

from isthmus.addresses import Address, Mac
from isthmus.wire.ethernet import ETHERTYPE_ARP, parse_arp, parse_ethernet
from isthmus.wire.malformed import Malformed

ETHERTYPE_IPV6 = 0x86DD
_IPV6_BYTES = 40
_ICMPV6, _ADVERTISEMENT = 58, 136
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
