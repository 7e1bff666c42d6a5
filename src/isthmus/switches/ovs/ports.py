# SPDX-License-Identifier: Apache-2.0
"""Ports in the data plane: the ones on this host, and their peers on others.

A local port with one IPv4 address costs 15 flows, a peer 3: two keys (its MAC for forwarding, its
address for ARP and routing) and one source check; with rules a local port costs 7 more, and for a
time 4 beside these (`begun`). Each further address costs 4 on its own host and 2 elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, ip_address

from isthmus.addresses import MULTICAST_BIT, Mac, ipv4_number, parse_mac
from isthmus.derive.engine import Item, Read
from isthmus.host.facts import THIS, Location, Plugged, Problem, Reach, ThisHost
from isthmus.host.indexes import LEGS_BY_SEGMENT, SUBNETS_BY_SEGMENT
from isthmus.policy import closed
from isthmus.policy.addresses import of_family
from isthmus.policy.dhcp import server_address, subnet_of
from isthmus.policy.placement import may_have
from isthmus.policy.rows import Port, Subnet
from isthmus.policy.topology import peer_legs
from isthmus.policy.values import PortGuard
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Admission, Classify, Forward, Neighbour, Receiver, Source
from isthmus.switches.ovs.begun import port_begins, stands_by
from isthmus.switches.ovs.domains import legs_of, peer_zone, routing_in
from isthmus.switches.ovs.facts import (
    DomainFacts,
    LocalMember,
    Meter,
    NoPeerZone,
    NoZone,
    Refused,
    RemoteMember,
    RouterDomain,
    SegmentFacts,
    ThisBridge,
    TrackedAddress,
    Whole,
)
from isthmus.switches.ovs.filters import filter_number
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.fragments import port_fragments, to_port
from isthmus.switches.ovs.opening import port_openings
from isthmus.switches.ovs.pipeline import (
    FIRST_FRAME,
    PAIR_METERS,
    STORM_METERS,
    Stage,
)
from isthmus.switches.ovs.routing import looked_for
from isthmus.switches.ovs.rules import ETHERNET, PACKET
from isthmus.switches.ovs.segments import LOCAL_BY_DOMAIN
from isthmus.switches.ovs.spoofing import (
    LINK_LOCAL,
    ROUTER_ADVERTISEMENT,
    Pair,
    admission,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

SPOKEN_PPS = 10
SPOKEN_BURST = 20
"""Of what comes up to the agent, of DHCP and of address pairs: more than any guest needs; keeps one
from starving the others' answers."""


