# SPDX-License-Identifier: Apache-2.0
"""Segments, routing domains and subnets in the data plane: what does not depend on single ports.

Distributed routing: the source's host routes. It rewrites the Ethernet header to the router's and
the destination's MAC addresses and sends the packet in the destination's segment, so that the
receiving host (of any kind) merely delivers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from ipaddress import IPv4Interface, IPv6Address, ip_interface

from isthmus.addresses import MULTICAST_BIT, Mac, ipv4_number, parse_mac
from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.host.facts import THIS
from isthmus.host.indexes import LEGS_BY_SEGMENT
from isthmus.policy.joined import joined
from isthmus.policy.rows import Router, RouterPort, Segment
from isthmus.policy.topology import is_peer, router_of
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import (
    Classify,
    Dispatch,
    Flood,
    Forward,
    Fragment,
    Neighbour,
    Route,
    SourceMac,
)
from isthmus.switches.ovs.facts import (
    Assigned,
    Ground,
    LocalMember,
    NoPeerZone,
    NoZone,
    PeerZone,
    RemoteMember,
    ThisBridge,
    Wanted,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import (
    ISOLATED,
    SOME_RECEIVER,
    Out,
    Stage,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def _segment_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LocalMember | RemoteMember)
    return (row.segment,)


def _domain_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LocalMember)
    return (row.domain,)


ZONES = "zone"
"""Numbers of conntrack zones: one for each routing domain, in which addresses are unique and whose
connections may cross segments; and one for each pair of peered ones."""

NO_CONNECTIONS = 0xFFFF
"""The zone in which no connection is ever kept (`unfitting`)."""

HIGHEST_ZONE = NO_CONNECTIONS - 1
"""The field has 16 bits (Linux: ``struct nf_conntrack_zone.id``); zone 0 is everybody's."""

LOCAL_MEMBERS = Index(LocalMember, "segment", _segment_of)
LOCAL_BY_DOMAIN = Index(LocalMember, "domain", _domain_of)
REMOTE_MEMBERS = Index(RemoteMember, "segment", _segment_of)


SOLICITATION = (
    *(oxm.eth_type(0x86DD), oxm.ip_ttl(255), oxm.ip_proto(58)),
    *(oxm.icmpv6_type(135), oxm.icmpv6_code(0)),
)
"""A neighbour solicitation that came from the link (RFC 4861 section 7.1.1)."""


LATER_FRAGMENTS = {
    0x0800: (oxm.ip_proto(1), oxm.ip_frag(oxm.FRAGMENT_LATER, oxm.FRAGMENT_LATER)),
    0x86DD: (oxm.ip_proto(44), oxm.ip_frag(oxm.FRAGMENT_LATER, oxm.FRAGMENT_LATER)),
}
"""Of an echo request, as far as can be seen: of IPv6, Open vSwitch shows the fragment header (44)
in the place of the protocol."""


def target6(address: int) -> tuple[bytes, ...]:
    """Matches an IPv6 address that is looked for: as four registers, which a switch reads back."""
    return reg.TARGET6.entries(address)


def looked_for(address: str) -> tuple[bytes, ...]:
    """Matches an address that is looked for at NEIGHBOUR."""
    if ":" in address:
        return target6(int(IPv6Address(address)))
    return (reg.TARGET.match(ipv4_number(address)),)


def ground(segment: Segment, read: Read) -> Iterator[Item]:
    """Over Segment: gives its Ground: the numbers that flows carry.

    A host reads a segment with its legs, and then their routers. Until these have come there is no
    ground: on its own, all that is in the segment would be programmed twice, and connections kept
    in a zone that is gone a moment later.
    """
    name = router_of(legs_of(LEGS_BY_SEGMENT, segment.id, read))
    router = None if name is None else read.get(Router, name)
    if (name is not None and router is None) or segment.vsid <= 0:
        return
    domain = router.rdid if router else ISOLATED | segment.vsid
    need = Wanted(ZONES, (domain,))
    yield Item(Wanted, need, need)
    zone = read.get(Assigned, need)
    if zone is not None and zone.number is None:
        no_zone = NoZone(segment.id, _no_zone(router.id if router else segment.id))
        yield Item(NoZone, segment.id, no_zone)
    if zone is None or zone.number is None:
        return
    mac = parse_mac(router.mac) if router else None
    value = Ground(segment.id, segment.vsid, domain, zone.number, mac, name)
    yield Item(Ground, segment.id, value)


