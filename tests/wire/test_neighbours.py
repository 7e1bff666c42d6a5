# SPDX-License-Identifier: Apache-2.0
"""What neighbours say of themselves: scapy builds it, anything may come."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from isthmus.addresses import Mac, mac_text, parse_mac
from isthmus.wire.malformed import Malformed
from isthmus.wire.neighbours import announced, is_answer, solicitation, who_has
from tests.wire.frames import ETHER, FOUR, HERE, SIX, THERE, any_frames


@given(any_frames)
def test_whatever_comes_announces_something_or_is_malformed(frame: bytes) -> None:
    try:
        address, mac = announced(frame)
    except Malformed:
        return
    assert address.version in (4, 6)
    assert 0 <= mac < 1 << 48


def test_an_arp_message_announces_its_sender_whether_question_or_answer() -> None:
    for operation in (1, 2):
        frame = ETHER / ARP(op=operation, psrc="10.0.0.4", hwsrc=THERE, pdst="10.0.0.4")
        assert announced(bytes(frame)) == (ip_address("10.0.0.4"), parse_mac(THERE))


def test_an_advertisement_announces_its_target_from_the_frame_s_source() -> None:
    frame = ETHER / SIX / ICMPv6ND_NA(tgt="fd00::9")
    assert announced(bytes(frame)) == (ip_address("fd00::9"), parse_mac(HERE))


@pytest.mark.parametrize(
    "frame",
    [
        ETHER / SIX / ICMPv6ND_NS(tgt="fd00::9"),
        ETHER / SIX / UDP(),
        ETHER / FOUR / UDP(),
        Ether(bytes(ETHER / SIX / ICMPv6ND_NA(tgt="fd00::9"))[:70]),
    ],
)
def test_what_announces_nothing_is_malformed(frame: Packet) -> None:
    with pytest.raises(Malformed):
        announced(bytes(frame))


def test_scapy_reads_in_an_arp_question_who_asks_for_what() -> None:
    frame = who_has(IPv4Address("10.0.0.5"), IPv4Address("10.0.0.4"), parse_mac(HERE))
    asked = Ether(frame)
    assert (asked.src, asked.dst) == (HERE, "ff:ff:ff:ff:ff:ff")
    assert (asked[ARP].op, asked[ARP].psrc, asked[ARP].pdst) == (1, "10.0.0.4", "10.0.0.5")
    assert asked[ARP].hwsrc == HERE


@given(st.ip_addresses(v=6), st.integers(0, (1 << 46) - 1).map(lambda n: Mac(n << 2)))
def test_scapy_reads_in_a_solicitation_who_is_asked_with_a_right_checksum(
    address: IPv6Address, mac: Mac
) -> None:
    frame = solicitation(address, mac)
    asked = Ether(frame)
    assert IPv6Address(asked[ICMPv6ND_NS].tgt) == address
    assert asked[IPv6].hlim == 255
    # RFC 4291 section 2.7.1, RFC 2464 section 7
    low = int(address) & 0xFFFFFF
    assert int(IPv6Address(asked[IPv6].dst)) == int(IPv6Address("ff02::1:ff00:0")) | low
    assert asked.dst == mac_text(Mac(0x3333_FF00_0000 | low))
    given_checksum = asked[ICMPv6ND_NS].cksum
    del asked[ICMPv6ND_NS].cksum
    assert Ether(bytes(asked))[ICMPv6ND_NS].cksum == given_checksum


def test_what_answers_a_question_is_told_from_what_announces() -> None:
    answer = ETHER / ARP(op=2, psrc="10.0.0.4", hwsrc=HERE, pdst="10.0.0.5")
    gratuitous = ETHER / ARP(op=2, psrc="10.0.0.4", hwsrc=HERE, pdst="10.0.0.4")
    question = ETHER / ARP(op=1, psrc="10.0.0.4", hwsrc=HERE, pdst="10.0.0.5")
    assert [is_answer(bytes(one)) for one in (answer, gratuitous, question)] == [True, False, False]
    solicited = ETHER / SIX / ICMPv6ND_NA(tgt="fd00::9", S=1)
    unsolicited = ETHER / SIX / ICMPv6ND_NA(tgt="fd00::9", S=0)
    assert [is_answer(bytes(one)) for one in (solicited, unsolicited)] == [True, False]
