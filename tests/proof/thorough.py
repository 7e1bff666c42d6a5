# SPDX-License-Identifier: Apache-2.0
"""All frames that a cloud's rules can tell apart, and lies: every bit turned of every address that
somebody speaks from, and of every MAC address that is spoken to.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from itertools import permutations, product
from random import Random

from isthmus.addresses import mac_text, parse_mac
from isthmus.policy.rows import Port, RouterPort, Rule
from tests.proof.clouds import ROUTER_MAC, SEGMENTS, Deployment, ground
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.probes import PLAIN_SERVICES, STRANGER, Probe, as_pair, between, lies, services
from tests.switches.policy_rows import SPEAKS, provider_address

_BITS = {4: 32, 6: 128}
_FURTHER = {4: ((1, 13, 0), (1, 3, 1)), 6: ((58, 1, 0),)}
"""Of ICMP, by family: another question, and an error, which is of no connection (RFC 792, RFC
4443)."""


def every(cloud: Deployment, random: Random) -> list[Probe]:
    """Thousands, for a cloud of twenty ports."""
    return [
        *_spoken(cloud, random),
        *_from_pairs(cloud),
        *_to_pairs(cloud),
        *_to_routers(cloud),
        *_spoofed(cloud),
        *_tunneled(cloud),
        *_lied(cloud),
    ]


def _near(one: Port, other: Port) -> bool:
    """Of one tenant."""
    return one.segment[:-2] == other.segment[:-2]


def _spoken(cloud: Deployment, random: Random) -> Iterator[Probe]:
    """For every ordered pair of ports what the rules of either make different."""
    by_set: dict[str, list[Rule]] = {}
    for row in cloud.rules:
        if isinstance(row, Rule):
            by_set.setdefault(row.rule_set, []).append(row)
    for source, target in permutations(cloud.ports, 2):
        names = {entry.rule_set for one in (source, target) for entry in one.rule_sets}
        rules = [rule for name in sorted(names) for rule in by_set.get(name, ())]
        for family in (4, 6):
            spoken = services(rules if _near(source, target) else (), family)
            spoken += _FURTHER[family]
            honest = [
                frame
                for service in spoken
                for frame in between(source, target, service, ROUTER_MAC)
                if frame.tuple.family == family
            ]
            yield from (Probe(frame, port=source.id) for frame in honest)
            if honest and _near(source, target):
                one = random.choice(honest)
                yield from (Probe(lie, port=source.id) for lie in lies(source, target, one))


def _from_pairs(cloud: Deployment) -> Iterator[Probe]:
    """From every address pair to every port of its tenant."""
    for source, target in permutations(cloud.ports, 2):
        if _near(source, target):
            for frame in _plain_frames(source, target):
                yield from (Probe(lie, port=source.id) for lie in as_pair(source, frame))


def _to_pairs(cloud: Deployment) -> Iterator[Probe]:
    """From every port to the first and last address of every pair of its tenant, by the router and,
    on its segment, straight."""
    for source, target in permutations(cloud.ports, 2):
        if not _near(source, target):
            continue
        for network, number in target.pairs:
            mac = mac_text(number)
            straight = (mac, target.mac) if source.segment == target.segment else ()
            macs = sorted({ROUTER_MAC, *straight})
            for own, end in product(map(ip_interface, source.addresses), (0, -1)):
                if own.version != network.version:
                    continue
                for to, service in product(macs, PLAIN_SERVICES[network.version]):
                    ends = int(own), int(network[end])
                    its = Tuple(network.version, *ends, *service)
                    yield Probe(Frame(parse_mac(source.mac), parse_mac(to), its), port=source.id)


def _to_routers(cloud: Deployment) -> Iterator[Probe]:
    """From every port to the addresses of its router, and beside them."""
    legs = [row for row in ground() if isinstance(row, RouterPort)]
    asked = {4: ((1, 8, 0), (1, 8, 1), (6, 40000, 80)), 6: ((58, 128, 0), (58, 129, 0))}
    for source, leg in product(cloud.ports, legs):
        if leg.router != source.segment[:-2]:
            continue
        for text, own in product(leg.addresses, source.addresses):
            gateway, address = ip_interface(text), ip_interface(own)
            if gateway.version != address.version:
                continue
            for service, beside in product(asked[gateway.version], (0, 1)):
                ends = int(address), int(gateway) ^ beside
                its = Tuple(gateway.version, *ends, *service)
                frame = Frame(parse_mac(source.mac), parse_mac(ROUTER_MAC), its)
                yield Probe(frame, port=source.id)


def _spoofed(cloud: Deployment) -> Iterator[Probe]:
    """From every port to its router, which asks no port's rules, with one bit of what it may send
    from turned: its addresses, and the ends of its address pairs."""
    legs = {row.segment: row for row in ground() if isinstance(row, RouterPort)}
    for source in cloud.ports:
        if source.segment not in legs:
            continue
        own = [(ip_interface(text).network, source.mac) for text in source.addresses]
        own += [(network, mac_text(mac)) for network, mac in source.pairs]
        for text, (network, mac) in product(legs[source.segment].addresses, own):
            gateway = ip_interface(text)
            if gateway.version != network.version:
                continue
            service = (1, 8, 0) if network.version == 4 else (58, 128, 0)
            for bit in range(network.prefixlen):
                address = int(network[0]) ^ 1 << network.max_prefixlen - 1 - bit
                its = Tuple(network.version, address, int(gateway), *service)
                frame = Frame(parse_mac(mac), parse_mac(ROUTER_MAC), its)
                yield Probe(frame, port=source.id)


def _tunneled(cloud: Deployment) -> Iterator[Probe]:
    """What comes to a port, or to its router, in a tunnel: from one port on each host and segment
    of its tenant, said to come from every host, in every segment."""
    host_of = {place.port: place.host for place in cloud.places}
    everywhere = (*map(provider_address, SPEAKS), STRANGER)
    for target in cloud.ports:
        host = host_of[target.id]
        for source in _speakers(cloud, target):
            plain = list(_plain_frames(source, target))
            spoken = [*plain, *(lie for frame in plain for lie in as_pair(source, frame))]
            for honest, to in product(spoken, (target.mac, ROUTER_MAC)):
                frame = honest._replace(eth_dst=parse_mac(to))
                for came_from, vsid in product(everywhere, (*SEGMENTS.values(), 5999)):
                    for encapsulation in SPEAKS[host]:
                        yield Probe(frame, "", host, came_from, vsid, encapsulation, vsid & 0x7F)


def _speakers(cloud: Deployment, target: Port) -> Iterator[Port]:
    """The freest of each host and segment of a tenant."""
    host_of = {place.port: place.host for place in cloud.places}
    seen: set[tuple[str, str]] = set()
    for source in sorted(cloud.ports, key=lambda one: len(one.rule_sets)):
        place = host_of[source.id], source.segment
        if _near(source, target) and source is not target and place not in seen:
            seen.add(place)
            yield source


def _plain_frames(source: Port, target: Port) -> Iterator[Frame]:
    """One of each family."""
    families: set[int] = set()
    for frame in between(source, target, (6, 40000, 80), ROUTER_MAC):
        if frame.tuple.family not in families:
            families.add(frame.tuple.family)
            yield frame


def _lied(cloud: Deployment) -> Iterator[Probe]:
    """From every port to all of its tenant on its host, with one bit of what it says it is turned;
    and to every port from each host, with one bit of the MAC address."""
    host_of = {place.port: place.host for place in cloud.places}
    for target in cloud.ports:
        for source in _speakers(cloud, target):
            for frame in _plain_frames(source, target):
                if source.segment == target.segment:
                    for bit in range(48):
                        lie = frame._replace(eth_dst=frame.eth_dst ^ 1 << bit)
                        yield Probe(lie, port=source.id)
                if host_of[source.id] == host_of[target.id]:
                    yield from _turned_source(Probe(frame, port=source.id))


def _turned_source(probe: Probe) -> Iterator[Probe]:
    frame, its = probe.frame, probe.frame.tuple
    for bit in range(48):
        yield probe._replace(frame=frame._replace(eth_src=frame.eth_src ^ 1 << bit))
    for bit in range(_BITS[its.family]):
        other = its._replace(source=its.source ^ 1 << bit)
        yield probe._replace(frame=frame._replace(tuple=other))
