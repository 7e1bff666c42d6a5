# SPDX-License-Identifier: Apache-2.0
"""What is forged arrives nowhere, with packets: by guests, and from the underlay; and what a port's
settings open is just what they name.

Each forged frame is for a guest on the same host, one behind each encapsulation, one in another
subnet, and for all; and is followed by an allowed packet to each of these, and by one within
another tenant's network. Only what the capture that sees the allowed packet has not seen, did not
arrive.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from ipaddress import IPv4Address
from itertools import count, islice
from typing import NamedTuple

import pytest

from isthmus.addresses import Mac, mac_bytes, mac_text
from isthmus_lab import frames, frames6, packets
from isthmus_lab.frames6 import Message
from isthmus_lab.rawsocket import Capture, send_frames
from isthmus_lab.underlay import Stranger
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    HOSTS,
    ROUTER,
    Cloud,
    Frame,
    Nic,
    Plan,
    arrivals_at,
    carries,
    to,
    until,
    virtual_network,
)

pytestmark = pytest.mark.system

NOBODY = Mac(0x026666666666)
NOBODYS = {4: "10.1.1.66", 6: "fd00:1:0:1::66"}
OTHER_TENANTS = {4: "10.1.1.99", 6: "fd00:1:0:1::99"}
"""Blue has a guest there, and red has none."""
GATEWAY = {4: "10.1.1.1", 6: "fd00:1:0:1::1"}
OTHER_GATEWAY = {4: "10.1.2.1", 6: "fd00:1:0:2::1"}
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
ALL_NODES = ("10.1.1.255", frames.BROADCAST), (frames6.ALL_NODES, frames6.ALL_NODES_MAC)

PAIRS = [
    {"ipAddress": "10.1.1.200"},
    {"ipAddress": "10.1.1.208/28", "macAddress": "02-00-5E-00-01-01"},
    {"ipAddress": "fd00:1:0:1::200"},
    {"ipAddress": "fd00:1:0:1:aa::/80", "macAddress": "02-00-5E-00-01-01"},
]
PAIR_MAC = Mac(0x02005E000101)

PLANS = (
    Plan("attacker", "h1", ((11, ""),)),
    *(Plan(f"victim{host.name[1]}", host.name, ((20 + int(host.name[1]), ""),)) for host in HOSTS),
    Plan("db", "h1", ((30, ""),), subnet="db"),
    Plan(
        "any-mac", "h1", ((41, ""),), properties={"portSettings": {"macSpoofingEnabled": "Enabled"}}
    ),
    Plan(
        "guarded", "h1", ((42, ""),), properties={"portSettings": {"dhcpGuardEnabled": "Enabled"}}
    ),
    Plan(
        "router", "h1", ((43, ""),), properties={"portSettings": {"routerGuardEnabled": "Disabled"}}
    ),
    Plan("storm", "h1", ((44, ""),), properties={"portSettings": {"stormLimit": 5}}),
    Plan("pairs", "h1", ((45, ""),), properties={"allowedAddressPairs": PAIRS}),
    Plan("blue1", "h1", ((99, ""),), network="blue"),
    Plan("blue2", "h1", ((98, ""),), network="blue"),
)
VICTIMS = ("victim1", "victim2", "victim3", "db")

_numbers = count(30000)

AT_ONCE = 8
"""Forgeries in one burst: what a switch's buffer loses would prove nothing."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with clouds.running_cloud() as made:
        made.furnish(virtual_network("red"), virtual_network("blue"), plans=PLANS)
        yield made


class Scene(NamedTuple):
    """Somebody sends to `destination`, with `mac` in the frame, and pretends to be `peer` or
    worse."""

    cloud: Cloud
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
        packet = packets.udp(source or self.own, self.destination, (next(_numbers), port), mark)
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
    udp = struct.pack("!HHHH", next(_numbers), 9, 8 + len(mark), 0)
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
        *(scene.own, scene.destination, first, chain, bytes_before), identifier=next(_numbers)
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


@pytest.mark.parametrize("what", FORGERIES, ids=": ".join)
def test_what_a_guest_forges_arrives_nowhere(cloud: Cloud, what: tuple[str, str]) -> None:
    family = 4 if what[0] in ("IPv4", "ARP") else 6
    assert_closed(cloud, "attacker", family, {what[1]: FORGERIES[what]})


