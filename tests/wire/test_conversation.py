# SPDX-License-Identifier: Apache-2.0
"""Who speaks to whom in a frame: scapy builds them, anything may come."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from isthmus.wire.conversation import Conversation, conversation

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
FOUR, SIX = IP(src="10.0.0.4", dst="10.0.0.5"), IPv6(src="fd00::4", dst="fd00::5")
V4 = ip_address("10.0.0.4"), ip_address("10.0.0.5")
V6 = ip_address("fd00::4"), ip_address("fd00::5")


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (ETHER / FOUR / TCP(sport=49152, dport=443), Conversation(*V4, 6, 49152, 443)),
        (ETHER / FOUR / UDP(sport=1, dport=2) / Raw(b"x"), Conversation(*V4, 17, 1, 2)),
        (ETHER / FOUR / SCTP(sport=1, dport=2), Conversation(*V4, 132, 1, 2)),
        (ETHER / SIX / TCP(sport=49152, dport=443), Conversation(*V6, 6, 49152, 443)),
        (
            ETHER / FOUR / ICMP(type=8, id=0x1234, seq=7),
            Conversation(*V4, 1, detail=b"\x08\x00\x12\x34"),
        ),
        (
            ETHER / SIX / ICMPv6EchoRequest(id=0x1234, seq=7),
            Conversation(*V6, 58, detail=b"\x80\x00\x12\x34"),
        ),
        (
            ETHER / IP(src="10.0.0.4", dst="10.0.0.5", options=b"\x01" * 8) / UDP(sport=1, dport=2),
            Conversation(*V4, 17, 1, 2),
        ),
        (ETHER / IP(src="10.0.0.4", dst="10.0.0.5", frag=9, proto=17), Conversation(*V4, 17)),
        (ETHER / IP(src="10.0.0.4", dst="10.0.0.5", proto=47), Conversation(*V4, 47)),
        (ETHER / ARP(), None),
        (ETHER / Dot1Q(vlan=5) / FOUR, None),
    ],
)
def test_ends_are_read(frame: Packet, found: Conversation | None) -> None:
    assert conversation(bytes(frame)) == found


WHOLE = bytes(ETHER / SIX / TCP(sport=1, dport=2))


@given(st.binary(max_size=80) | st.integers(0, len(WHOLE)).map(lambda end: WHOLE[:end]))
def test_whatever_comes_is_read_as_far_as_it_goes(frame: bytes) -> None:
    found = conversation(frame)
    assert found is None or found.source.version in (4, 6)
