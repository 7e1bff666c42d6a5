# SPDX-License-Identifier: Apache-2.0
"""How packets leave for other hosts, how the way there is tried, and the flows that every host
has."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT, Mac
from isthmus.derive.engine import Item, Read
from isthmus.host.facts import THIS, Reach, ThisHost
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import (
    END,
    Admission,
    Advertise,
    Classify,
    Dispatch,
    Resolved,
    Source,
    Tunnel,
)
from isthmus.switches.ovs.echo import echo_flows
from isthmus.switches.ovs.facts import Meter, ThisBridge, Watching
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import (
    TUNNEL_ANSWER,
    TUNNEL_METER,
    WATCH_METER,
    Stage,
)
from isthmus.switches.ovs.routing import SOLICITATION
from isthmus.switches.ovs.tracking import tracking_flows
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm, tunnel_probes

ALL_NODES, ALL_NODES_MAC = 0xFF02 << 112 | 1, 0x333300000001
"""RFC 4291 section 2.7.1, RFC 2464 section 7."""


def tunnel(reach: Reach, read: Read) -> Iterator[Item]:
    """Over Reach: the way to one other host, in the encapsulation chosen for the pair."""
    this = read.get(ThisBridge, THIS)
    ofport = dict(this.tunnel_ports).get(reach.encapsulation) if this else None
    if ofport is None:
        return
    vsid = reg.VSID
    if reach.encapsulation == "nvgre":
        # RFC 7637 section 3.2: key = VSID << 8 | FlowID. The FlowID is one per sending MAC address,
        # because one per connection would make every connection a flow of its own in both
        # datapaths.
        key: tuple[bytes, ...] = (
            act.load(0, oxm.TUNNEL_ID),
            vsid.give_to(oxm.TUNNEL_ID, 8, 24),
            act.multipath("eth_src", 1024, 255, 0, oxm.TUNNEL_ID, 0, 8),
        )
    else:
        key = (act.load(0, oxm.TUNNEL_ID), vsid.give_to(oxm.TUNNEL_ID, 0, 24))
    yield Flows("tunnel", str(reach.provider_address)).add(
        Stage.TUNNEL,
        Tunnel.PEER,
        oxm.match(reg.PEER.match(reach.provider_address)),
        apply=(
            *key,
            act.set_field(oxm.tun_dst(reach.provider_address)),
            act.output(ofport),
        ),
    )


def tunnel_match(encapsulation: str, vsid: int) -> bytes:
    """What a packet of a VSID has in its tunnel's key. RFC 7637 section 3.2: NVGRE's holds a FlowID
    as well."""
    if encapsulation == "nvgre":
        return oxm.tunnel_id(vsid << 8, 0xFFFFFF00)
    return oxm.tunnel_id(vsid)


def sent_through(encapsulation: str, ofport: int, peer: int) -> tuple[bytes, ...]:
    """What sends a question (`wire.tunnel_probes`) to a peer."""
    key = tunnel_probes.VSID << 8 if encapsulation == "nvgre" else tunnel_probes.VSID
    return (
        act.load(key, oxm.TUNNEL_ID),
        act.set_field(oxm.tun_dst(peer)),
        act.output(ofport),
    )


ANSWERS_PPS = 1000
"""Of answers to questions through tunnels: a host with a thousand peers asks each twice a minute,
and may ask again at once."""


def probe_flows(this: ThisHost, read: Read) -> Iterator[Item]:
    """Over ThisHost: the switch answers questions through tunnels, and shows us the answers."""
    flows, bridge = Flows("probe_flows", ""), read.get(ThisBridge, THIS)
    for encapsulation, ofport in bridge.tunnel_ports if bridge is not None else ():
        if encapsulation not in this.encapsulations:
            continue
        yield Item(Meter, TUNNEL_METER, Meter(TUNNEL_METER, ANSWERS_PPS, ANSWERS_PPS))
        through = (
            *(oxm.in_port(ofport), tunnel_match(encapsulation, tunnel_probes.VSID)),
            oxm.eth_type(tunnel_probes.ETHERTYPE),
        )
        yield flows.add(
            Stage.CLASSIFY,
            Classify.TUNNEL_QUESTION,
            oxm.match(*through, oxm.eth_dst(tunnel_probes.ASK)),
            apply=(
                act.set_field(oxm.eth_dst(tunnel_probes.ANSWER)),
                act.move(oxm.TUN_SRC, 0, oxm.ETH_SRC, 0, 32),
                act.move(oxm.TUN_SRC, 0, oxm.TUN_DST, 0, 32),
                act.in_port(),
            ),
        )
        yield flows.add(
            Stage.CLASSIFY,
            Classify.TUNNEL_QUESTION,
            oxm.match(*through, oxm.eth_dst(tunnel_probes.ANSWER)),
            meter=TUNNEL_METER,
            apply=(act.controller(TUNNEL_ANSWER, max_len=128),),
        )


def fixed_flows(this: ThisHost, read: Read) -> Iterator[Item]:
    """Over ThisHost: what does not depend on policy."""
    flows = Flows("fixed_flows", "")
    watching = read.get(Watching, THIS)
    if watching is not None:
        rate = watching.rate_pps
        yield Item(Meter, WATCH_METER, Meter(WATCH_METER, rate, rate))
    for stage in Stage:
        yield flows.drop(stage, END, oxm.match(), read)
    yield flows.add(
        Stage.DISPATCH,
        Dispatch.ROUTED,
        oxm.match(oxm.eth_type(0x0806), oxm.arp_op(1)),
        apply=(reg.TARGET.take(oxm.ARP_TPA),),
        goto=Stage.NEIGHBOUR,
    )
    yield flows.add(
        Stage.DISPATCH,
        Dispatch.SOLICITATION,
        oxm.match(*SOLICITATION),
        apply=(reg.TARGET6.take(oxm.ND_TARGET),),
        goto=Stage.NEIGHBOUR,
    )
    # Neighbour discovery is answered here and goes nowhere else (RFC 4861, RFC 4890 section 4.4).
    # What a port may say beyond its host has flows above those of SOURCE.
    for kind in range(133, 138):
        match = oxm.match(oxm.eth_type(0x86DD), oxm.ip_proto(58), oxm.icmpv6_type(kind))
        yield flows.drop(Stage.DISPATCH, Dispatch.NEIGHBOUR_DISCOVERY, match, read)
        yield flows.drop(Stage.SOURCE, Source.NEIGHBOUR_DISCOVERY, match, read)
    yield from _malformed(flows, read)
    for ethernet in (0x0800, 0x86DD):
        yield flows.add(
            Stage.DISPATCH, Dispatch.BRIDGED, oxm.match(oxm.eth_type(ethernet)), goto=Stage.FORWARD
        )
    yield from _answers(flows)
    yield from tracking_flows(flows, read)
    yield from echo_flows(flows)


def _malformed(flows: Flows, read: Read) -> Iterator[Item]:
    """What no check after it could judge."""
    # A guest's port is no trunk, and nor is a tunnel. RFC 7348 section 6.1: "Decapsulated VXLAN
    # frames with the inner VLAN tag SHOULD be discarded"; RFC 7637 section 3.3 of NVGRE: MUST.
    tagged = oxm.match(oxm.vlan_vid(oxm.VLAN_PRESENT, oxm.VLAN_PRESENT))
    yield flows.drop(Stage.CLASSIFY, Classify.MALFORMED, tagged, read)
    # IEEE 802.3 section 3.2.3: nothing comes from a group, not even where any MAC address may.
    group = Mac(MULTICAST_BIT)
    yield flows.drop(Stage.CLASSIFY, Classify.MALFORMED, oxm.match(oxm.eth_src(group, group)), read)
    # RFC 7112 section 5: the first fragment holds all headers. Where it does not, Open vSwitch
    # gives protocol 0, or ICMPv6 of type 0, and neighbour discovery would pass as something else.
    for stage, priority in (
        (Stage.ADMISSION, Admission.MALFORMED),
        (Stage.SOURCE, Source.MALFORMED),
    ):
        for what in ((oxm.ip_proto(0),), (oxm.ip_proto(58), oxm.icmpv6_type(0))):
            yield flows.drop(stage, priority, oxm.match(oxm.eth_type(0x86DD), *what), read)


def _answers(flows: Flows) -> Iterator[Item]:
    """ARP answers and neighbour advertisements, and where a routed packet goes on."""
    mac = reg.RESOLVED_MAC
    # RFC 826: the answer goes back where the question came from, with both pairs of addresses
    # exchanged.
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ANSWER,
        oxm.match(oxm.eth_type(0x0806)),
        apply=(
            act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
            mac.give(oxm.ETH_SRC),
            act.set_field(oxm.arp_op(2)),
            act.move(oxm.ARP_SHA, 0, oxm.ARP_THA, 0, 48),
            mac.give(oxm.ARP_SHA),
            act.move(oxm.ARP_SPA, 0, oxm.ARP_TPA, 0, 32),
            reg.TARGET.give(oxm.ARP_SPA),
            act.in_port(),
        ),
    )
    # RFC 4861 section 7.2.4: to a solicitation without a source (RFC 4862 section 5.4.3, somebody
    # looks whether the address is free) the answer goes to all nodes, and is not solicited.
    advertised = (
        mac.give(oxm.ETH_SRC),
        act.move(oxm.ND_TARGET, 0, oxm.IPV6_SRC, 0, 128),
        act.set_field(oxm.icmpv6_type(136)),
        act.set_field(oxm.nd_options_type(2)),
    )
    solicited, override = 0x40000000, 0x20000000
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ADDRESS_PROBE,
        oxm.match(*SOLICITATION, oxm.ipv6_src(0)),
        apply=(
            act.set_field(oxm.eth_dst(ALL_NODES_MAC)),
            act.set_field(oxm.ipv6_dst(ALL_NODES)),
            *advertised,
            act.set_field(oxm.nd_reserved(override)),
        ),
        goto=Stage.ADVERTISE,
    )
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ANSWER,
        oxm.match(*SOLICITATION),
        apply=(
            act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
            act.move(oxm.IPV6_SRC, 0, oxm.IPV6_DST, 0, 128),
            *advertised,
            act.set_field(oxm.nd_reserved(solicited | override)),
        ),
        goto=Stage.ADVERTISE,
    )
    # The option can be set only where the type has been matched: Open vSwitch checks this so.
    yield flows.add(
        Stage.ADVERTISE,
        Advertise.ANSWER,
        oxm.match(
            *(oxm.eth_type(0x86DD), oxm.ip_proto(58)), *(oxm.icmpv6_type(136), oxm.icmpv6_code(0))
        ),
        apply=(mac.give(oxm.ND_TLL), act.in_port()),
    )
    for priority, ethernet in ((Resolved.ANSWER, 0x0800), (Resolved.FORWARDED, 0x86DD)):
        yield flows.add(
            Stage.RESOLVED,
            priority,
            oxm.match(oxm.eth_type(ethernet)),
            apply=(mac.give(oxm.ETH_DST), *reg.NOT_LOOKED_FOR),
            goto=Stage.FORWARD,
        )
