# SPDX-License-Identifier: Apache-2.0
"""Where ports are: how their MAC addresses and their addresses are found, on this host and on
others, and from which hosts they may speak (`sources`). `ports` says what a port costs.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Item, Read
from isthmus.host.facts import THIS, Location, Plugged, ThisHost
from isthmus.policy.rows import Port
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Forward, Neighbour, Source
from isthmus.switches.ovs.domains import routing_in
from isthmus.switches.ovs.facts import RemoteMember, SegmentFacts
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.fragments import to_port
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.routing import looked_for
from isthmus.switches.ovs.sources import further_sources, peer_sources, source
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


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
            yield source(flows, facts.domain, mac, text, provider_address, known)
        yield from peer_sources(flows, facts, port, provider_address, read)
        yield from further_sources(flows, facts, port, provider_address, routers)


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