def legs_of(index: Index, entry: str, read: Read) -> list[RouterPort]:
    """The legs of a segment or of a router."""
    found = (read.get(RouterPort, key) for key in read.find(index, entry))
    return [leg for leg in found if leg is not None]


def _no_zone(wanting: str) -> str:
    return (
        f"no connection tracking zone is left for {wanting}: this host holds {HIGHEST_ZONE}, one"
        " for each network that its ports are in or can reach, and one for each two of these that"
        " are peered: move the ports of some networks to other hosts"
    )


def segment_flows(ground: Ground, read: Read) -> Iterator[Item]:
    """Over Ground: where tunnel packets of the segment enter, and its broadcasts leave."""
    this = read.get(ThisBridge, THIS)
    if this is None:
        return
    flows = Flows("segment_flows", ground.segment)
    for encapsulation, ofport in this.tunnel_ports:
        # RFC 7348 section 5: the VNI is 24 bits. RFC 7637 section 3.2: the key is VSID << 8 |
        # FlowID.
        tunnel = (
            oxm.tunnel_id(ground.vsid << 8, 0xFFFFFF00)
            if encapsulation == "nvgre"
            else oxm.tunnel_id(ground.vsid)
        )
        yield flows.add(
            Stage.CLASSIFY,
            Classify.ENTRY,
            oxm.match(oxm.in_port(ofport), tunnel),
            apply=(
                reg.ORIGIN.load(1),
                reg.VSID.load(ground.vsid),
                reg.DOMAIN.load(ground.domain),
                reg.ZONE.load(ground.zone),
            ),
            goto=Stage.SOURCE,
        )
    yield flows.add(
        Stage.SOURCE_MAC,
        SourceMac.SAME_SEGMENT,
        oxm.match(
            reg.SOURCE_VSID.match(ground.vsid),
            reg.VSID.match(ground.vsid),
        ),
        goto=Stage.FORWARD,
    )
    yield from _broadcast(flows, ground, read)


def _broadcast(flows: Flows, ground: Ground, read: Read) -> Iterator[Item]:
    """Broadcast and multicast: to every local member, and by head-end replication to every host
    with members.

    From a tunnel only to local members: the source's host has served the others.
    """
    members = [
        member
        for key in read.find(LOCAL_MEMBERS, ground.segment)
        if (member := read.get(LocalMember, key)) is not None
    ]
    to_members = tuple(
        action
        for ofport in sorted(member.ofport for member in members)
        for action in (
            reg.OUT.load(ofport),
            reg.RECEIVER.load(0),
            act.resubmit_table(Stage.RECEIVER),
        )
    )
    peers = []
    for key in read.find(REMOTE_MEMBERS, ground.segment):
        peer = read.get(RemoteMember, key)
        if peer is not None:
            peers.append(peer.provider_address)
    replicas = tuple(
        action
        for address in sorted(peers)
        for action in (
            reg.PEER.load(address),
            act.resubmit_table(Stage.TUNNEL),
        )
    )
    receiver = SOME_RECEIVER if any(member.filtered for member in members) else 0
    vsid = reg.VSID.match(ground.vsid)
    yield flows.add(
        Stage.FORWARD,
        Forward.OWN,
        oxm.match(oxm.eth_dst(Mac(MULTICAST_BIT), Mac(MULTICAST_BIT)), vsid),
        apply=(
            reg.OUT.load(Out.FLOOD),
            reg.RECEIVER.load(receiver),
        ),
        goto=Stage.PLAIN_SOURCE_GROUPS,
    )
    for origin, actions in ((0, to_members + replicas), (1, to_members)):
        yield flows.add(
            Stage.FLOOD, Flood.SEGMENT, oxm.match(reg.ORIGIN.match(origin), vsid), apply=actions
        )


def peer_zone(one: int, other: int, read: Read) -> Generator[Item, None, int | None]:
    """The zone of connections between two routing domains, the same for both directions; None
    until it has a number."""
    need = _of_peers(one, other)
    yield Item(Wanted, need, need)
    zone = read.get(Assigned, need)
    return None if zone is None else zone.number


def _of_peers(one: int, other: int) -> Wanted:
    return Wanted(ZONES, (min(one, other), max(one, other)))


