# SPDX-License-Identifier: Apache-2.0
"""Ethernet, ARP, IPv4 and UDP headers; scapy reads what we build and builds what we read."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether

from isthmus.addresses import Mac
from isthmus.wire import ethernet as eth
from isthmus.wire.malformed import Malformed
from tests.wire.mutation import almost

GUEST, ROUTER = Mac(0x020000000001), Mac(0x02FE00000001)
SOURCE, DESTINATION = IPv4Address("10.0.0.4"), IPv4Address("10.0.0.1")

macs = st.integers(0, (1 << 48) - 1).map(Mac)
addresses = st.integers(0, (1 << 32) - 1).map(IPv4Address)
ports = st.integers(0, 0xFFFF)


def a_udp_frame(payload: bytes = b"hello") -> bytes:
    datagram = eth.build_udp(eth.Udp(68, 67, payload), SOURCE, DESTINATION)
    packet = eth.build_ipv4(eth.IPv4(SOURCE, DESTINATION, eth.PROTOCOL_UDP, datagram))
    return eth.build_ethernet(eth.Ethernet(ROUTER, GUEST, eth.ETHERTYPE_IPV4, packet))


def test_scapy_reads_our_udp_frame_and_agrees_with_its_checksums() -> None:
    frame = Ether(a_udp_frame())
    assert (frame.src, frame.dst) == ("02:00:00:00:00:01", "02:fe:00:00:00:01")
    assert (frame[IP].src, frame[IP].dst, frame[IP].ttl) == ("10.0.0.4", "10.0.0.1", 64)
    assert (frame[UDP].sport, frame[UDP].dport) == (68, 67)
    assert bytes(frame[UDP].payload) == b"hello"
    again = Ether(a_udp_frame())
    del again[IP].chksum, again[UDP].chksum
    assert bytes(again) == a_udp_frame()


@given(st.binary(max_size=200), addresses, addresses, ports, ports)
def test_checksums_are_those_of_scapy(
    payload: bytes, source: IPv4Address, destination: IPv4Address, sport: int, dport: int
) -> None:
    datagram = eth.build_udp(eth.Udp(sport, dport, payload), source, destination)
    packet = eth.build_ipv4(eth.IPv4(source, destination, eth.PROTOCOL_UDP, datagram))
    theirs = IP(src=str(source), dst=str(destination), ttl=64, id=0, flags="DF")
    theirs /= UDP(sport=sport, dport=dport) / payload
    assert packet == bytes(theirs)


def test_a_udp_checksum_of_zero_is_sent_as_ones() -> None:
    blank = eth.build_udp(eth.Udp(68, 67, b"\0\0"), SOURCE, DESTINATION)
    datagram = eth.build_udp(eth.Udp(68, 67, blank[6:8]), SOURCE, DESTINATION)
    assert datagram[6:8] == b"\xff\xff"


@given(macs, macs, addresses, addresses, st.sampled_from((1, 2)))
def test_arp_goes_through_scapy_both_ways(
    sender_mac: Mac, target_mac: Mac, sender: IPv4Address, target: IPv4Address, operation: int
) -> None:
    message = eth.Arp(operation, sender_mac, sender, target_mac, target)
    theirs = ARP(eth.build_arp(message))
    assert (theirs.psrc, theirs.pdst, theirs.op) == (str(sender), str(target), operation)
    assert eth.parse_arp(bytes(theirs)) == message


def test_frames_of_scapy_are_read_with_tags_options_and_padding() -> None:
    packet = IP(src="10.0.0.4", dst="10.0.0.1", options=[b"\x94\x04\x00\x00"])
    packet /= UDP(sport=68, dport=67) / b"hello"
    head = Ether(src="02:00:00:00:00:01", dst="02:fe:00:00:00:01")
    for tags in (None, Dot1Q(vlan=5), Dot1AD(vlan=7) / Dot1Q(vlan=5)):
        frame = bytes(head / packet if tags is None else head / tags / packet) + bytes(9)
        read = eth.parse_ethernet(frame)
        assert (read.source, read.destination) == (GUEST, ROUTER)
        ip = eth.parse_ipv4(read.payload)
        assert (ip.source, ip.destination, ip.protocol) == (SOURCE, DESTINATION, 17)
        assert eth.parse_udp(ip.payload) == eth.Udp(68, 67, b"hello")


def test_a_udp_checksum_that_a_guest_left_to_its_nic_is_no_matter() -> None:
    packet = IP(src="10.0.0.4", dst="10.0.0.1") / UDP(sport=68, dport=67, chksum=0x1234) / b"x"
    assert eth.parse_udp(eth.parse_ipv4(bytes(packet)).payload).payload == b"x"


@pytest.mark.parametrize(
    ("packet", "what"),
    [
        (IP(src="10.0.0.4", chksum=1) / UDP(), "checksum"),
        (IP(src="10.0.0.4", flags="MF") / UDP(), "fragment"),
        (IP(src="10.0.0.4", frag=3) / UDP(), "fragment"),
        (IP(src="10.0.0.4", len=100) / UDP(), "100 in all"),
        (IP(src="10.0.0.4", len=10) / UDP(), "10 in all"),
        (IP(src="10.0.0.4", ihl=4) / UDP(), "16 bytes of header"),
        (IP(src="10.0.0.4", version=6) / UDP(), "version 6"),
    ],
)
def test_a_bad_ipv4_header_is_malformed(packet: IP, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        eth.parse_ipv4(bytes(packet))


@pytest.mark.parametrize("length", [7, 9, 65535])
def test_a_bad_udp_length_is_malformed(length: int) -> None:
    with pytest.raises(Malformed, match="UDP"):
        eth.parse_udp(bytes(UDP(len=length)))


def test_arp_of_other_networks_is_malformed() -> None:
    with pytest.raises(Malformed, match="not of IPv4 over Ethernet"):
        eth.parse_arp(bytes(ARP(hwtype=6, hwlen=6, plen=4, hwsrc=b"abcdef", hwdst=b"abcdef")))


def test_three_tags_are_malformed() -> None:
    frame = Ether() / Dot1Q() / Dot1Q() / Dot1Q() / b"xyz"
    with pytest.raises(Malformed, match="tags"):
        eth.parse_ethernet(bytes(frame))


@given(almost([a_udp_frame(), bytes(Ether() / Dot1Q() / ARP()), a_udp_frame()[14:]]))
def test_any_bytes_give_a_value_or_malformed(data: bytes) -> None:
    for parse in (eth.parse_ethernet, eth.parse_arp, eth.parse_ipv4, eth.parse_udp):
        with suppress(Malformed):
            parse(data)
