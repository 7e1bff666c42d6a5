# SPDX-License-Identifier: Apache-2.0
"""Frames that the lab builds are what scapy reads, and what scapy builds is read."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, GRE, Ether
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN

from isthmus.addresses import Mac, parse_mac
from isthmus_lab import frames, frames6, packets

ONE, TWO = parse_mac("02:00:00:00:00:01"), parse_mac("02:00:00:00:00:02")


def test_a_udp_frame_has_right_lengths_and_checksums() -> None:
    packet = frames.udp("10.0.0.1", "10.0.0.2", (1000, 9), b"odd")
    read = Ether(frames.ethernet(TWO, ONE, frames.ETHERTYPE_IPV4, packet))
    assert (read.src, read.dst) == ("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert (read[IP].src, read[IP].dst, read[UDP].sport, read[UDP].dport) == (
        *("10.0.0.1", "10.0.0.2"),
        *(1000, 9),
    )
    checksums = read[IP].chksum, read[UDP].chksum
    del read[IP].chksum, read[UDP].chksum
    again = Ether(bytes(read))
    assert (again[IP].chksum, again[UDP].chksum) == checksums
    assert bytes(again[UDP].payload) == b"odd"


def test_an_echo_request_is_one() -> None:
    read = ICMP(frames.echo_request(7, 9, b"12345678"))
    assert (read.type, read.id, read.seq, bytes(read.payload)) == (8, 7, 9, b"12345678")
    checksum = read.chksum
    del read.chksum
    assert ICMP(bytes(read)).chksum == checksum


def test_a_gratuitous_arp_asks_for_its_own_address() -> None:
    read = Ether(frames.gratuitous_arp(ONE, "10.0.0.1"))
    assert read.dst == "ff:ff:ff:ff:ff:ff"
    assert (read[ARP].op, read[ARP].psrc, read[ARP].pdst) == (1, "10.0.0.1", "10.0.0.1")
    assert read[ARP].hwsrc == "02:00:00:00:00:01"


@pytest.mark.parametrize("encapsulation", ["vxlan", "nvgre"])
def test_a_tunnelled_frame_is_read_by_scapy_and_by_us(encapsulation: str) -> None:
    inner = frames.ethernet(TWO, ONE, 0x88B5, b"inside")
    frame = frames.tunnelled(encapsulation, 5001, inner, (ONE, "172.31.0.1"), (TWO, "172.31.0.2"))
    read = Ether(frame)
    assert (read[IP].src, read[IP].dst) == ("172.31.0.1", "172.31.0.2")
    if encapsulation == "vxlan":
        assert (read[UDP].dport, read[VXLAN].vni, read[VXLAN].flags) == (4789, 5001, 8)
        assert bytes(read[VXLAN].payload) == inner
    else:
        assert (read[GRE].proto, read[GRE].key) == (0x6558, 5001 << 8)
        assert bytes(read[GRE].payload) == inner
    assert frames.read_tunnelled(frame) == frames.Tunnelled(
        encapsulation, "172.31.0.1", "172.31.0.2", 5001, inner
    )


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0" * 60,
        frames.gratuitous_arp(ONE, "10.0.0.1"),
        bytes(Ether() / IP() / UDP(dport=53)),
    ],
)
def test_what_carries_no_frame_is_not_read_as_a_tunnel(frame: bytes) -> None:
    assert frames.read_tunnelled(frame) is None


def test_checksum_of_rfc_1071() -> None:
    # RFC 1071 section 3: the words 0001 f203 f4f5 f6f7 add up to ddf2.
    assert frames.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF


def test_a_provider_mac_is_local_and_unicast() -> None:
    from isthmus_lab.state import HostSpec

    mac = HostSpec("h1", "172.31.0.1").provider_mac
    assert mac == Mac(0x0250AC1F0001)


@pytest.mark.parametrize("family", [4, 6])
def test_packets_of_both_families_are_what_scapy_builds(family: int) -> None:
    ends = ("10.0.0.1", "10.0.0.2") if family == 4 else ("fd00::1", "fd00::2")
    network = IP if family == 4 else IPv6
    for packet in (
        packets.udp(*ends, (1000, 9), b"odd"),
        packets.tcp(*ends, (1000, 80), b"odd"),
        packets.icmp(*ends, 8 if family == 4 else 128, 0, b"\0\1\0\2odd"),
        packets.sctp_init(*ends, (1000, 5000), b"odd"),
    ):
        read = network(packet)
        for layer in (IP, UDP, TCP, ICMP, ICMPv6EchoRequest, SCTP):
            if layer in read:
                for checksum in {"chksum", "cksum"} & set(read[layer].fields):
                    read[layer].delfieldval(checksum)
        assert bytes(network(bytes(read))) == packet
        assert b"odd" in bytes(read.lastlayer())


def test_a_packet_says_the_type_of_its_frame() -> None:
    for ends, ethertype in ((("10.0.0.1", "10.0.0.2"), 0x0800), (("fd00::1", "fd00::2"), 0x86DD)):
        read = Ether(packets.ethernet(TWO, ONE, packets.ip(*ends, 99, b"payload")))
        assert read.type == ethertype
        assert bytes(read).endswith(b"payload")


def test_neighbour_discovery_is_what_scapy_reads() -> None:
    one, two = "fd00::1", "fd00::2"
    read = IPv6(packets.icmpv6(one, two, *frames6.solicitation("fd00::2", ONE)))
    assert (read.hlim, read[ICMPv6ND_NS].tgt) == (255, "fd00::2")
    assert read[ICMPv6NDOptSrcLLAddr].lladdr == "02:00:00:00:00:01"
    message = frames6.advertisement("fd00::3", TWO, frames6.SOLICITED | frames6.ROUTER)
    read = IPv6(packets.icmpv6(one, two, *message.carrying(b"mark")))
    told = read[ICMPv6ND_NA]
    assert (told.tgt, told.R, told.S, told.O) == ("fd00::3", 1, 1, 0)
    assert read[ICMPv6NDOptDstLLAddr].lladdr == "02:00:00:00:00:02"
    assert b"mark" in bytes(read)
    read = IPv6(packets.icmpv6(one, two, *frames6.router_advertisement(ONE)))
    assert read[ICMPv6ND_RA].routerlifetime == 1800
    read = IPv6(packets.icmpv6(one, two, *frames6.redirect("fd00::3", "fd00::4", ONE)))
    assert (read[ICMPv6ND_Redirect].tgt, read[ICMPv6ND_Redirect].dst) == ("fd00::3", "fd00::4")
    read = IPv6(packets.icmpv6(one, two, *frames6.listener_report("ff05::2"), hops=1))
    assert read[ICMPv6MLReport2].records[0].dst == "ff05::2"


def test_messages_stand_behind_extension_headers() -> None:
    one, two = "fd00::1", "fd00::2"
    headers = frames6.options_header(43, units=3) + frames6.routing_header("fd00::9")
    packet = frames6.behind(headers, 60, one, two, frames6.solicitation("fd00::2", ONE))
    read = IPv6(packet)
    assert [layer.__name__ for layer in read.layers()][:4] == [
        *("IPv6", "IPv6ExtHdrDestOpt", "IPv6ExtHdrRouting", "ICMPv6ND_NS")
    ]
    message = packets.icmpv6_message(one, two, *frames6.solicitation("fd00::2", ONE))
    head, tail = (IPv6(part) for part in frames6.fragments(one, two, 58, message, 8, identifier=7))
    assert (head[IPv6ExtHdrFragment].m, head[IPv6ExtHdrFragment].offset) == (1, 0)
    assert (tail[IPv6ExtHdrFragment].m, tail[IPv6ExtHdrFragment].offset) == (0, 1)
    assert bytes(head)[48:] + bytes(tail)[48:] == message


def test_the_link_local_address_of_a_mac() -> None:
    assert frames6.link_local(ONE) == "fe80::ff:fe00:1"
