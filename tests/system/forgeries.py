# SPDX-License-Identifier: Apache-2.0
"""Frames that a guest forges, by name and family: what no switch of ours may let through.

A forgery is a function of a scene (who sends to whom, and whom the sender pretends to be) and of a
mark, which the frame carries, so that a capture knows it again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from itertools import count
from typing import NamedTuple

from isthmus.addresses import Mac
from isthmus_lab import frames, frames6, packets
from isthmus_lab.frames6 import Message
from tests.system.cloud import ROUTER, Nic, RunningCloud

NOBODY = Mac(0x026666666666)
NOBODYS = {4: "10.1.1.66", 6: "fd00:1:0:1::66"}
OTHER_TENANTS = {4: "10.1.1.99", 6: "fd00:1:0:1::99"}
"""Blue has a guest there, and red has none."""
GATEWAY = {4: "10.1.1.1", 6: "fd00:1:0:1::1"}
OTHER_GATEWAY = {4: "10.1.2.1", 6: "fd00:1:0:2::1"}
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
ALL_NODES = ("10.1.1.255", frames.BROADCAST), (frames6.ALL_NODES, frames6.ALL_NODES_MAC)

fresh_numbers = count(30000)


class Scene(NamedTuple):
    """Somebody sends to `destination`, with `mac` in the frame, and pretends to be `peer` or
    worse."""

    cloud: RunningCloud
    sender: Nic
    peer: Nic
    destination: str
    mac: Mac
    family: int

    @property
    def own(self) -> str:
        return self.sender.address(self.family)

    def datagram(
        self, mark: bytes, source: str = "", source_mac: Mac | None = None, *, port: int = 9
    ) -> bytes:
        packet = packets.udp(
            source or self.own, self.destination, (next(fresh_numbers), port), mark
        )
        return self.frame(packet, source_mac)

    def frame(self, packet: bytes, source_mac: Mac | None = None) -> bytes:
        source = self.sender.mac if source_mac is None else source_mac
        return packets.ethernet(self.mac, source, packet)

    def typed(self, ethertype: int, payload: bytes) -> bytes:
        return frames.ethernet(self.mac, self.sender.mac, ethertype, payload)

    def arp(
        self,
        mark: bytes,
        operation: int,
        claimed: str,
        *,
        sender_mac: Mac | None = None,
        source_mac: Mac | None = None,
        target: str = "",
    ) -> bytes:
        sender = sender_mac if sender_mac is not None else self.sender.mac
        source = source_mac if source_mac is not None else self.sender.mac
        # The frame's padding carries the mark.
        return (
            frames.arp(
                operation,
                (sender, claimed),
                (Mac(0), target or claimed),
                source=source,
                destination=self.mac,
            )
            + mark
        )

    def icmpv6(
        self, mark: bytes, message: Message, source: str = "", *, hops: int = 255, code: int = 0
    ) -> bytes:
        message = message.carrying(mark)._replace(code=code)
        packet = packets.icmpv6(source or self.own, self.destination, *message, hops=hops)
        return self.frame(packet)

    def behind(self, mark: bytes, headers: bytes, first: int, message: Message) -> bytes:
        message = message.carrying(mark)
        return self.frame(frames6.behind(headers, first, self.own, self.destination, message))


Attack = Callable[[Scene, bytes], bytes | tuple[bytes, ...]]


def from_address(choose: Callable[[Scene], str]) -> Attack:
    return lambda scene, mark: scene.datagram(mark, choose(scene))


def from_mac(choose: Callable[[Scene], Mac]) -> Attack:
    return lambda scene, mark: scene.datagram(mark, source_mac=choose(scene))


def always(value: str) -> Callable[[Scene], str]:
    return lambda scene: value


# -- forgeries of both families --------------------------------------------------------------------

MACS: dict[str, Attack] = {
    "MAC of a peer": from_mac(lambda scene: scene.peer.mac),
    "MAC of nobody": from_mac(lambda scene: NOBODY),
    "MAC of the router": from_mac(lambda scene: ROUTER),
    "MAC of the receiver": from_mac(lambda scene: scene.mac),
    "broadcast MAC": from_mac(lambda scene: frames.BROADCAST),
    "multicast MAC": from_mac(lambda scene: Mac(0x01005E000001)),
    "MAC of zeros": from_mac(lambda scene: Mac(0)),
    "MAC and address of a peer": lambda scene, mark: scene.datagram(
        mark, scene.peer.address(scene.family), scene.peer.mac
    ),
    "own MAC with the group bit": from_mac(lambda scene: Mac(scene.sender.mac | 1 << 40)),
}

ADDRESSES: dict[str, Attack] = {
    "address of a peer": from_address(lambda scene: scene.peer.address(scene.family)),
    "address of the receiver": from_address(lambda scene: scene.destination),
    "address of nobody": from_address(lambda scene: NOBODYS[scene.family]),
    "address of the gateway": from_address(lambda scene: GATEWAY[scene.family]),
    "address of the other gateway": from_address(lambda scene: OTHER_GATEWAY[scene.family]),
    "address in another subnet": from_address(
        lambda scene: scene.cloud["db"].address(scene.family)
    ),
    "address of another tenant": from_address(lambda scene: OTHER_TENANTS[scene.family]),
    "address of nowhere": from_address(lambda scene: OUTSIDE[scene.family]),
}

TAG = b"\x81\x00\x00\x05"
PRIORITY_TAG = b"\x81\x00\x60\x00"
SERVICE_TAG = b"\x88\xa8\x00\x07"
SNAP = b"\xaa\xaa\x03\0\0\0"

ENVELOPES: dict[str, Attack] = {
    "VLAN tag": lambda scene, mark: tagged(scene.datagram(mark), TAG),
    "priority tag": lambda scene, mark: tagged(scene.datagram(mark), PRIORITY_TAG),
    "service tag": lambda scene, mark: tagged(scene.datagram(mark), SERVICE_TAG),
    "two tags": lambda scene, mark: tagged(scene.datagram(mark), SERVICE_TAG + TAG),
    "VLAN tag and address of a peer": lambda scene, mark: tagged(
        scene.datagram(mark, scene.peer.address(scene.family)), TAG
    ),
    "in MPLS": lambda scene, mark: scene.typed(
        0x8847, b"\0\x01\x01\x40" + scene.datagram(mark)[14:]
    ),
    "SNAP and address of a peer": lambda scene, mark: snapped(
        scene.datagram(mark, scene.peer.address(scene.family))
    ),
    "unknown EtherType": lambda scene, mark: scene.typed(0x88B5, mark),
    "LLDP": lambda scene, mark: scene.typed(0x88CC, b"\x02\x07\x04" + bytes(6) + mark),
    "spanning tree": lambda scene, mark: frames.ethernet(
        Mac(0x0180C2000000), scene.sender.mac, 38 + len(mark), b"\x42\x42\x03" + bytes(35) + mark
    ),
    "the other family's EtherType": lambda scene, mark: scene.typed(
        0x86DD if scene.family == 4 else 0x0800, scene.datagram(mark)[14:]
    ),
}


def tagged(frame: bytes, tags: bytes) -> bytes:
    return frame[:12] + tags + frame[12:]


def snapped(frame: bytes) -> bytes:
    """The same in a frame of IEEE 802.3."""
    payload = SNAP + frame[12:]
    return frame[:12] + struct.pack("!H", len(payload)) + payload


# -- IPv4 ------------------------------------------------------------------------------------------


def ipv4(scene: Scene, mark: bytes, source: str, **changes: int) -> bytes:
    """A datagram with options, or with lengths that are not true."""
    options = bytes((1,)) * changes.get("options", 0)
    length = 20 + len(options) + 8 + len(mark) + changes.get("longer", 0)
    words = changes.get("words", 5 + len(options) // 4)
    addresses = IPv4Address(source).packed + IPv4Address(scene.destination).packed
    offset = changes.get("fragment", 0)
    blank = struct.pack("!BBHHHBBH", 0x40 | words, 0, length, 7, offset, 64, 17, 0)
    header = blank + addresses + options
    header = header[:10] + struct.pack("!H", frames.checksum(header)) + header[12:]
    udp = struct.pack("!HHHH", next(fresh_numbers), 9, 8 + len(mark), 0)
    return scene.typed(frames.ETHERTYPE_IPV4, header + udp + mark)


def dhcp_question(scene: Scene, mark: bytes, *, source: str = "0.0.0.0", last: int = 68) -> bytes:
    ports = (last, 67) if last == 68 else (last, 68)
    return scene.frame(packets.udp(source, "255.255.255.255", ports, bytes(240) + mark))


ONLY4: dict[str, Attack] = {
    **{
        f"address {text}": from_address(always(text))
        for text in (
            *("0.0.0.0", "127.0.0.1", "10.1.1.255", "10.1.1.0", "255.255.255.255", "224.0.0.1"),
            *("240.0.0.1", "169.254.1.1", "172.31.0.2"),
        )
    },
    "options and address of a peer": lambda scene, mark: ipv4(
        scene, mark, scene.peer.address(4), options=8
    ),
    "options that end outside": lambda scene, mark: ipv4(
        scene, mark, scene.own, words=15, longer=-9
    ),
    "header of 16 bytes": lambda scene, mark: ipv4(scene, mark, scene.own, words=4),
    "length beyond the frame": lambda scene, mark: ipv4(scene, mark, scene.own, longer=64),
    "later fragment, address of a peer": lambda scene, mark: ipv4(
        scene, mark, scene.peer.address(4), fragment=100
    ),
    "DHCP question": dhcp_question,
    "DHCP question from a peer's address": lambda scene, mark: dhcp_question(
        scene, mark, source=scene.peer.address(4)
    ),
    "DHCP answer from nowhere": partial(dhcp_question, last=67),
    "DHCP answer from the gateway": lambda scene, mark: dhcp_question(
        scene, mark, source=GATEWAY[4], last=67
    ),
    "redirect from the gateway": lambda scene, mark: scene.frame(
        packets.icmp(GATEWAY[4], scene.destination, 5, 1, IPv4Address(scene.own).packed + mark)
    ),
}

ARP: dict[str, Attack] = {
    "answer for a peer": lambda s, mark: s.arp(mark, 2, s.peer.address(4), target=s.destination),
    "answer for the gateway": lambda s, mark: s.arp(mark, 2, GATEWAY[4], target=s.destination),
    "answer for nobody": lambda s, mark: s.arp(mark, 2, NOBODYS[4], target=s.destination),
    "question as a peer": lambda s, mark: s.arp(mark, 1, s.peer.address(4), target=s.destination),
    "question as the gateway": lambda s, mark: s.arp(mark, 1, GATEWAY[4], target=s.destination),
    "announcement of a peer": lambda s, mark: s.arp(mark, 1, s.peer.address(4)),
    "announcement of the gateway": lambda s, mark: s.arp(mark, 1, GATEWAY[4]),
    "gratuitous answer for the gateway": lambda s, mark: s.arp(mark, 2, GATEWAY[4]),
    "announcement of the receiver": lambda s, mark: s.arp(mark, 1, s.destination),
    "own address at a peer's MAC": lambda s, mark: s.arp(mark, 2, s.own, sender_mac=s.peer.mac),
    "own address at nobody's MAC": lambda s, mark: s.arp(mark, 1, s.own, sender_mac=NOBODY),
    "own ARP in a peer's frame": lambda s, mark: s.arp(mark, 1, s.own, source_mac=s.peer.mac),
    "all of a peer": lambda s, mark: s.arp(
        mark, 2, s.peer.address(4), sender_mac=s.peer.mac, source_mac=s.peer.mac
    ),
    "probe of a peer": lambda s, mark: s.arp(mark, 1, "0.0.0.0", target=s.peer.address(4)),
    "probe of nobody": lambda s, mark: s.arp(mark, 1, "0.0.0.0", target=NOBODYS[4]),
    "probe with a peer's MAC": lambda s, mark: s.arp(
        mark, 1, "0.0.0.0", target=NOBODYS[4], sender_mac=s.peer.mac
    ),
    "unknown operation": lambda s, mark: s.arp(mark, 9, s.own, target=s.destination),
    "unknown hardware": lambda s, mark: other_arp(s, mark, hardware=6),
    "long addresses": lambda s, mark: other_arp(s, mark, length=8),
    "reverse ARP": lambda s, mark: retyped(s.arp(mark, 3, s.peer.address(4)), 0x8035),
    "VLAN tag and an answer for a peer": lambda s, mark: tagged(
        s.arp(mark, 2, s.peer.address(4), target=s.destination), TAG
    ),
    "cut off": lambda s, mark: s.typed(frames.ETHERTYPE_ARP, b"\0\x01\x08\0\x06\x04" + mark[:20]),
}


def other_arp(scene: Scene, mark: bytes, *, hardware: int = 1, length: int = 6) -> bytes:
    frame = scene.arp(mark, 2, scene.peer.address(4), target=scene.destination)
    head = struct.pack("!HHBB", hardware, frames.ETHERTYPE_IPV4, length, 4)
    return frame[:14] + head + frame[20:]


def retyped(frame: bytes, ethertype: int) -> bytes:
    return frame[:12] + struct.pack("!H", ethertype) + frame[14:]


# -- IPv6 ------------------------------------------------------------------------------------------

GATEWAYS_LINK_LOCAL = frames6.link_local(ROUTER)


def ipv6_length(scene: Scene, mark: bytes) -> bytes:
    frame = scene.datagram(mark)
    length = struct.pack("!H", len(frame) - 54 + 64)
    return frame[:18] + length + frame[20:]


ONLY6: dict[str, Attack] = {
    **{
        f"address {text}": from_address(always(text))
        for text in (
            *("::", "::1", "ff02::1", "ff05::2", "::ffff:10.1.1.11", "::10.1.1.11", "fe80::1"),
            *("fec0::1", "64:ff9b::a01:10b", "2002:a01:10b::1", "fd00:1:0:1::", "fd00:1:0:1::b"),
        )
    },
    "link-local address of a peer": from_address(lambda s: frames6.link_local(s.peer.mac)),
    "link-local address of the gateway": from_address(always(GATEWAYS_LINK_LOCAL)),
    "length beyond the frame": ipv6_length,
    "later fragment, address of a peer": lambda s, mark: s.frame(
        frames6.fragments(s.peer.address(6), s.destination, 17, bytes(8) + mark, 8)[1]
    ),
    "behind options, address of a peer": lambda s, mark: s.frame(
        packets.ipv6(
            *(s.peer.address(6), s.destination, frames6.DESTINATION_OPTIONS),
            frames6.options_header(17) + struct.pack("!HHHH", 7, 9, 8 + len(mark), 1) + mark,
        )
    ),
    "DHCP answer from the gateway": lambda s, mark: s.frame(
        packets.udp(GATEWAYS_LINK_LOCAL, s.destination, (547, 546), mark)
    ),
    "DHCP question, link-local": lambda s, mark: s.frame(
        packets.udp(frames6.link_local(s.peer.mac), "ff02::1:2", (546, 547), mark)
    ),
}


def claim(scene: Scene, target: str = "", flags: int = frames6.OVERRIDE) -> Message:
    return frames6.advertisement(target or scene.peer.address(6), scene.sender.mac, flags)


def cut(
    scene: Scene, mark: bytes, message: Message, bytes_before: int, headers: bytes, first: int
) -> tuple[bytes, ...]:
    """A message behind headers, in two fragments. The first may end before what it is about
    (RFC 7113 section 2, RFC 7112). It alone carries the mark, as padding: without it the second is
    nothing."""
    chain = headers + packets.icmpv6_message(scene.own, scene.destination, *message)
    one, other = frames6.fragments(
        *(scene.own, scene.destination, first, chain, bytes_before), identifier=next(fresh_numbers)
    )
    return scene.frame(one) + mark, scene.frame(other)


DISCOVERY: dict[str, Attack] = {
    "claim of a peer": lambda s, mark: s.icmpv6(mark, claim(s)),
    "claim of a peer, as if asked": lambda s, mark: s.icmpv6(
        mark, claim(s, flags=frames6.SOLICITED | frames6.OVERRIDE)
    ),
    "claim of the gateway": lambda s, mark: s.icmpv6(
        mark, claim(s, GATEWAY[6], frames6.ROUTER | frames6.OVERRIDE)
    ),
    "claim of the gateway's link-local address": lambda s, mark: s.icmpv6(
        mark, claim(s, GATEWAYS_LINK_LOCAL)
    ),
    "claim of the receiver": lambda s, mark: s.icmpv6(mark, claim(s, s.destination)),
    "claim of nobody": lambda s, mark: s.icmpv6(mark, claim(s, NOBODYS[6])),
    "claim as a peer": lambda s, mark: s.icmpv6(mark, claim(s), s.peer.address(6)),
    "claim as the gateway": lambda s, mark: s.icmpv6(mark, claim(s, GATEWAY[6]), GATEWAY[6]),
    "claim, link-local": lambda s, mark: s.icmpv6(
        mark, claim(s, frames6.link_local(s.peer.mac)), frames6.link_local(s.sender.mac)
    ),
    "own address at a peer's MAC": lambda s, mark: s.icmpv6(
        mark, frames6.advertisement(s.own, s.peer.mac)
    ),
    "claim without a MAC": lambda s, mark: s.icmpv6(
        mark, frames6.advertisement(s.peer.address(6), None)
    ),
    "claim with hop limit 64": lambda s, mark: s.icmpv6(mark, claim(s), hops=64),
    "claim with code 1": lambda s, mark: s.icmpv6(mark, claim(s), code=1),
    "question as a peer": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.destination, s.sender.mac), s.peer.address(6)
    ),
    "question with a peer's MAC": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.destination, s.peer.mac)
    ),
    "question with hop limit 64": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.destination, s.sender.mac), hops=64
    ),
    "question, link-local of a peer": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.destination, s.sender.mac), frames6.link_local(s.peer.mac)
    ),
    "is a peer's address free": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.peer.address(6), None), "::"
    ),
    "is it free, with a MAC": lambda s, mark: s.icmpv6(
        mark, frames6.solicitation(s.peer.address(6), s.sender.mac), "::"
    ),
    "router asked for": lambda s, mark: s.icmpv6(mark, frames6.router_solicitation(s.peer.mac)),
    "router, own address": lambda s, mark: s.icmpv6(
        mark, frames6.router_advertisement(s.sender.mac)
    ),
    "router, link-local": lambda s, mark: s.icmpv6(
        mark, frames6.router_advertisement(s.sender.mac), frames6.link_local(s.sender.mac)
    ),
    "router, link-local of the gateway": lambda s, mark: s.icmpv6(
        mark, frames6.router_advertisement(s.sender.mac), GATEWAYS_LINK_LOCAL
    ),
    "router with hop limit 64": lambda s, mark: s.icmpv6(
        mark, frames6.router_advertisement(s.sender.mac), hops=64
    ),
    "router with code 1": lambda s, mark: s.icmpv6(
        mark, frames6.router_advertisement(s.sender.mac), code=1
    ),
    "redirect": lambda s, mark: s.icmpv6(
        mark, frames6.redirect(s.own, s.peer.address(6), s.sender.mac)
    ),
    "redirect as the gateway": lambda s, mark: s.icmpv6(
        mark, frames6.redirect(s.own, OUTSIDE[6], s.sender.mac), GATEWAYS_LINK_LOCAL
    ),
    "listener query as the gateway": lambda s, mark: s.icmpv6(
        mark, frames6.listener_query(), GATEWAYS_LINK_LOCAL, hops=1
    ),
    "listener report as a peer": lambda s, mark: s.icmpv6(
        mark, frames6.listener_report("ff05::2"), frames6.link_local(s.peer.mac), hops=1
    ),
    "listener report of nobody": lambda s, mark: s.icmpv6(
        mark, frames6.listener_report("ff05::2"), "::", hops=1
    ),
    **{
        f"{what} behind {which}": partial(
            lambda s, mark, message, headers, first: s.behind(mark, headers, first, message(s)),
            message=message,
            headers=headers,
            first=first,
        )
        for what, message in {
            "claim": claim,
            "router": lambda s: frames6.router_advertisement(s.sender.mac),
            "redirect": lambda s: frames6.redirect(s.own, s.peer.address(6), s.sender.mac),
        }.items()
        for which, headers, first in (
            ("hop-by-hop options", frames6.options_header(), frames6.HOP_BY_HOP),
            ("destination options", frames6.options_header(units=3), frames6.DESTINATION_OPTIONS),
            ("a routing header", frames6.routing_header("fd00::1"), frames6.ROUTING),
            ("a fragment header", frames6.fragment_header(58), frames6.FRAGMENT),
            (
                "three headers",
                frames6.options_header(60)
                + frames6.options_header(44)
                + frames6.fragment_header(58),
                frames6.HOP_BY_HOP,
            ),
        )
    },
    **{
        f"claim, cut {where}": partial(
            lambda s, mark, before, headers, first: cut(s, mark, claim(s), before, headers, first),
            before=before,
            headers=headers,
            first=first,
        )
        for where, before, headers, first in (
            ("after its type", 8, b"", 58),
            ("after its target", 24, b"", 58),
            ("before its type", 8, frames6.options_header(), frames6.DESTINATION_OPTIONS),
            ("amid its options", 8, frames6.options_header(units=2), frames6.DESTINATION_OPTIONS),
            ("after hop-by-hop options", 8, frames6.options_header(), frames6.HOP_BY_HOP),
        )
    },
}

FORGERIES = {
    **{("IPv4", name): attack for name, attack in (MACS | ADDRESSES | ENVELOPES | ONLY4).items()},
    **{("ARP", name): attack for name, attack in ARP.items()},
    **{("IPv6", name): attack for name, attack in (MACS | ADDRESSES | ENVELOPES | ONLY6).items()},
    **{("ND", name): attack for name, attack in DISCOVERY.items()},
}


def fragment4(
    scene: Scene, part: bytes, offset: int, *, more: bool, protocol: int = frames.PROTOCOL_UDP
) -> bytes:
    packet = frames.ipv4(scene.own, scene.destination, protocol, part)
    blank = packet[:6] + struct.pack("!H", more << 13 | offset // 8) + packet[8:10] + bytes(2)
    head = blank + packet[12:20]
    return head[:10] + struct.pack("!H", frames.checksum(head)) + packet[12:]


def of_family(family: int) -> dict[str, Attack]:
    groups = ("IPv4", "ARP") if family == 4 else ("IPv6", "ND")
    return {name: attack for (group, name), attack in FORGERIES.items() if group in groups}
