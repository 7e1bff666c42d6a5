# SPDX-License-Identifier: Apache-2.0
"""Frames in one line: scapy builds them, anything may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from isthmus.wire.summary import summary
from tests.wire.frames import ETHER, FOUR, HERE, SIX, THERE, any_frames


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (ETHER / FOUR / TCP(sport=49152, dport=443), "tcp 10.0.0.4:49152 → 10.0.0.5:443"),
        (ETHER / FOUR / UDP(sport=53, dport=5353), "udp 10.0.0.4:53 → 10.0.0.5:5353"),
        (ETHER / FOUR / SCTP(sport=7, dport=9), "sctp 10.0.0.4:7 → 10.0.0.5:9"),
        (ETHER / FOUR / ICMP(type=8), "icmp type 8 code 0 10.0.0.4 → 10.0.0.5"),
        (ETHER / FOUR / ICMP(type=3, code=1), "icmp type 3 code 1 10.0.0.4 → 10.0.0.5"),
        (ETHER / SIX / TCP(sport=49152, dport=443), "tcp [fd00::4]:49152 → [fd00::5]:443"),
        (ETHER / SIX / ICMPv6EchoRequest(), "icmpv6 type 128 code 0 [fd00::4] → [fd00::5]"),
        (ETHER / IP(src="10.0.0.4", dst="10.0.0.5", proto=47), "protocol 47 10.0.0.4 → 10.0.0.5"),
        (
            ETHER / IP(src="10.0.0.4", dst="10.0.0.5", options=b"\x01" * 8) / TCP(sport=1, dport=2),
            "tcp 10.0.0.4:1 → 10.0.0.5:2",
        ),
        (
            ETHER / Dot1Q(vlan=5) / FOUR / UDP(sport=1, dport=2),
            "tagged udp 10.0.0.4:1 → 10.0.0.5:2",
        ),
        (
            ETHER / ARP(op=1, psrc="10.0.0.4", pdst="10.0.0.5"),
            "arp who-has 10.0.0.5 tell 10.0.0.4",
        ),
        (
            ETHER / ARP(op=2, psrc="10.0.0.4", hwsrc=HERE, pdst="10.0.0.5"),
            f"arp 10.0.0.4 is-at {HERE}",
        ),
        (Ether(src=HERE, dst=THERE, type=0x88CC), f"ethertype 0x88cc {HERE} → {THERE}"),
    ],
)
def test_a_frame_is_told_as_people_name_it(frame: Packet, text: str) -> None:
    assert summary(bytes(frame)) == text


def test_of_a_later_fragment_no_ports_are_told() -> None:
    whole = FOUR / UDP(sport=1, dport=2) / Raw(b"x" * 3000)
    first, later, *_ = [
        bytes(ETHER / one)
        for one in fragment(whole, 1000)  # type: ignore[no-untyped-call]  # scapy has no types
    ]
    assert summary(first) == "udp 10.0.0.4:1 → 10.0.0.5:2"
    assert summary(later) == "udp 10.0.0.4 → 10.0.0.5 (later fragment)"


@given(any_frames)
def test_whatever_comes_is_told_in_one_line(frame: bytes) -> None:
    text = summary(frame)
    assert text
    assert "\n" not in text
