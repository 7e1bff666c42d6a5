# SPDX-License-Identifier: Apache-2.0
"""Segments, routing domains and subnets in the data plane: what does not depend on single ports.

Distributed routing: the source's host routes. It rewrites the Ethernet header to the router's and
the destination's MAC addresses and sends the packet in the destination's segment, so that the
receiving host (of any kind) merely delivers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, ip_interface

from isthmus.addresses import MULTICAST_BIT, Mac, parse_mac
from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.policy.rows import Router, RouterPort, Segment
from isthmus.switches.ovs.facts import (
    THIS,
    Ground,
    LocalMember,
    RemoteMember,
    ThisHost,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import ISOLATED, RESOLVED_MAC, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def _segment_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, RouterPort | LocalMember | RemoteMember)
    return (row.segment,)


def _domain_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LocalMember)
    return (row.domain,)


LEGS_BY_SEGMENT = Index(RouterPort, "segment", _segment_of)
LOCAL_MEMBERS = Index(LocalMember, "segment", _segment_of)
LOCAL_BY_DOMAIN = Index(LocalMember, "domain", _domain_of)
REMOTE_MEMBERS = Index(RemoteMember, "segment", _segment_of)


def ground(segment: Segment, read: Read) -> Iterator[Item]:
    """Over Segment: gives its Ground: the numbers that flows carry."""
    routers = []
    for key in sorted(read.find(LEGS_BY_SEGMENT, segment.id), key=repr):
        leg = read.get(RouterPort, key)
        router = read.get(Router, leg.router) if leg else None
        if router is not None:
            routers.append(router)
    if segment.vsid <= 0:
        return
    if routers:
        # A segment has one router here; with several, the first by name routes.
        value = Ground(segment.id, segment.vsid, routers[0].rdid, parse_mac(routers[0].mac))
    else:
        value = Ground(segment.id, segment.vsid, ISOLATED | segment.vsid, None)
    yield Item(Ground, segment.id, value)


def segment_flows(ground: Ground, read: Read) -> Iterator[Item]:
    """Over Ground: where tunnel packets of the segment enter, and its broadcasts leave."""
    this = read.get(ThisHost, THIS)
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
            100,
            oxm.match(oxm.in_port(ofport), tunnel),
            apply=(
                act.load(1, oxm.REG[Register.ORIGIN]),
                act.load(ground.vsid, oxm.REG[Register.VSID]),
                act.load(ground.domain, oxm.REG[Register.DOMAIN]),
            ),
            goto=Stage.SOURCE,
        )
    yield flows.add(
        Stage.SOURCE_MAC,
        100,
        oxm.match(
            oxm.reg(Register.SOURCE_VSID, ground.vsid),
            oxm.reg(Register.VSID, ground.vsid),
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
    outputs = tuple(act.output(ofport) for ofport in sorted(m.ofport for m in members))
    peers = []
    for key in read.find(REMOTE_MEMBERS, ground.segment):
        peer = read.get(RemoteMember, key)
        if peer is not None:
            peers.append(peer.provider_address)
    replicas = tuple(
        action
        for address in sorted(peers)
        for action in (
            act.load(address, oxm.REG[Register.PEER]),
            act.resubmit_table(Stage.TUNNEL),
        )
    )
    to_all = oxm.eth_dst(Mac(MULTICAST_BIT), Mac(MULTICAST_BIT))
    for origin, actions in ((0, outputs + replicas), (1, outputs)):
        yield flows.add(
            Stage.FORWARD,
            100,
            oxm.match(
                to_all, oxm.reg(Register.ORIGIN, origin), oxm.reg(Register.VSID, ground.vsid)
            ),
            apply=actions,
        )


def router_flows(router: Router, read: Read) -> Iterator[Item]:
    """Over Router: what is addressed to the router's MAC is routed; what was routed elsewhere
    carries it.
    """
    flows = Flows("router_flows", router.id)
    mac = parse_mac(router.mac)
    yield flows.add(
        Stage.DISPATCH,
        100,
        oxm.match(oxm.eth_dst(mac), oxm.eth_type(0x0800), oxm.reg(Register.DOMAIN, router.rdid)),
        goto=Stage.ROUTE,
    )
    yield flows.add(
        Stage.SOURCE_MAC,
        50,
        oxm.match(oxm.reg(Register.DOMAIN, router.rdid)),
        apply=(act.set_field(oxm.eth_src(mac)),),
        goto=Stage.FORWARD,
    )


def leg_flows(leg: RouterPort, read: Read) -> Iterator[Item]:
    """Over RouterPort: the route to the leg's subnets, and the gateway addresses, which answer ARP
    and echo.
    """
    router = read.get(Router, leg.router)
    ground = read.get(Ground, leg.segment)
    if router is None or ground is None:
        return
    flows = Flows("leg_flows", f"{leg.router} {leg.segment}")
    mac = parse_mac(router.mac)
    domain = oxm.reg(Register.DOMAIN, router.rdid)
    for text in leg.addresses:
        interface = ip_interface(text)
        if not isinstance(interface, IPv4Interface):
            continue
        gateway, network = int(interface.ip), interface.network
        yield flows.add(
            Stage.ROUTE,
            100 + network.prefixlen,
            oxm.match(
                oxm.eth_type(0x0800),
                oxm.ipv4_dst_prefix(int(network.network_address), network.prefixlen),
                domain,
            ),
            apply=(
                act.dec_ttl(),
                act.set_field(oxm.eth_src(mac)),
                act.load(ground.vsid, oxm.REG[Register.VSID]),
                act.move(oxm.IPV4_DST, 0, oxm.REG[Register.TARGET], 0, 32),
            ),
            goto=Stage.NEIGHBOUR,
        )
        yield flows.add(
            Stage.NEIGHBOUR,
            100,
            oxm.match(
                oxm.eth_type(0x0806),
                oxm.reg(Register.TARGET, gateway),
                oxm.reg(Register.VSID, ground.vsid),
            ),
            apply=(act.load(mac, oxm.XREG[RESOLVED_MAC], 0, 48),),
            goto=Stage.RESOLVED,
        )
        to_gateway = oxm.ipv4_dst(gateway)
        yield flows.add(
            Stage.ROUTE,
            200,
            oxm.match(
                oxm.eth_type(0x0800),
                oxm.ip_proto(1),
                to_gateway,
                oxm.icmp_type(8),
                oxm.icmp_code(0),
                domain,
            ),
            apply=(
                act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
                act.set_field(oxm.eth_src(mac)),
                act.move(oxm.IPV4_SRC, 0, oxm.IPV4_DST, 0, 32),
                act.set_field(oxm.ipv4_src(gateway)),
                act.set_field(oxm.icmp_type(0)),
                act.set_field(oxm.ip_ttl(64)),
                act.in_port(),
            ),
        )
        # Nothing else listens at a gateway address.
        yield flows.add(Stage.ROUTE, 190, oxm.match(oxm.eth_type(0x0800), to_gateway, domain))