def assert_closed(cloud: Cloud, sender: str, family: int, attacks: Mapping[str, Attack]) -> None:
    """None of `attacks` arrives anywhere."""
    left = iter(attacks.items())
    while part := dict(islice(left, AT_ONCE)):
        assert (
            stray(cloud, cloud[sender], family, everywhere(cloud, sender, family, part), {}) == {}
        )


def assert_open(
    cloud: Cloud,
    sender: str,
    family: int,
    attacks: Mapping[str, Attack],
    *,
    closed: Mapping[str, Attack] | None = None,
    routed: bool = True,
) -> None:
    """All of `attacks` arrive everywhere, but nothing that is `closed`; in the other subnet only if
    they are routed."""
    expected = {
        victim: {
            f"{name}, for {whom}"
            for name in attacks
            for whom in ((victim,) if victim == "db" else (victim, "all"))
        }
        for victim in VICTIMS
        if routed or victim != "db"
    }
    sent = everywhere(cloud, sender, family, {**(closed or {}), **attacks})
    assert stray(cloud, cloud[sender], family, sent, expected) == expected


def everywhere(
    cloud: Cloud, sender: str, family: int, attacks: Mapping[str, Attack]
) -> dict[str, Frame]:
    """Each for each victim, and for all."""
    scenes = {}
    for number, name in enumerate(VICTIMS):
        victim, peer = cloud[name], cloud[VICTIMS[(number + 1) % 3]]
        mac = victim.mac if victim.plan.subnet == "web" else ROUTER
        scenes[name] = Scene(cloud, cloud[sender], peer, victim.address(family), mac, family)
    everyone = ALL_NODES[family == 6]
    scenes["all"] = Scene(cloud, cloud[sender], cloud["victim2"], *everyone, family)
    return {
        f"{name}, for {whom}": partial(attack, scene)
        for name, attack in attacks.items()
        for whom, scene in scenes.items()
    }


def stray(
    cloud: Cloud,
    sender: Nic,
    family: int,
    sent: Mapping[str, Frame],
    awaited: Mapping[str, set[str]],
) -> dict[str, set[str]]:
    """What of `sent` arrives, by the receiver's name; nothing is left out. Every receiver sees
    something allowed after it. What is `awaited` is sent until it arrives."""
    one, other = cloud["blue1"], cloud["blue2"]
    allowed: dict[Nic, tuple[str, Frame]] = {}
    for victim in (*map(cloud.__getitem__, VICTIMS), one):
        source = other if victim is one else sender
        allowed[victim] = f"allowed, for {victim.plan.name}", honest(source, victim, family)

    def send(built: list[bytes]) -> None:
        sender.send(built[:-1])
        other.send(built[-1:])

    found = arrivals_at(
        {
            victim: (*awaited.get(victim.plan.name, ()), name)
            for victim, (name, _) in allowed.items()
        },
        send,
        {**sent, **dict(allowed.values())},
    )
    extra = {}
    for victim, (name, _) in allowed.items():
        arrived = found[victim.plan.name]
        assert name in arrived, f"the control at {victim.plan.name}"
        extra[victim.plan.name] = arrived - {name}
    return {name: names for name, names in extra.items() if names}


def honest(sender: Nic, receiver: Nic, family: int) -> Frame:
    ends, ports = (sender.address(family), receiver.address(family)), (next(_numbers), 9)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


def optional(scene: Scene, mark: bytes) -> bytes:
    """A datagram with options, or behind some."""
    if scene.family == 4:
        return ipv4(scene, mark, scene.own, options=8)
    headers = frames6.options_header(60) + frames6.options_header(17)
    datagram = packets.udp(scene.own, scene.destination, (7, 9), mark)[40:]
    return scene.frame(
        packets.ipv6(scene.own, scene.destination, frames6.HOP_BY_HOP, headers + datagram)
    )


def echo_in_fragments(scene: Scene, mark: bytes) -> tuple[bytes, ...]:
    """An echo request. The first fragment, which could be taken for something else, has the mark
    as padding."""
    ends = scene.own, scene.destination
    kind = 8 if scene.family == 4 else 128
    whole = packets.icmp(*ends, kind, 0, struct.pack("!HH", next(_numbers), 1) + bytes(100))
    if scene.family == 6:
        one, other = frames6.fragments(*ends, 58, whole[40:], 64, identifier=next(_numbers))
    else:
        one = fragment4(scene, whole[20:][:64], 0, protocol=1, more=True)
        other = fragment4(scene, whole[20:][64:], 64, protocol=1, more=False)
    return scene.frame(one) + mark, scene.frame(other)


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
def test_what_is_true_passes_in_every_shape(cloud: Cloud, family: int) -> None:
    shapes: dict[str, Attack] = {
        "options": optional,
        "fragments": echo_in_fragments,
        "unknown protocol": lambda s, mark: s.frame(packets.ip(s.own, s.destination, 99, mark)),
        "SNAP": lambda s, mark: snapped(s.datagram(mark)),
    }
    assert_open(cloud, "attacker", family, shapes)


