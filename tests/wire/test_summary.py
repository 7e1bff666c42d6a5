# SPDX-License-Identifier: Apache-2.0
"""Frames in one line, probes, and what neighbours say: scapy builds them, anything may come."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    IPv6,
    defragment6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from isthmus.addresses import Mac, parse_mac
from isthmus.wire import probes
from isthmus.wire.malformed import Malformed
from isthmus.wire.neighbours import announced
from isthmus.wire.probes import Ends
from isthmus.wire.summary import summary

HERE, THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
ETHER = Ether(src=HERE, dst=THERE)
FOUR, SIX = IP(src="10.0.0.4", dst="10.0.0.5"), IPv6(src="fd00::4", dst="fd00::5")


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


_types = st.sampled_from((0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8, 0x1234))
_frames = st.one_of(
    st.binary(max_size=120),
    st.builds(
        lambda ends, kind, rest: ends + pack("!H", kind) + rest,
        st.binary(min_size=12, max_size=12),
        _types,
        st.binary(max_size=120),
    ),
)


@given(_frames)
def test_whatever_comes_is_told_in_one_line(frame: bytes) -> None:
    text = summary(frame)
    assert text
    assert "\n" not in text


@given(_frames)
def test_whatever_comes_answers_a_probe_or_does_not(frame: bytes) -> None:
    found = probes.identifier(frame)
    assert found is None or 0 <= found <= 0xFFFF


@given(_frames)
def test_whatever_comes_announces_something_or_is_malformed(frame: bytes) -> None:
    try:
        address, mac = announced(frame)
    except Malformed:
        return
    assert address.version in (4, 6)
    assert 0 <= mac < 1 << 48


# -- probes ----------------------------------------------------------------------------------------

_four = st.ip_addresses(v=4)
_six = st.ip_addresses(v=6)
_macs = st.integers(0, (1 << 48) - 1)
_ends = st.one_of(
    st.builds(Ends, _macs, _macs, _four, _four), st.builds(Ends, _macs, _macs, _six, _six)
)
_numbers = st.integers(0, 0xFFFF)
_PAIRS = {4: ("10.0.0.4", "10.0.0.5"), 6: ("fd00::4", "fd00::5")}


@given(_ends, st.sampled_from(("icmp", "tcp")), _numbers, _numbers, st.integers(0, 1400))
def test_scapy_reads_in_a_probe_what_was_asked_for_with_right_checksums(
    ends: Ends, protocol: str, identifier: int, port: int, length: int
) -> None:
    (octets,) = probes.build(ends, protocol, identifier, port, length)
    frame = Ether(octets)
    network = frame.payload
    assert (int(parse_mac(frame.src)), int(parse_mac(frame.dst))) == (
        ends.source_mac,
        ends.target_mac,
    )
    assert ip_address(network.src) == ends.source
    assert ip_address(network.dst) == ends.target
    if protocol == "tcp":
        segment = frame[TCP]
        assert (segment.sport, segment.dport, str(segment.flags)) == (identifier, port, "S")
    else:
        echo = frame[ICMP] if ends.source.version == 4 else frame[ICMPv6EchoRequest]
        assert (echo.id, echo.type) == (identifier, 8 if ends.source.version == 4 else 128)
        assert len(octets) - len(frame) == 0
    # Built anew by scapy, which fills in checksums and lengths.
    for layer in (IP, TCP, ICMP):
        if layer in frame:
            del frame[layer].chksum
    if ICMPv6EchoRequest in frame:
        del frame[ICMPv6EchoRequest].cksum
    if IP in frame:
        del frame[IP].len
    else:
        del frame[IPv6].plen
    assert bytes(frame) == octets


@given(_ends, st.integers(1, 0xFFFF), st.integers(0, 9000), st.integers(576, 9100))
def test_a_probe_longer_than_the_mtu_goes_in_fragments_that_make_it_up(
    ends: Ends, identifier: int, length: int, mtu_bytes: int
) -> None:
    (whole,) = probes.build(ends, "icmp", identifier, 0, length)
    frames = probes.build(ends, "icmp", identifier, 0, length, mtu_bytes)
    assert all(len(frame) <= 14 + mtu_bytes for frame in frames)
    assert (len(frames) == 1) is (len(whole) <= 14 + mtu_bytes)
    if len(frames) == 1:
        assert frames == (whole,)
        return
    packets = [Ether(frame) for frame in frames]
    if ends.source.version == 4:
        made = Ether(bytes(defragment(packets)[0]))  # type: ignore[no-untyped-call]  # scapy
        assert bytes(made[ICMP]) == whole[34:]
        for packet in packets:
            given = packet[IP].chksum
            del packet[IP].chksum
            assert Ether(bytes(packet))[IP].chksum == given
    else:
        made = defragment6(packets)  # type: ignore[no-untyped-call]  # scapy
        assert bytes(made[IPv6].payload) == whole[54:]


@pytest.mark.parametrize("version", [4, 6])
def test_an_answer_in_fragments_is_known_by_the_first(version: int) -> None:
    source, target = (ip_address(text) for text in _PAIRS[version])
    ends = Ends(Mac(2), Mac(4), source, target)
    kinds = {8: 0, 128: 129}
    frames = [bytearray(one) for one in probes.build(ends, "icmp", 40000, 0, 3000, 1400)]
    at = 34 if version == 4 else 62
    frames[0][at] = kinds[frames[0][at]]
    found = [probes.identifier(bytes(frame)) for frame in frames]
    assert found == [40000, None, None]


@given(_numbers, _numbers)
def test_an_answer_is_known_by_what_the_question_was_given(identifier: int, port: int) -> None:
    answers = [
        FOUR / TCP(sport=port, dport=identifier, flags="SA"),
        FOUR / TCP(sport=port, dport=identifier, flags="RA"),
        SIX / TCP(sport=port, dport=identifier, flags="SA"),
        FOUR / ICMP(type=0, id=identifier),
        SIX / ICMPv6EchoReply(id=identifier),
    ]
    for answer in answers:
        assert probes.identifier(bytes(ETHER / answer)) == identifier
    for other in (
        *(FOUR / ICMP(type=8, id=identifier), SIX / ICMPv6EchoRequest(id=identifier)),
        *(FOUR / UDP(sport=port, dport=identifier), SIX / UDP(sport=port, dport=identifier)),
    ):
        assert probes.identifier(bytes(ETHER / other)) is None


def test_an_answer_may_carry_options_of_ip() -> None:
    answer = ETHER / IP(src="10.0.0.4", dst="10.0.0.5", options=b"\x01" * 8) / ICMP(type=0, id=77)
    assert probes.identifier(bytes(answer)) == 77


# -- neighbours ------------------------------------------------------------------------------------


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
