# SPDX-License-Identifier: Apache-2.0
"""Routers in the data plane: what does not depend on single ports.

Distributed routing: the source's host routes. It rewrites the Ethernet header to the router's and
the destination's MAC addresses and sends the packet in the destination's segment, so that the
receiving host (of any kind) merely delivers.

Several routers may have legs in one segment. Guests say which is to route by its MAC address, and
it routes by its own legs alone. Where a routing domain has one router, ROUTER stays zero and flows
match DOMAIN instead.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from ipaddress import IPv4Interface, IPv6Address, ip_interface

from isthmus.addresses import ipv4_number, parse_mac
from isthmus.derive.engine import Item, Read
from isthmus.host.facts import Problem
from isthmus.policy.joined import joined
from isthmus.policy.rows import Router, RouterPort
from isthmus.policy.topology import is_peer
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Dispatch, Fragment, Neighbour, Route, SourceMac
from isthmus.switches.ovs.domains import called, no_zone_left, of_peers, peer_zone, routing_in
from isthmus.switches.ovs.facts import (
    Assigned,
    DomainFacts,
    LocalMember,
    NoPeerZone,
    NotRouting,
    PeerZone,
    RouterDomain,
    SegmentFacts,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Out, Stage
from isthmus.switches.ovs.segments import LOCAL_MEMBERS
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

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


def router_flows(router: Router, read: Read) -> Iterator[Item]:
    """Over Router: what is addressed to the router's MAC is routed; what was routed elsewhere
    carries it.
    """
    its = read.get(RouterDomain, router.id)
    if its is None:
        return
    flows = Flows("router_flows", router.id)
    mac = parse_mac(router.mac)
    if len(its.routers) > 1:
        yield flows.add(
            Stage.SOURCE_MAC,
            SourceMac.ROUTED_BY,
            oxm.match(reg.ROUTER.match(router.rdid)),
            apply=(act.set_field(oxm.eth_src(mac)),),
            goto=Stage.FORWARD,
        )
        return
    domain = reg.DOMAIN.match(its.domain)
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
    router, its = read.get(Router, leg.router), read.get(RouterDomain, leg.router)
    facts = read.get(SegmentFacts, leg.segment)
    if router is None or its is None or facts is None:
        return
    flows = Flows("leg_flows", joined(leg.router, leg.segment))
    mac = parse_mac(router.mac)
    asked_of = reg.DOMAIN.match(its.domain)
    if len(its.routers) > 1:
        asked_of = reg.ROUTER.match(router.rdid)
        if not is_peer(leg):
            if not (yield from _routes(router, leg, read)):
                return
            yield from _entrance(flows, router, facts)
    routed: tuple[bytes, ...] = (
        act.dec_ttl(),
        act.set_field(oxm.eth_src(mac)),
        reg.VSID.load(facts.vsid),
    )
    if is_peer(leg) and its.domain != facts.domain:
        zone = yield from peer_zone(its.domain, facts.domain, read)
        if zone is None:
            if read.get(Assigned, of_peers(its.domain, facts.domain)) is not None:
                other = read.get(DomainFacts, facts.domain_key)
                names = other.routers if other is not None else ()
                pair = f"{called(its.routers, '')} and {called(names, facts.segment)}"
                no_zone = NoPeerZone(its.domain, facts.domain, no_zone_left(pair))
                yield Item(NoPeerZone, (its.domain, facts.domain), no_zone)
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
            oxm.match(kind, inside, asked_of),
            apply=(*routed, look_up),
            goto=Stage.NEIGHBOUR,
        )
        if is_peer(leg):
            continue
        yield flows.add(
            Stage.NEIGHBOUR,
            Neighbour.OWN,
            oxm.match(*asked, reg.VSID.match(facts.vsid)),
            apply=(reg.RESOLVED_MAC.load(mac),),
            goto=Stage.RESOLVED,
        )
        # Only the first fragment shows what a message asks. The others go back to who has sent
        # them, and are nothing without it.
        for what in (echo, LATER_FRAGMENTS[ethernet]):
            yield flows.add(
                Stage.ROUTE,
                Route.GATEWAY_ECHO,
                oxm.match(kind, *what, to_gateway, asked_of),
                apply=(reg.OUT.load(Out.GATEWAY),),
                goto=Stage.PLAIN_SOURCE_GROUPS,
            )
        # Nothing else listens at a gateway address.
        yield flows.add(Stage.ROUTE, Route.GATEWAY, oxm.match(kind, to_gateway, asked_of))


def _routes(router: Router, leg: RouterPort, read: Read) -> Generator[Item, None, bool]:
    """Whether it routes in the segment; told to the ports there if it does not."""
    found, clashes = routing_in(leg.segment, read)
    for clash in clashes:
        if clash.router == router.id:
            detail = (
                f"the router {router.id} does not route in {leg.segment}: {clash.other}, which"
                f" routes there, has {clash.what} too: give {router.id} another"
            )
            yield Item(NotRouting, (leg.segment, router.id), NotRouting(leg.segment, detail))
    return any(one.router == router.id for one, _ in found)


def _entrance(flows: Flows, router: Router, facts: SegmentFacts) -> Iterator[Item]:
    """Where several route, guests say by MAC address who is to, among those in their segment."""
    here = oxm.eth_dst(parse_mac(router.mac)), reg.VSID.match(facts.vsid)
    for ethernet in (0x0800, 0x86DD):
        yield flows.add(
            Stage.DISPATCH,
            Dispatch.ROUTED,
            oxm.match(oxm.eth_type(ethernet), *here),
            apply=(reg.ROUTER.load(router.rdid),),
            goto=Stage.ROUTE,
        )
    yield flows.add(
        Stage.FRAGMENT,
        Fragment.TO_RECEIVER,
        oxm.match(reg.OUT.match(Out.GATEWAY), *here),
        goto=Stage.JUDGE,
    )


def not_routing(found: NotRouting, read: Read) -> Iterator[Item]:
    """Over NotRouting: the local ports of the segment, whose guests may rely on that router."""
    for key in read.find(LOCAL_MEMBERS, found.segment):
        local = read.get(LocalMember, key)
        if local is not None:
            problem = Problem(local.port, "PolicyConfigurationFailure", found.detail)
            yield Item(Problem, problem, problem)