# -- what settings open ----------------------------------------------------------------------------


def test_any_mac_address_may_be_allowed_and_nothing_more(cloud: Cloud) -> None:
    names = ("MAC of a peer", "MAC of nobody")
    never = ("broadcast MAC", "multicast MAC", "MAC and address of a peer")
    sender, near = cloud["any-mac"], cloud["victim1"]
    for family in FAMILIES:
        assert_open(cloud, "any-mac", family, {name: MACS[name] for name in names})
        with Capture(near.guest.namespace, near.guest.nic) as seen:
            forged = Scene(cloud, sender, near, near.address(family), near.mac, family)
            datagram = forged.datagram(b"of nobody", source_mac=NOBODY)
            until(partial(is_seen, seen, b"of nobody", partial(sender.send, [datagram])))
            (found, *_) = seen.having(b"of nobody")
            assert found[6:12] == mac_bytes(NOBODY)
        closed = {
            name: attack
            for name, attack in of_family(family).items()
            if name not in MACS or name in never
        }
        assert_closed(cloud, "any-mac", family, closed)


def is_seen(seen: Capture, mark: bytes, send: Callable[[], None]) -> bool:
    """Whether the capture has seen the mark, which is sent."""
    send()
    return seen.wait_for(partial(carries, mark), 1.0) is not None


def test_a_guarded_port_answers_no_dhcp_in_any_pieces(cloud: Cloud) -> None:
    for family, (client, server) in {4: (68, 67), 6: (546, 547)}.items():
        answers: dict[str, Attack] = {
            "answer": partial(dhcp_answer, ports=(server, client)),
            "answer to another port": partial(dhcp_answer, ports=(server, 9)),
            "answer in fragments": partial(dhcp_answer, ports=(server, client), cut_at=48),
        }
        others: dict[str, Attack] = {
            "to a server's port": partial(dhcp_answer, ports=(9, server)),
            "something in fragments": partial(dhcp_answer, ports=(9, 10), cut_at=48),
        }
        assert_open(cloud, "attacker", family, answers | others)
        if family == 6:
            answers["answer, cut before its ports"] = partial(
                dhcp_answer,
                ports=(server, client),
                cut_at=8,
                headers=frames6.options_header(frames.PROTOCOL_UDP),
            )
        assert_open(cloud, "guarded", family, others, closed=answers)


def dhcp_answer(
    scene: Scene, mark: bytes, ports: tuple[int, int], *, cut_at: int = 0, headers: bytes = b""
) -> bytes | tuple[bytes, ...]:
    """From the guest's own address; or in two fragments, of which the first has `cut_at` bytes, and
    the mark as padding."""
    if not cut_at:
        return scene.frame(packets.udp(scene.own, scene.destination, ports, bytes(48) + mark))
    whole = packets.udp(scene.own, scene.destination, ports, bytes(96))
    if scene.family == 6:
        first = frames6.DESTINATION_OPTIONS if headers else frames.PROTOCOL_UDP
        one, other = frames6.fragments(
            *(scene.own, scene.destination, first, headers + whole[40:], cut_at),
            identifier=next(_numbers),
        )
    else:
        one = fragment4(scene, whole[20:][:cut_at], 0, more=True)
        other = fragment4(scene, whole[20:][cut_at:], cut_at, more=False)
    return scene.frame(one) + mark, scene.frame(other)


