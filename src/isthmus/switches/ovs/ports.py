# SPDX-License-Identifier: Apache-2.0
"""Ports in the data plane: the ones on this host, and their peers on others.

A local port costs nine flows, a peer three: two keys (its MAC for forwarding, its address for ARP
and routing) and one source check.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import Mac, ipv4_number, parse_mac
from isthmus.derive.engine import Item, Read
from isthmus.policy.rows import Port
from isthmus.switches.ovs.facts import (
    THIS,
    Ground,
    LocalMember,
    LocalPort,
    Location,
    Meter,
    Problem,
    Reach,
    RemoteMember,
    ThisHost,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.ground import LOCAL_BY_DOMAIN
from isthmus.switches.ovs.location import local_port
from isthmus.switches.ovs.pipeline import (
    DHCP_QUESTION,
    FIRST_FRAME,
    RESOLVED_MAC,
    Register,
    Stage,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

DHCP_RATE_PPS = 10
DHCP_BURST = 20
"""More than any client sends; keeps one guest from starving the others' answers."""

BROADCAST = 0xFFFFFFFF


def ipv4_addresses(port: Port) -> tuple[int, ...]:
    """The port's IPv4 addresses as numbers."""
    return tuple(ipv4_number(text) for text in port.addresses if ":" not in text)


