# SPDX-License-Identifier: Apache-2.0
"""Segments in the data plane: where their tunnel packets enter, and where their broadcasts go.

What comes in a tunnel and was routed shows the router's MAC address as its source. In a routing
domain with several routers that is the one which the packet came with, if that router routes in the
segment, else that of the first one there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.addresses import MULTICAST_BIT, Mac, parse_mac
from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.host.facts import THIS
from isthmus.policy.rows import Router
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Classify, Flood, Forward, SourceMac
from isthmus.switches.ovs.domains import routing_in
from isthmus.switches.ovs.facts import (
    DomainFacts,
    LocalMember,
    RemoteMember,
    SegmentFacts,
    ThisBridge,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import SOME_RECEIVER, Out, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def _segment_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LocalMember | RemoteMember)
    return (row.segment,)


def _domain_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, LocalMember)
    return (row.domain,)


LOCAL_MEMBERS = Index(LocalMember, "segment", _segment_of)
LOCAL_BY_DOMAIN = Index(LocalMember, "domain", _domain_of)
REMOTE_MEMBERS = Index(RemoteMember, "segment", _segment_of)


def segment_flows(facts: SegmentFacts, read: Read) -> Iterator[Item]:
    """Over SegmentFacts: where tunnel packets of the segment enter, and its broadcasts leave."""
    this, domain = read.get(ThisBridge, THIS), read.get(DomainFacts, facts.domain_key)
    if this is None or domain is None:
        return
    flows = Flows("segment_flows", facts.segment)
    routers: list[Router] = []
    if domain.has_several:
        routers = [router for _, router in routing_in(facts.segment, read)[0]]
    for encapsulation, ofport in this.tunnel_ports:
        # RFC 7348 section 5: the VNI is 24 bits. RFC 7637 section 3.2: the key is VSID << 8 |
        # FlowID.
        tunnel = (
            oxm.tunnel_id(facts.vsid << 8, 0xFFFFFF00)
            if encapsulation == "nvgre"
            else oxm.tunnel_id(facts.vsid)
        )
        entry = oxm.match(oxm.in_port(ofport), tunnel)
        known = (
            reg.ORIGIN.load(1),
            reg.VSID.load(facts.vsid),
            reg.DOMAIN.load(facts.domain),
            reg.ZONE.load(domain.zone),
        )
        yield flows.add(Stage.CLASSIFY, Classify.ENTRY, entry, apply=known, goto=Stage.SOURCE)
        for router in routers:
            # The source MAC address is looked at before it is set to what policy says of it.
            yield flows.add(
                Stage.CLASSIFY,
                Classify.ROUTED,
                oxm.match(oxm.in_port(ofport), tunnel, oxm.eth_src(parse_mac(router.mac))),
                apply=(*known, reg.ROUTER.load(router.rdid)),
                goto=Stage.SOURCE,
            )
    yield flows.add(
        Stage.SOURCE_MAC,
        SourceMac.SAME_SEGMENT,
        oxm.match(
            reg.SOURCE_VSID.match(facts.vsid),
            reg.VSID.match(facts.vsid),
        ),
        goto=Stage.FORWARD,
    )
    if routers:
        yield flows.add(
            Stage.SOURCE_MAC,
            SourceMac.ROUTED,
            oxm.match(reg.VSID.match(facts.vsid)),
            apply=(act.set_field(oxm.eth_src(parse_mac(routers[0].mac))),),
            goto=Stage.FORWARD,
        )
    yield from _broadcast(flows, facts, read)


def _broadcast(flows: Flows, facts: SegmentFacts, read: Read) -> Iterator[Item]:
    """Broadcast and multicast: to every local member, and by head-end replication to every host
    with members.

    From a tunnel only to local members: the source's host has served the others.
    """
    members = [
        member
        for key in read.find(LOCAL_MEMBERS, facts.segment)
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
    for key in read.find(REMOTE_MEMBERS, facts.segment):
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
    vsid = reg.VSID.match(facts.vsid)
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