def fragment4(
    scene: Scene, part: bytes, offset: int, *, more: bool, protocol: int = frames.PROTOCOL_UDP
) -> bytes:
    packet = frames.ipv4(scene.own, scene.destination, protocol, part)
    blank = packet[:6] + struct.pack("!H", more << 13 | offset // 8) + packet[8:10] + bytes(2)
    head = blank + packet[12:20]
    return head[:10] + struct.pack("!H", frames.checksum(head)) + packet[12:]


ROUTERS_OWN = ("router, link-local", "router, link-local of the gateway")
"""What a port without router guard may send: any link-local address could be its guest's."""


def test_a_router_may_be_allowed_and_nothing_more(cloud: Cloud) -> None:
    opened = {name: DISCOVERY[name] for name in ROUTERS_OWN}
    assert_open(cloud, "router", 6, opened, routed=False)
    closed = {name: attack for name, attack in of_family(6).items() if name not in opened}

    def advertised(scene: Scene) -> Message:
        return frames6.router_advertisement(scene.sender.mac)

    closed["router, link-local, hop limit 64"] = lambda s, mark: s.icmpv6(
        mark, advertised(s), frames6.link_local(s.sender.mac), hops=64
    )
    closed["router, link-local, a peer's MAC"] = lambda s, mark: retold(
        s.icmpv6(mark, advertised(s), frames6.link_local(s.sender.mac)), s.peer.mac
    )
    assert_closed(cloud, "router", 6, closed)


def retold(frame: bytes, source: Mac) -> bytes:
    """The same from another MAC address."""
    return frame[:6] + mac_bytes(source) + frame[12:]


def test_a_storm_limit_holds_for_broadcasts_only(cloud: Cloud) -> None:
    sender = cloud["storm"]
    for family in FAMILIES:
        address, mac = ALL_NODES[family == 6]
        for name in ("victim1", "victim2", "victim3"):
            victim = cloud[name]
            near = Scene(cloud, sender, victim, victim.address(family), victim.mac, family)
            everyone = near._replace(destination=address, mac=mac)
            with Capture(victim.guest.namespace, victim.guest.nic) as seen:
                # Five in a second, and as many at once; to send them takes far less than a minute.
                for number in range(1, 7):
                    sender.send([everyone.datagram(b"to all")] * 50)
                    sender.send([near.datagram(b"to one")] * 10)
                    # No more at once than a switch's buffer holds that is not looked into.
                    until(partial(has, seen, b"to one", 10 * number))
                until(partial(has, seen, b"to all", 1))
                assert not has(seen, b"to all", 150)


def has(seen: Capture, mark: bytes, count: int) -> bool:
    return len(seen.having(mark)) >= count


def test_address_pairs_open_what_they_name(cloud: Cloud) -> None:
    sender, other = cloud["pairs"], PAIR_MAC
    own = sender.mac
    inside = {
        4: (("10.1.1.200", own), ("10.1.1.208", other), ("10.1.1.223", other)),
        6: (
            *(("fd00:1:0:1::200", own), ("fd00:1:0:1:aa::", other)),
            ("fd00:1:0:1:aa:ffff:ffff:ffff", other),
        ),
    }
    outside = {
        4: (
            *(("10.1.1.199", own), ("10.1.1.201", own), ("10.1.1.200", other)),
            *(("10.1.1.200", NOBODY), ("10.1.1.208", own), ("10.1.1.207", other)),
            *(("10.1.1.224", other), (sender.address(4), other)),
        ),
        6: (
            *(("fd00:1:0:1::1ff", own), ("fd00:1:0:1::201", own), ("fd00:1:0:1::200", other)),
            *(("fd00:1:0:1:aa::", own), ("fd00:1:0:1:a9:ffff:ffff:ffff", other)),
            *(("fd00:1:0:1:ab::", other), ("fd00:1:0:1::200", NOBODY), (sender.address(6), other)),
        ),
    }
    for family in FAMILIES:
        assert_open(cloud, "pairs", family, sourced(inside[family]))
        assert_closed(cloud, "pairs", family, of_family(family) | sourced(outside[family]))


def sourced(sources: Iterable[tuple[str, Mac]]) -> dict[str, Attack]:
    def attack(address: str, mac: Mac, scene: Scene, mark: bytes) -> bytes:
        return scene.datagram(mark, address, mac)

    return {f"{text} {mac_text(mac)}": partial(attack, text, mac) for text, mac in sources}


def test_of_address_pairs_only_true_announcements_pass(cloud: Cloud) -> None:
    four, six = "10.1.1.200", "fd00:1:0:1::200"
    true = frames6.advertisement(six, cloud["pairs"].mac)
    opened4: dict[str, Attack] = {"announcement": lambda s, mark: s.arp(mark, 1, four)}
    opened6: dict[str, Attack] = {"announcement": lambda s, mark: s.icmpv6(mark, true, six)}
    # These come to the agent, a few in a second: with the true one beside them.
    heard: dict[str, Attack] = {
        "answer": lambda s, mark: s.arp(mark, 2, four, target=s.destination),
        # A prefix of many addresses is for what is behind the guest, not for itself.
        "announcement of a prefix's": lambda s, mark: s.arp(
            mark, 1, "10.1.1.209", sender_mac=PAIR_MAC, source_mac=PAIR_MAC
        ),
    }
    assert_open(cloud, "pairs", 4, opened4, closed=heard, routed=False)
    assert_open(cloud, "pairs", 6, opened6, routed=False)
    closed4: dict[str, Attack] = {
        "announcement of another": lambda s, mark: s.arp(mark, 1, "10.1.1.201"),
        "announcement with another MAC": lambda s, mark: s.arp(mark, 1, four, sender_mac=PAIR_MAC),
        "announcement in another frame": lambda s, mark: s.arp(mark, 1, four, source_mac=PAIR_MAC),
    }
    assert_closed(cloud, "pairs", 4, closed4)
    closed6: dict[str, Attack] = {
        "announcement of another": lambda s, mark: s.icmpv6(mark, claim(s, f"{six[:-1]}1"), six),
        "announcement of a peer": lambda s, mark: s.icmpv6(mark, claim(s), six),
        "announcement with another MAC": lambda s, mark: s.icmpv6(
            mark, frames6.advertisement(six, PAIR_MAC), six
        ),
        "announcement without a MAC": lambda s, mark: s.icmpv6(
            mark, frames6.advertisement(six, None), six
        ),
        "announcement from a peer": lambda s, mark: s.icmpv6(mark, true, s.peer.address(6)),
        "announcement from the gateway": lambda s, mark: s.icmpv6(mark, true, GATEWAY[6]),
        "announcement from afar": lambda s, mark: s.icmpv6(mark, true, six, hops=64),
    }
    assert_closed(cloud, "pairs", 6, closed6)


def of_family(family: int) -> dict[str, Attack]:
    groups = ("IPv4", "ARP") if family == 4 else ("IPv6", "ND")
    return {name: attack for (group, name), attack in FORGERIES.items() if group in groups}


# -- from the underlay -----------------------------------------------------------------------------

CLAIMED = {"vxlan": "victim2", "nvgre": "victim3"}
"""Whom h1 hears by which encapsulation."""


@pytest.fixture(scope="module")
def stranger(cloud: Cloud) -> Stranger:
    return cloud.lab.add_stranger("stranger", "172.31.0.66")


def vsid_of(cloud: Cloud, network: str, subnet: str = "web") -> int:
    found = cloud.north.get(f"/virtualNetworks/{network}/subnets/{subnet}")
    return int(found["properties"]["virtualSubnetId"])


class Tunnel(NamedTuple):
    """How a stranger's frame comes to h1."""

    stranger: Stranger
    encapsulation: str
    vsid: int
    source: str

    def wrap(self, inner: bytes) -> bytes:
        host = HOSTS[0]
        return frames.tunnelled(
            *(self.encapsulation, self.vsid, inner),
            (self.stranger.mac, self.source),
            (host.provider_mac, host.provider_address),
        )


def provider_of(cloud: Cloud, nic: Nic) -> str:
    return cloud.lab.host(nic.plan.host).spec.provider_address


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
@pytest.mark.parametrize("encapsulation", CLAIMED)
def test_what_a_host_forges_for_its_guests_arrives_nowhere(
    cloud: Cloud, stranger: Stranger, encapsulation: str, family: int
) -> None:
    """A host that has been taken over sends from its own provider address all that a guest there
    could forge; the MAC address of its guests alone is not believed but set."""
    claimed = cloud[CLAIMED[encapsulation]]
    tunnel = Tunnel(stranger, encapsulation, vsid_of(cloud, "red"), provider_of(cloud, claimed))
    attacks = {
        name: attack
        for name, attack in of_family(family).items()
        if name not in MACS or name == "MAC and address of a peer"
    }
    left = iter(attacks.items())
    while part := dict(islice(left, AT_ONCE)):
        forged = injected(cloud, tunnel, claimed, family, part)
        assert wandered(cloud, tunnel, claimed, family, forged) == {}
    opened = {"MAC of a peer", "MAC of nobody", "MAC of the router"}
    forged = injected(cloud, tunnel, claimed, family, {name: MACS[name] for name in opened})
    victim = cloud["victim1"]
    with Capture(victim.guest.namespace, victim.guest.nic) as seen:
        found = wandered(cloud, tunnel, claimed, family, forged)
        assert {name.partition(",")[0] for name in found["victim1"]} == opened
        # Another capture has seen them, and the control.
        until(partial(has, seen, b"isthmus-", len(found["victim1"]) + 1))
        sources = {frame[6:12] for frame in seen.having(b"isthmus-")}
    assert sources == {mac_bytes(claimed.mac)}


@pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
@pytest.mark.parametrize("encapsulation", CLAIMED)
def test_what_comes_by_a_false_way_arrives_nowhere(
    cloud: Cloud, stranger: Stranger, encapsulation: str, family: int
) -> None:
    """True packets of a guest, from provider addresses of others, or in other segments."""
    claimed = cloud[CLAIMED[encapsulation]]
    true = Tunnel(stranger, encapsulation, vsid_of(cloud, "red"), provider_of(cloud, claimed))
    ways = {
        "a stranger": true._replace(source=stranger.provider_address),
        "nobody": true._replace(source="172.31.0.99"),
        "its own host": true._replace(source=HOSTS[0].provider_address),
        "another tenant's segment": true._replace(vsid=vsid_of(cloud, "blue")),
        "another subnet's segment": true._replace(vsid=vsid_of(cloud, "red", "db")),
        "no segment": true._replace(vsid=0),
        "an unknown segment": true._replace(vsid=0xABCDE),
        "the other encapsulation's key": true._replace(
            vsid=true.vsid >> 8 if encapsulation == "nvgre" else true.vsid << 8 & 0xFFFFFF
        ),
        **{
            f"{host.name}": true._replace(source=host.provider_address)
            for host in HOSTS
            if host.provider_address != true.source
        },
    }
    honestly: dict[str, Attack] = {"true": lambda scene, mark: scene.datagram(mark)}
    forged = {
        f"{way}{name[4:]}": frame
        for way, tunnel in ways.items()
        for name, frame in injected(cloud, tunnel, claimed, family, honestly).items()
    }
    assert wandered(cloud, true, claimed, family, forged) == {}


def injected(
    cloud: Cloud, tunnel: Tunnel, claimed: Nic, family: int, attacks: Mapping[str, Attack]
) -> dict[str, Frame]:
    """Each forgery in a tunnel to h1, for two guests there and for all."""
    peer = next(cloud[name] for name in ("victim2", "victim3") if cloud[name] is not claimed)
    near, blue = cloud["victim1"], cloud["blue1"]
    targets = {
        "victim1": (near.address(family), near.mac),
        "blue1": (blue.address(family), blue.mac),
        "all": ALL_NODES[family == 6],
    }

    def wrapped(attack: Attack, scene: Scene, mark: bytes) -> tuple[bytes, ...]:
        built = attack(scene, mark)
        return tuple(map(tunnel.wrap, (built,) if isinstance(built, bytes) else built))

    return {
        f"{name}, for {whom}": partial(
            wrapped, attack, Scene(cloud, claimed, peer, *target, family)
        )
        for name, attack in attacks.items()
        for whom, target in targets.items()
    }


def wandered(
    cloud: Cloud, tunnel: Tunnel, claimed: Nic, family: int, forged: Mapping[str, Frame]
) -> dict[str, set[str]]:
    """What of `forged` arrives at h1's guests, by the receiver's name. The control comes from the
    stranger too, with all true: an underlay without source checks lets that pass
    (docs/security.md says so)."""
    near, blue, other = cloud["victim1"], cloud["blue1"], cloud["blue2"]
    stranger = tunnel.stranger
    allowed = honest(claimed, near, family)

    def control(mark: bytes) -> bytes:
        inner = allowed(mark)
        assert isinstance(inner, bytes)
        return tunnel.wrap(inner)

    def send(built: list[bytes]) -> None:
        send_frames(stranger.namespace, stranger.nic, built[:-1])
        other.send(built[-1:])

    found = arrivals_at(
        {near: ("control",), blue: ("allowed",)},
        send,
        {**forged, "control": control, "allowed": honest(other, blue, family)},
    )
    assert "control" in found["victim1"] and "allowed" in found["blue1"]
    extra = {name: names - {"control", "allowed"} for name, names in found.items()}
    return {name: names for name, names in extra.items() if names}
