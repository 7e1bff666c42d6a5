# SPDX-License-Identifier: Apache-2.0
"""Address pairs in use: which of the ports that may has an address now (VRRP, floating addresses).

The guest announces it, its host says so in the south store, and from then on ARP, neighbour
discovery and routing find it, like an address of the port's own. Peers believe it only of a host
that has the port, and of a port that was given the pair.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import parse_mac
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Location, Plugged, ThisHost
from isthmus.host.indexes import LEARNED_BY_ADDRESS
from isthmus.policy.addresses import allows
from isthmus.policy.joined import joined
from isthmus.policy.rows import LearnedAddress, Port
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Forward, Neighbour
from isthmus.switches.ovs.facts import SegmentFacts
from isthmus.switches.ovs.feature import Feature, Hands
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.fragments import to_port
from isthmus.switches.ovs.pipeline import PAIR_SEEN, Stage
from isthmus.switches.ovs.routing import looked_for
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn


def learned_flows(learned: LearnedAddress, read: Read) -> Iterator[Item]:
    """Over LearnedAddress: how an address pair in use is found, where it is."""
    if not _believed(learned, read) or not _wins(learned, read):
        return
    facts, this = read.get(SegmentFacts, learned.segment), read.get(ThisHost, THIS)
    port = read.get(Port, learned.port)
    location = read.get(Location, learned.port)
    if facts is None or this is None or port is None or location is None:
        return
    flows = Flows("learned_flows", joined(learned.segment, learned.address))
    mac, vsid = parse_mac(learned.mac), reg.VSID.match(facts.vsid)
    yield flows.add(
        Stage.NEIGHBOUR,
        Neighbour.PAIR,
        oxm.match(*looked_for(learned.address), vsid),
        apply=(reg.RESOLVED_MAC.load(mac),),
        goto=Stage.RESOLVED,
    )
    if learned.mac == port.mac:
        return
    local = read.get(Plugged, port.id)
    if local is not None and location.host == this.host:
        yield flows.add(
            Stage.FORWARD,
            Forward.PAIR,
            oxm.match(oxm.eth_dst(mac), vsid),
            apply=(reg.OUT.load(local.ofport),),
            goto=Stage.RECEIVER,
        )
        yield to_port(flows, local.ofport, mac)
    else:
        yield flows.add(
            Stage.FORWARD,
            Forward.PAIR,
            oxm.match(oxm.eth_dst(mac), reg.ORIGIN.match(0), vsid),
            apply=(reg.PEER.load(location.provider_address),),
            goto=Stage.PLAIN_SOURCE_GROUPS,
        )


def _believed(learned: LearnedAddress, read: Read) -> bool:
    port, location = read.get(Port, learned.port), read.get(Location, learned.port)
    return (
        port is not None
        and location is not None
        and location.host == learned.host
        and port.segment == learned.segment
        and allows(port, learned.address, learned.mac)
    )


def _wins(learned: LearnedAddress, read: Read) -> bool:
    for key in read.find(LEARNED_BY_ADDRESS, (learned.segment, learned.address)):
        other = read.get(LearnedAddress, key)
        if other is None or other.key == learned.key or not _believed(other, read):
            continue
        if (-other.sequence, other.port) < (-learned.sequence, learned.port):
            return False
    return True


def announced(packet: PacketIn, hands: Hands) -> bool:
    """A guest says that it uses an address pair of its port."""
    return hands.guests.announced(packet.in_port, packet.packet)


FEATURE = Feature(
    "address pairs",
    units=(unit(LearnedAddress, learned_flows),),
    packets={PAIR_SEEN: announced},
)
