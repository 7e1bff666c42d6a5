# SPDX-License-Identifier: Apache-2.0
"""Packets that ask for an answer: scapy reads them, and builds the answers."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, defragment
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, defragment6
from scapy.layers.l2 import Ether

from isthmus.addresses import Mac, parse_mac
from isthmus.wire import probes
from isthmus.wire.probes import Ends
from tests.wire.frames import ETHER, FOUR, SIX, any_frames


@given(any_frames)
def test_whatever_comes_answers_a_probe_or_does_not(frame: bytes) -> None:
    found = probes.identifier(frame)
    assert found is None or 0 <= found <= 0xFFFF


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
