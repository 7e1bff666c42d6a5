# SPDX-License-Identifier: Apache-2.0
"""How packets leave for other hosts, and how the way there is tried."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Reach, ThisHost
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Classify, Tunnel
from isthmus.switches.ovs.facts import Meter, ThisBridge
from isthmus.switches.ovs.feature import Feature, given_to
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import TUNNEL_ANSWER, TUNNEL_METER, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm, tunnel_probes


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


TUNNELS = "tunnels"

FEATURE = Feature(
    TUNNELS,
    units=(unit(ThisHost, probe_flows), unit(Reach, tunnel)),
    packets={TUNNEL_ANSWER: given_to(TUNNELS)},
)