def local_flows(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: what a port on this host may send, and where it enters the pipeline."""
    port, this = read.get(Port, local.port), read.get(ThisHost, THIS)
    bridge = read.get(ThisBridge, THIS)
    if port is None or this is None or bridge is None:
        return
    if not may_have(port, this.host):
        return  # told by `host.location`
    facts = read.get(SegmentFacts, port.segment)
    domain = None if facts is None else read.get(DomainFacts, facts.domain_key)
    if facts is None or domain is None:
        no_zone = read.get(NoZone, port.segment)
        detail = f"segment {port.segment} is not known here"
        if no_zone is not None:
            detail = f"{no_zone.detail}; until then nothing passes"
        yield _problem(port, "PolicyConfigurationFailure", detail)
        return
    flows = Flows("local_flows", port.id)
    refused = read.get(Refused, Whole("port", port.id))
    if refused is not None:
        yield _problem(port, "PortBlocked", f"{refused.detail}; until then nothing passes")
        yield flows.drop(
            Stage.RECEIVER, Receiver.CLOSED, oxm.match(reg.OUT.match(local.ofport)), read
        )
        return
    numbers = tuple(
        (family, address, filter_number(port, address, family, read))
        for family in (4, 6)
        for address in of_family(port, family) or ("",)
    )
    filtered = any(number != 0 for _, _, number in numbers)
    yield Item(
        LocalMember,
        (port.segment, port.id),
        LocalMember(port.segment, port.id, local.ofport, facts.domain, filtered),
    )
    for meter in (local.ofport, local.ofport + PAIR_METERS) if port.pairs else (local.ofport,):
        yield Item(Meter, meter, Meter(meter, SPOKEN_PPS, SPOKEN_BURST))
    yield from port_openings(flows, local.ofport, bridge.limits, filtered=filtered)
    yield from port_fragments(flows, local.ofport, bridge.limits, filtered=filtered)
    yield from _classify(flows, port, local, facts, domain.zone, read)
    yield from admission(flows, port, local.ofport, numbers, _dhcp_server(port, read))
    # What port security drops, counted by port.
    yield flows.drop(Stage.ADMISSION, Admission.BLOCKED, oxm.match(oxm.in_port(local.ofport)), read)
    if filtered:
        yield from _receive(flows, port, local.ofport, numbers)
        for address in port.addresses:
            tracked = TrackedAddress(domain.zone, address, port.id)
            yield Item(TrackedAddress, tracked, tracked)
        yield from port_begins(flows, port, local, domain.zone, numbers, read)


def _dhcp_server(port: Port, read: Read) -> IPv4Address | None:
    keys = sorted(read.find(SUBNETS_BY_SEGMENT, port.segment), key=repr)
    subnets = (read.get(Subnet, key) for key in keys)
    served = subnet_of(port, (subnet for subnet in subnets if subnet is not None))
    return None if served is None else server_address(served)


def _problem(port: Port, code: str, detail: str) -> Item:
    """Of which nothing passes."""
    return Item(Problem, (port.id, code, detail), Problem(port.id, code, detail, closed.PORT))


def _classify(
    flows: Flows, port: Port, local: Plugged, facts: SegmentFacts, zone: int, read: Read
) -> Iterator[Item]:
    actions: tuple[bytes, ...] = (
        reg.VSID.load(facts.vsid),
        reg.DOMAIN.load(facts.domain),
        reg.ZONE.load(zone),
    )
    if stands_by(port, read):
        # Another host has the port: the guest's first frame here shows that it has arrived.
        actions = (act.controller(FIRST_FRAME, max_len=64), *actions)
    yield flows.add(
        Stage.CLASSIFY,
        Classify.ENTRY,
        oxm.match(oxm.in_port(local.ofport)),
        apply=actions,
        goto=Stage.ADMISSION,
    )
    if port.storm_pps:
        meter = local.ofport + STORM_METERS
        yield Item(Meter, meter, Meter(meter, port.storm_pps, port.storm_pps))
        group = Mac(MULTICAST_BIT)
        yield flows.add(
            Stage.CLASSIFY,
            Classify.BROADCAST,
            oxm.match(oxm.in_port(local.ofport), oxm.eth_dst(group, group)),
            meter=meter,
            apply=actions,
            goto=Stage.ADMISSION,
        )


def _receive(
    flows: Flows, port: Port, ofport: int, numbers: Sequence[tuple[int, str, int | None]]
) -> Iterator[Item]:
    """Which rules hold for what comes to the port: for an address of its own those of that address;
    for its address pairs, and for what has gone astray, those of the address that leads. What has
    no number yet gets nothing.
    """
    leading: dict[int, int | None] = {}
    entries: list[tuple[int, int, bytes, int | None]] = []
    for family, address, number in numbers:
        if family not in leading:
            leading[family] = number
            entries.append((Receiver.LEADING, family, b"", number and number | reg.IS_MISDIRECTED))
        if address:
            destination = oxm.exact(PACKET.destination[family], int(ip_address(address)))
            entries.append((Receiver.OWN, family, destination, number))
    for pair in map(Pair._make, port.pairs):
        family = pair.network.version
        destination = pair.prefix(PACKET.destination[family])
        entries.append((Receiver.PAIR, family, destination, leading[family]))
    for priority, family, destination, number in entries:
        yield flows.add(
            Stage.RECEIVER,
            priority,
            oxm.match(reg.OUT.match(ofport), oxm.eth_type(ETHERNET[family]), destination),
            apply=None if number is None else (reg.RECEIVER.load(number),),
            goto=None if number is None else Stage.PLAIN_SOURCE_GROUPS,
        )


def place(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: how its MAC and its addresses are found, wherever it is."""
    location = read.get(Location, port.id)
    if location is None:
        return
    facts, this = read.get(SegmentFacts, port.segment), read.get(ThisHost, THIS)
    if facts is None or this is None:
        return
    flows = Flows("place", port.id)
    mac, vsid = parse_mac(port.mac), reg.VSID.match(facts.vsid)
    for text in port.addresses:
        yield flows.add(
            Stage.NEIGHBOUR,
            Neighbour.OWN,
            oxm.match(*looked_for(text), vsid),
            apply=(reg.RESOLVED_MAC.load(mac),),
            goto=Stage.RESOLVED,
        )
    local = read.get(Plugged, port.id)
    if local is not None and location.host == this.host:
        yield from _deliver(flows, location, mac, vsid, local.ofport)
    else:
        yield from _send(flows, port, location, mac, vsid)
    routers: tuple[Mac, ...] = ()
    if port.pairs:
        its = routing_in(port.segment, read)[0]
        routers = tuple(parse_mac(router.mac) for _, router in its)
    foreign = location.others
    if location.host != this.host:
        foreign = (location.provider_address, *foreign)
    for provider_address in sorted(set(foreign) - {this.provider_address}):
        yield Item(
            RemoteMember,
            (port.segment, provider_address),
            RemoteMember(port.segment, provider_address, facts.domain),
        )
        for text in port.addresses:
            known = (reg.SOURCE_VSID.load(facts.vsid),)
            yield _source(flows, facts.domain, mac, text, provider_address, known)
        yield from _peer_sources(flows, facts, port, provider_address, read)
        yield from _further_sources(flows, facts, port, provider_address, routers)


def _deliver(
    flows: Flows, location: Location, mac: Mac, vsid: bytes, ofport: int
) -> Iterator[Item]:
    yield flows.add(
        Stage.FORWARD,
        Forward.OWN,
        oxm.match(oxm.eth_dst(mac), vsid),
        apply=(reg.OUT.load(ofport),),
        goto=Stage.RECEIVER,
    )
    yield to_port(flows, ofport, mac)
    for loser in location.others:
        # The host that the port has left forwards what still arrives there, whoever sent it: its
        # own source check has passed it, and only for frames to this port is it believed.
        yield flows.add(
            Stage.SOURCE,
            Source.FORWARDED,
            oxm.match(oxm.eth_dst(mac), vsid, oxm.tun_src(loser)),
            goto=Stage.FORWARD,
        )


def _send(flows: Flows, port: Port, location: Location, mac: Mac, vsid: bytes) -> Iterator[Item]:
    to_peer = reg.PEER.load(location.provider_address)
    yield flows.add(
        Stage.FORWARD,
        Forward.OWN,
        oxm.match(oxm.eth_dst(mac), reg.ORIGIN.match(0), vsid),
        apply=(to_peer,),
        goto=Stage.PLAIN_SOURCE_GROUPS,
    )
    if location.superseded:
        # It was here a moment ago: what peers still send here follows it. Clearing the input port
        # lets the packet leave by the tunnel interface that it came from.
        yield flows.add(
            Stage.FORWARD,
            Forward.OWN,
            oxm.match(oxm.eth_dst(mac), reg.ORIGIN.match(1), vsid),
            apply=(act.load(0, oxm.IN_PORT_NXM), to_peer),
            goto=Stage.TUNNEL,
        )


def _peer_sources(
    flows: Flows, facts: SegmentFacts, port: Port, provider_address: int, read: Read
) -> Iterator[Item]:
    """Into the routing domains of peered networks too, whose connections have a zone of their
    own."""
    peers = peer_legs(legs_of(LEGS_BY_SEGMENT, port.segment, read))
    found = (read.get(RouterDomain, leg.router) for leg in peers)
    domains = {its.domain for its in found if its is not None} - {facts.domain}
    for domain in sorted(domains):
        zone = yield from peer_zone(domain, facts.domain, read)
        if zone is None:
            continue
        known = (
            reg.SOURCE_VSID.load(facts.vsid),
            reg.ZONE.load(zone),
        )
        for text in port.addresses:
            yield _source(flows, domain, parse_mac(port.mac), text, provider_address, known)


def _source(
    flows: Flows,
    domain: int,
    mac: Mac,
    address: str,
    provider_address: int,
    known: tuple[bytes, ...],
) -> Item:
    """The source check: in this routing domain, `address` may come only from a host that claims it.

    The inner source MAC is not matched but set: within the segment to the port's own, and in
    SOURCE_MAC to the router's when the packet was routed, so a forged one never reaches a guest.
    """
    if ":" in address:
        source = (oxm.eth_type(0x86DD), oxm.ipv6_src(address))
    else:
        source = (oxm.eth_type(0x0800), oxm.ipv4_src(ipv4_number(address)))
    return flows.add(
        Stage.SOURCE,
        Source.CLAIMED,
        oxm.match(
            *source,
            reg.DOMAIN.match(domain),
            oxm.tun_src(provider_address),
        ),
        apply=(act.set_field(oxm.eth_src(mac)), *known),
        goto=Stage.SOURCE_MAC,
    )


def _further_sources(
    flows: Flows,
    facts: SegmentFacts,
    port: Port,
    provider_address: int,
    routers: Iterable[Mac],
) -> Iterator[Item]:
    """What a port may send beside its own addresses, from the host that claims it: its address
    pairs, and router advertisements."""
    domain = reg.DOMAIN.match(facts.domain)
    own = reg.VSID.match(facts.vsid)
    known = (reg.SOURCE_VSID.load(facts.vsid),)
    for pair in map(Pair._make, port.pairs):
        # Pairs of several segments may overlap: one's MAC address speaks in its segment alone, and
        # of what has the router's it need not be known whose it was.
        entries = [(Source.PAIR, oxm.eth_src(pair.mac), (own, *pair.sources), known)]
        routed = (reg.SOURCE_VSID.load(0),)
        for router in routers:
            entries.append((Source.ROUTED_PAIR, oxm.eth_src(router), pair.sources, routed))
        if pair.is_address:
            entries.append(
                (Source.ANNOUNCEMENT, oxm.eth_src(pair.mac), (own, *pair.announcement), known)
            )
        for priority, sender, entry, source in entries:
            yield flows.add(
                Stage.SOURCE,
                priority,
                oxm.match(sender, *entry, domain, oxm.tun_src(provider_address)),
                apply=source,
                goto=Stage.SOURCE_MAC,
            )
    if PortGuard.ROUTER_ADVERTISEMENTS in port.guards:
        yield flows.add(
            Stage.SOURCE,
            Source.ANNOUNCEMENT,
            oxm.match(
                *(oxm.eth_src(parse_mac(port.mac)), *ROUTER_ADVERTISEMENT, oxm.ip_ttl(255)),
                oxm.ipv6_src_prefix(LINK_LOCAL, 10),
                *(domain, oxm.tun_src(provider_address)),
            ),
            apply=known,
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


def unpeered(no_zone: NoPeerZone, read: Read) -> Iterator[Item]:
    """Over NoPeerZone: the local ports that reach a peered network no more."""
    detail = f"{no_zone.detail}; until then nothing passes between these"
    word = closed.domain_word(no_zone.other)
    for key in read.find(LOCAL_BY_DOMAIN, no_zone.domain):
        local = read.get(LocalMember, key)
        if local is not None:
            problem = Problem(local.port, "PolicyConfigurationFailure", detail, word)
            yield Item(Problem, problem, problem)