def local_flows(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: a port on this host: what it may send, and where it enters the pipeline."""
    local, this = local_port(port, read), read.get(ThisHost, THIS)
    if local is None or this is None:
        return
    if port.hosts and this.host not in port.hosts:
        allowed = ", ".join(port.hosts)
        yield _problem(port, "PortBlocked", f"{this.host} may not have this port, only {allowed}")
        return
    ground = read.get(Ground, port.segment)
    if ground is None:
        yield _problem(
            port, "PolicyConfigurationFailure", f"segment {port.segment} is not known here"
        )
        return
    flows = Flows("local_flows", port.id)
    mac = parse_mac(port.mac)
    yield Item(
        LocalMember,
        (port.segment, port.id),
        LocalMember(port.segment, port.id, local.ofport, ground.domain),
    )
    yield Item(Meter, local.ofport, Meter(local.ofport, DHCP_RATE_PPS, DHCP_BURST))
    yield _classify(flows, port, local, ground, read)
    yield from _admit(flows, local.ofport, mac, ipv4_addresses(port))


def _problem(port: Port, code: str, detail: str) -> Item:
    return Item(Problem, (port.id, code, detail), Problem(port.id, code, detail))


def _classify(flows: Flows, port: Port, local: LocalPort, ground: Ground, read: Read) -> Item:
    location = read.get(Location, port.id)
    this = read.get(ThisHost, THIS)
    standing_by = location is not None and this is not None and location.host != this.host
    actions: tuple[bytes, ...] = (
        act.load(ground.vsid, oxm.REG[Register.VSID]),
        act.load(ground.domain, oxm.REG[Register.DOMAIN]),
    )
    if standing_by:
        # Another host has the port: the guest's first frame here shows that it has arrived.
        actions = (act.controller(FIRST_FRAME, max_len=64), *actions)
    return flows.add(
        Stage.CLASSIFY,
        100,
        oxm.match(oxm.in_port(local.ofport)),
        apply=actions,
        goto=Stage.ADMISSION,
    )


def _admit(flows: Flows, ofport: int, mac: Mac, addresses: tuple[int, ...]) -> Iterator[Item]:
    """Port security: MAC, IPv4 and ARP (RFC 826) source addresses; the guest's DHCP messages."""
    source, port = oxm.eth_src(mac), oxm.in_port(ofport)
    for address in addresses:
        # RFC 5227 section 2.1.1: a probe for the port's own address must find it free; the
        # announcement of it (section 2.3) needs no answer.
        yield flows.add(
            Stage.ADMISSION,
            300,
            oxm.match(port, oxm.eth_type(0x0806), oxm.arp_tpa(address)),
        )
        yield flows.add(
            Stage.ADMISSION,
            200,
            oxm.match(port, source, oxm.eth_type(0x0806), oxm.arp_spa(address), oxm.arp_sha(mac)),
            goto=Stage.DISPATCH,
        )
        yield flows.add(
            Stage.ADMISSION,
            200,
            oxm.match(port, source, oxm.eth_type(0x0800), oxm.ipv4_src(address)),
            goto=Stage.DISPATCH,
        )
    yield flows.add(
        Stage.ADMISSION,
        200,
        oxm.match(port, source, oxm.eth_type(0x0806), oxm.arp_spa(0), oxm.arp_sha(mac)),
        goto=Stage.DISPATCH,
    )
    # RFC 2131 section 4.1: a client without an address sends from 0.0.0.0 port 68 to the limited
    # broadcast.
    yield flows.add(
        Stage.ADMISSION,
        200,
        oxm.match(
            port,
            source,
            oxm.eth_type(0x0800),
            oxm.ip_proto(17),
            oxm.ipv4_src(0),
            oxm.ipv4_dst(BROADCAST),
            oxm.udp_src(68),
            oxm.udp_dst(67),
        ),
        goto=Stage.DISPATCH,
    )
    yield flows.add(
        Stage.DISPATCH,
        300,
        oxm.match(port, oxm.eth_type(0x0800), oxm.ip_proto(17), oxm.udp_src(68), oxm.udp_dst(67)),
        meter=ofport,
        apply=(act.controller(DHCP_QUESTION, max_len=0xFFFF),),
    )


def place(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: how its MAC and its addresses are found, wherever it is."""
    location, ground = read.get(Location, port.id), read.get(Ground, port.segment)
    this = read.get(ThisHost, THIS)
    if location is None or ground is None or this is None:
        return
    flows = Flows("place", port.id)
    mac, vsid = parse_mac(port.mac), oxm.reg(Register.VSID, ground.vsid)
    for address in ipv4_addresses(port):
        yield flows.add(
            Stage.NEIGHBOUR,
            100,
            oxm.match(oxm.reg(Register.TARGET, address), vsid),
            apply=(act.load(mac, oxm.XREG[RESOLVED_MAC], 0, 48),),
            goto=Stage.RESOLVED,
        )
    local = local_port(port, read)
    if local is not None and location.host == this.host:
        yield from _deliver(flows, location, mac, vsid, local.ofport)
    else:
        yield from _send(flows, port, location, mac, vsid)
    foreign = location.others
    if location.host != this.host:
        foreign = (location.provider_address, *foreign)
    for provider_address in sorted(set(foreign) - {this.provider_address}):
        yield Item(
            RemoteMember,
            (port.segment, provider_address),
            RemoteMember(port.segment, provider_address, ground.domain),
        )
        for address in ipv4_addresses(port):
            yield _source(flows, ground, mac, address, provider_address)


def _deliver(
    flows: Flows, location: Location, mac: Mac, vsid: bytes, ofport: int
) -> Iterator[Item]:
    yield flows.add(
        Stage.FORWARD,
        100,
        oxm.match(oxm.eth_dst(mac), vsid),
        apply=(act.load(ofport, oxm.REG[Register.OUT]),),
        goto=Stage.OUTPUT,
    )
    for loser in location.others:
        # The host that the port has left forwards what still arrives there, whoever sent it: its
        # own source check has passed it, and only for frames to this port is it believed.
        yield flows.add(
            Stage.SOURCE,
            50,
            oxm.match(oxm.eth_dst(mac), vsid, oxm.tun_src(loser)),
            goto=Stage.FORWARD,
        )


def _send(flows: Flows, port: Port, location: Location, mac: Mac, vsid: bytes) -> Iterator[Item]:
    to_peer = act.load(location.provider_address, oxm.REG[Register.PEER])
    yield flows.add(
        Stage.FORWARD,
        100,
        oxm.match(oxm.eth_dst(mac), oxm.reg(Register.ORIGIN, 0), vsid),
        apply=(to_peer,),
        goto=Stage.TUNNEL,
    )
    if location.superseded:
        # It was here a moment ago: what peers still send here follows it. Clearing the input port
        # lets the packet leave by the tunnel interface that it came from.
        yield flows.add(
            Stage.FORWARD,
            100,
            oxm.match(oxm.eth_dst(mac), oxm.reg(Register.ORIGIN, 1), vsid),
            apply=(act.load(0, oxm.IN_PORT_NXM), to_peer),
            goto=Stage.TUNNEL,
        )


def _source(flows: Flows, ground: Ground, mac: Mac, address: int, provider_address: int) -> Item:
    """The source check: in this routing domain, `address` may come only from a host that claims it.

    The inner source MAC is not matched but set: within the segment to the port's own, and in
    SOURCE_MAC to the router's when the packet was routed, so a forged one never reaches a guest.
    """
    return flows.add(
        Stage.SOURCE,
        100,
        oxm.match(
            oxm.eth_type(0x0800),
            oxm.ipv4_src(address),
            oxm.reg(Register.DOMAIN, ground.domain),
            oxm.tun_src(provider_address),
        ),
        apply=(
            act.set_field(oxm.eth_src(mac)),
            act.load(ground.vsid, oxm.REG[Register.SOURCE_VSID]),
        ),
        goto=Stage.SOURCE_MAC,
    )


def mismatch(member: RemoteMember, read: Read) -> Iterator[Item]:
    """Over RemoteMember: a host with members that our ports could reach, on their segment or by the
    router, and that we share no encapsulation with.
    """
    found = read.get(Reach, member.provider_address)
    if found is None or found.encapsulation:
        return
    for key in read.find(LOCAL_BY_DOMAIN, member.domain):
        local = read.get(LocalMember, key)
        if local is not None:
            problem = Problem(local.port, "PolicyConfigurationFailure", found.detail)
            yield Item(Problem, problem, problem)