def router_flows(router: Router, read: Read) -> Iterator[Item]:
    """Over Router: what is addressed to the router's MAC is routed; what was routed elsewhere
    carries it.
    """
    flows = Flows("router_flows", router.id)
    mac = parse_mac(router.mac)
    domain = reg.DOMAIN.match(router.rdid)
    for ethernet in (0x0800, 0x86DD):
        yield flows.add(
            Stage.DISPATCH,
            Dispatch.ROUTED,
            oxm.match(oxm.eth_dst(mac), oxm.eth_type(ethernet), domain),
            goto=Stage.ROUTE,
        )
    # A fragment that comes back from connection tracking is answered if it is the router's
    # (`fragments`).
    asked = reg.OUT.match(Out.GATEWAY), oxm.eth_dst(mac)
    yield flows.add(
        Stage.FRAGMENT, Fragment.TO_RECEIVER, oxm.match(*asked, domain), goto=Stage.JUDGE
    )
    yield flows.add(
        Stage.SOURCE_MAC,
        SourceMac.ROUTED,
        oxm.match(domain),
        apply=(act.set_field(oxm.eth_src(mac)),),
        goto=Stage.FORWARD,
    )


def leg_flows(leg: RouterPort, read: Read) -> Iterator[Item]:
    """Over RouterPort: the route to the leg's subnets, and the gateway addresses, which answer ARP,
    neighbour discovery and echo.
    """
    router = read.get(Router, leg.router)
    ground = read.get(Ground, leg.segment)
    if router is None or ground is None:
        return
    flows = Flows("leg_flows", joined(leg.router, leg.segment))
    mac = parse_mac(router.mac)
    domain = reg.DOMAIN.match(router.rdid)
    routed: tuple[bytes, ...] = (
        act.dec_ttl(),
        act.set_field(oxm.eth_src(mac)),
        reg.VSID.load(ground.vsid),
    )
    if is_peer(leg):
        zone = yield from peer_zone(router.rdid, ground.domain, read)
        if zone is None:
            if read.get(Assigned, _of_peers(router.rdid, ground.domain)) is not None:
                pair = f"{router.id} and {ground.router or ground.segment}"
                no_zone = NoPeerZone(router.rdid, ground.domain, _no_zone(pair))
                yield Item(NoPeerZone, (router.rdid, ground.domain), no_zone)
            return
        yield Item(PeerZone, zone, PeerZone(zone))
        routed = (*routed, reg.ZONE.load(zone))
    asked: tuple[bytes, ...]
    for text in leg.addresses:
        interface = ip_interface(text)
        gateway, network = int(interface.ip), interface.network
        if isinstance(interface, IPv4Interface):
            ethernet = 0x0800
            inside = oxm.ipv4_dst_prefix(int(network.network_address), network.prefixlen)
            to_gateway = oxm.ipv4_dst(gateway)
            echo = (oxm.ip_proto(1), oxm.icmp_type(8), oxm.icmp_code(0))
            look_up = reg.TARGET.take(oxm.IPV4_DST)
            asked = (oxm.eth_type(0x0806), reg.TARGET.match(gateway))
        else:
            ethernet = 0x86DD
            inside = oxm.ipv6_dst_prefix(int(network.network_address), network.prefixlen)
            to_gateway = oxm.ipv6_dst(gateway)
            echo = (oxm.ip_proto(58), oxm.icmpv6_type(128), oxm.icmpv6_code(0))
            look_up = reg.TARGET6.take(oxm.IPV6_DST)
            asked = (*SOLICITATION, *target6(gateway))
        kind = oxm.eth_type(ethernet)
        yield flows.add(
            Stage.ROUTE,
            Route.SUBNET + network.prefixlen,
            oxm.match(kind, inside, domain),
            apply=(*routed, look_up),
            goto=Stage.NEIGHBOUR,
        )
        if is_peer(leg):
            continue
        yield flows.add(
            Stage.NEIGHBOUR,
            Neighbour.OWN,
            oxm.match(*asked, reg.VSID.match(ground.vsid)),
            apply=(reg.RESOLVED_MAC.load(mac),),
            goto=Stage.RESOLVED,
        )
        # Only the first fragment shows what a message asks. The others go back to who has sent
        # them, and are nothing without it.
        for what in (echo, LATER_FRAGMENTS[ethernet]):
            yield flows.add(
                Stage.ROUTE,
                Route.GATEWAY_ECHO,
                oxm.match(kind, *what, to_gateway, domain),
                apply=(reg.OUT.load(Out.GATEWAY),),
                goto=Stage.PLAIN_SOURCE_GROUPS,
            )
        # Nothing else listens at a gateway address.
        yield flows.add(Stage.ROUTE, Route.GATEWAY, oxm.match(kind, to_gateway, domain))
