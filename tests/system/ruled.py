# SPDX-License-Identifier: Apache-2.0
"""Guests on three hosts, most of them on h1, under one access control list each, and packets of
every protocol between them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from isthmus.addresses import Mac
from isthmus_lab import frames, packets
from isthmus_lab.namespaces import entered
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    FAMILIES,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    rule,
    tag,
    to,
    virtual_network,
)

OPEN, SHUT = "", "shut"
ICMP = {4: ("ICMPv4", 8), 6: ("ICMPv6", 128)}
"""The protocol's name and the type of an echo request."""

EXPERIMENT = 253
"""A protocol that nobody speaks (RFC 3692)."""
UNKNOWN = 99

LISTS = (
    access_control_list("shut"),
    access_control_list(
        "edges",
        rule("TCP", "100-201"),
        rule("UDP", "1000-1003"),
        rule("UDP", "65535"),
        rule("132", "5000-5001"),
        rule(str(UNKNOWN)),
        *(rule(name, icmpType=kind, icmpCode=0) for name, kind in ICMP.values()),
        rule("ICMPv4", icmpType=13),
        outbound="Deny",
    ),
    access_control_list(
        "friends",
        rule("TCP", "7000-7100", sourceSecurityTags=[tag("friends")]),
        rule("TCP", "7200"),
        outbound="Deny",
    ),
    access_control_list(
        "first-deny",
        rule("UDP", "300-310"),
        rule("UDP", "305", action="Deny"),
        rule("UDP", "308", action="Deny", priority="201"),
        rule("UDP", "309", action="Deny", priority="199"),
    ),
    access_control_list("subnet", rule("UDP", "10-20"), rule("UDP", "30")),
    access_control_list("interface", rule("UDP", "20-30")),
    access_control_list(
        "outward",
        rule("UDP", "53", type="Outbound"),
        rule("UDP", "400-500", type="Outbound", destinationSecurityTags=[tag("friends")]),
        inbound="Permit",
        outbound="Deny",
    ),
    access_control_list("ports", rule("All", "80-81"), rule("All", "7", sourcePortRange="1-999")),
    access_control_list("but-ports", rule("All", "80-81", action="Deny"), inbound="Permit"),
    access_control_list("wide", rule("132", "6000-6001", action="Deny"), inbound="Permit"),
)

PLANS = (
    *(Plan(f"open{host[1]}", host, ((10 + int(host[1]), OPEN),)) for host in CARRIAGES),
    *(
        Plan(f"friend{host[1]}", host, ((20 + int(host[1]), SHUT),), tags=("friends",))
        for host in CARRIAGES
    ),
    Plan("shut", "h1", ((30, SHUT),)),
    Plan("edges", "h1", ((31, "edges"),)),
    Plan("group", "h1", ((32, "friends"),)),
    Plan("first-deny", "h1", ((33, "first-deny"),)),
    Plan("two", "h1", ((34, OPEN), (35, SHUT))),
    Plan("both", "h1", ((36, "interface"),), subnet="db"),
    Plan("outward", "h1", ((37, "outward"),)),
    Plan("wide", "h1", ((38, "wide"),)),
    Plan("ports", "h1", ((39, "ports"),)),
    Plan("but-ports", "h1", ((40, "but-ports"),)),
)

source_ports = count(20000)


@contextmanager
def ruled_cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(
            ("/securityTags/friends", {"properties": {}}),
            *LISTS,
            virtual_network("red", {"db": "subnet"}),
            plans=PLANS,
        )
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


each_carriage = pytest.mark.parametrize("host", CARRIAGES, ids=CARRIAGES.__getitem__)
each_family = pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)


def udp(sender: Nic, receiver: Nic, family: int, port: int, *, which: int = 0) -> Frame:
    ports = next(source_ports), port
    ends = sender.address(family), receiver.address(family, which)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


def tcp(sender: Nic, receiver: Nic, family: int, port: int) -> Frame:
    ports = next(source_ports), port
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.tcp(*ends, ports, mark))


def sctp(sender: Nic, receiver: Nic, family: int, port: int, *, source_port: int = 0) -> Frame:
    ports = source_port or next(source_ports), port
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.sctp_init(*ends, ports, mark))


def protocol(sender: Nic, receiver: Nic, family: int, number: int) -> Frame:
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.ip(*ends, number, mark))


def icmp(sender: Nic, receiver: Nic, family: int, kind: int, code: int = 0) -> Frame:
    ends = sender.address(family), receiver.address(family)
    head = struct.pack("!HH", next(source_ports), 1)
    # 16 bytes before the mark: a timestamp message has three times there (RFC 792).
    return lambda mark: to(
        sender, receiver, packets.icmp(*ends, kind, code, head + bytes(12) + mark)
    )


def everything(sender: Nic, receiver: Nic, family: int) -> dict[str, Frame]:
    """A packet of every protocol, to the receiver's addresses and to all."""
    everyone = (
        {"255.255.255.255": frames.BROADCAST, "10.1.1.255": frames.BROADCAST} if family == 4 else {}
    )
    group = ("224.0.0.251", 0x01005E0000FB) if family == 4 else ("ff02::fb", 0x3333000000FB)
    to_all = {**everyone, group[0]: Mac(group[1])}
    own, ports = sender.address(family), (next(source_ports), 7000)

    def datagram(address: str, mac: Mac) -> Frame:
        return lambda mark: packets.ethernet(
            mac, sender.mac, packets.udp(own, address, ports, mark)
        )

    return {
        "tcp": tcp(sender, receiver, family, 80),
        "udp": udp(sender, receiver, family, 53),
        "sctp": sctp(sender, receiver, family, 80),
        "echo": icmp(sender, receiver, family, ICMP[family][1]),
        "other icmp": icmp(sender, receiver, family, 13 if family == 4 else 127),
        "a protocol nobody knows": protocol(sender, receiver, family, UNKNOWN),
        "experimental": protocol(sender, receiver, family, EXPERIMENT),
        "gre": protocol(sender, receiver, family, 47),
        **{f"to {address}": datagram(address, mac) for address, mac in to_all.items()},
    }


def datagrams(nic: Nic, family: int) -> socket.socket:
    with entered(nic.guest.namespace):
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        return socket.socket(kind, socket.SOCK_DGRAM)
