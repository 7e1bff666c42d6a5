# SPDX-License-Identifier: Apache-2.0
"""The source check of what comes through tunnels (SOURCE): an address may come only from a host
that claims a port that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.addresses import Mac, ipv4_number, parse_mac
from isthmus.derive.engine import Item, Read
from isthmus.host.indexes import LEGS_BY_SEGMENT
from isthmus.policy.rows import Port
from isthmus.policy.topology import peer_legs
from isthmus.policy.values import PortGuard
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.address_pairs import Pair
from isthmus.switches.ovs.bands import Source
from isthmus.switches.ovs.domains import legs_of, peer_zone
from isthmus.switches.ovs.facts import RouterDomain, SegmentFacts
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.packet_kinds import LINK_LOCAL, ROUTER_ADVERTISEMENT
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def peer_sources(
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
            yield source(flows, domain, parse_mac(port.mac), text, provider_address, known)


def source(
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


def further_sources(
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
