# SPDX-License-Identifier: Apache-2.0
"""Frames worth sending: at the edges of what rules say, and such as nobody may send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations, product
from random import Random
from typing import NamedTuple

from isthmus.addresses import mac_text
from isthmus.policy.rows import Port, Rule
from isthmus.policy.values import PortRange
from tests.proof.clouds import HOSTS, ROUTER_MAC, SEGMENTS, Deployment
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.verdicts import holds, mac_number, numbered
from tests.switches.policy_rows import provider_address

Service = tuple[int, int, int]
"""Protocol, source port, destination port; of ICMP type and code."""

BROADCAST_MAC, ALL_NODES_MAC = 0xFFFFFFFFFFFF, 0x333300000001
STRANGER = "192.0.2.99"
"""A provider address that no host has."""


class Probe(NamedTuple):
    """A guest at `port` sends a frame; or a host gets it in a tunnel of `vsid`, from anywhere."""

    frame: Frame
    port: str = ""
    host: str = ""
    came_from: str = ""
    vsid: int = 0
    encapsulation: str = "nvgre"
    flow_id: int = 0
    """Of NVGRE: what stands behind the VSID; means nothing."""


PLAIN_SERVICES: dict[int, tuple[Service, ...]] = {
    4: (
        *((6, 40000, 80), (17, 40000, 53), (17, 68, 67), (1, 8, 0), (1, 0, 0)),
        *((132, 5000, 5000), (47, 0, 0)),
    ),
    6: ((6, 40000, 80), (17, 40000, 53), (58, 128, 0), (58, 129, 0), (47, 0, 0)),
}


def services(rules: Iterable[Rule], family: int) -> list[Service]:
    """Protocols and ports at the edges of rules, and just beyond them."""
    found: dict[Service, None] = dict.fromkeys(PLAIN_SERVICES[family])
    for rule in rules:
        if rule.family not in (0, family):
            continue
        if rule.protocol in (1, 58):
            for kind, code in product(_near(rule.icmp_type, 8), _near(rule.icmp_code, 0)):
                if (rule.protocol, kind) not in _UNFOLLOWED:
                    found[rule.protocol, kind, code] = None
        elif rule.protocol in (6, 17, 132):
            for source, destination in _ports(rule):
                found[rule.protocol, source, destination] = None
                found[23 - rule.protocol if rule.protocol < 18 else 6, source, destination] = None
        elif rule.protocol >= 0:
            found[rule.protocol, 0, 0] = None
    return list(found)


_UNFOLLOWED = {(58, kind) for kind in range(133, 138)}
"""Neighbour discovery ends before rules are asked."""


def _near(value: int, otherwise: int) -> list[int]:
    return [otherwise] if value < 0 else sorted({max(value - 1, 0), value, min(value + 1, 255)})


def _ports(rule: Rule) -> Iterator[tuple[int, int]]:
    sources, destinations = _edges(rule.source_ports, 40000), _edges(rule.destination_ports, 80)
    for source in sources:
        yield source, destinations[0]
    for destination in destinations[1:]:
        yield sources[0], destination


def _edges(ports: PortRange | None, otherwise: int) -> list[int]:
    """Inside first, then the other edge, then outside; and wherever a mask may begin."""
    if ports is None:
        return [otherwise]
    first, last = ports
    sizes = [1 << bit for bit in range(16)]
    begins = (
        *(-(-first // size) * size for size in sizes),
        *((last + 1) // size * size for size in sizes),
    )
    edges = (first, last, first - 1, last + 1, *(one for one in begins if first <= one <= last))
    return list(dict.fromkeys(number for number in edges if 0 <= number <= 0xFFFF))


def between(source: Port, target: Port, service: Service, router_mac: str) -> Iterator[Frame]:
    """From every address of one port to every address of another, as guests send it: on the segment
    itself, else by the router."""
    mac = target.mac if source.segment == target.segment else router_mac
    for ours, theirs in product(source.addresses, target.addresses):
        (family, number), (other, destination) = numbered(ours), numbered(theirs)
        if family == other and _fits(service, family):
            its = Tuple(family, number, destination, *_values(service))
            yield Frame(mac_number(source.mac), mac_number(mac), its)


def _values(service: Service) -> tuple[int, int, int]:
    return service


def _fits(service: Service, family: int) -> bool:
    return service[0] != (58 if family == 4 else 1)


def answered_by(probe: Probe | None, ports: Iterable[Port]) -> Probe | None:
    """What the port that has a probe's destination would send back, whether or not it got it."""
    turned = probe.frame.tuple.turned() if probe is not None else None
    if probe is None or turned is None:
        return None
    ports = tuple(ports)
    here = next((port for port in ports if port.id == probe.port), None)
    segment = here.segment if here is not None else _SEGMENT_OF.get(probe.vsid, "")
    for there in ports:
        mac = _mac_of(there, turned)
        if mac and there.segment[:-2] == segment[:-2] and there is not here:
            asking = mac_number(here.mac) if here is not None else probe.frame.eth_src
            to = asking if there.segment == segment else mac_number(ROUTER_MAC)
            return Probe(Frame(mac_number(mac), to, turned), port=there.id)
    return None


_SEGMENT_OF = {vsid: segment for segment, vsid in SEGMENTS.items()}


def led_astray(probe: Probe, ports: Iterable[Port]) -> Iterator[Probe]:
    """The answer to a probe, to the MAC address of each port of the segment that it is sent on but
    that which it is for."""
    ports = tuple(ports)
    back = answered_by(probe, ports)
    if back is None:
        return
    segment = next(port.segment for port in ports if port.id == back.port)
    for port in ports:
        led = back.frame._replace(eth_dst=mac_number(port.mac))
        if port.segment == segment and port.id != back.port and led != back.frame:
            yield back._replace(frame=led)


def _mac_of(port: Port, its: Tuple) -> str | None:
    """From which a port may send it, if it may."""
    if holds(port, its.family, its.source):
        return port.mac
    for network, mac in port.pairs:
        first, last = int(network.network_address), int(network.broadcast_address)
        if network.version == its.family and first <= its.source <= last:
            return mac_text(mac)
    return None


def lies(source: Port, target: Port, honest: Frame) -> Iterator[Frame]:
    """What port security must stop, made of a frame that may pass, and what leads elsewhere."""
    its = honest.tuple
    theirs = numbered(next(t for t in target.addresses if numbered(t)[0] == its.family))[1]
    yield honest._replace(eth_src=mac_number(target.mac))
    yield from as_pair(source, honest)
    yield honest._replace(tuple=its._replace(source=theirs, destination=its.source))
    yield honest._replace(tuple=its._replace(source=its.source + 77))
    yield honest._replace(tuple=its._replace(destination=its.destination + 77))
    yield honest._replace(eth_dst=mac_number(target.mac))
    yield honest._replace(eth_dst=mac_number(source.mac))
    yield honest._replace(eth_dst=mac_number(ROUTER_MAC))
    yield honest._replace(eth_dst=mac_number(ROUTER_MAC), ttl=1)
    yield honest._replace(eth_dst=0x02FFFFFFFFFF)
    yield honest._replace(eth_dst=BROADCAST_MAC)
    group = 0xE0000001 if its.family == 4 else 0xFF02 << 112 | 1
    yield honest._replace(eth_dst=ALL_NODES_MAC, tuple=its._replace(destination=group))


def as_pair(source: Port, honest: Frame) -> Iterator[Frame]:
    """From the address pairs of a port, and from just beside them."""
    for network, mac in source.pairs:
        if network.version != honest.tuple.family:
            continue
        yield honest._replace(eth_src=mac)
        last = int(network.broadcast_address)
        for address in (int(network.network_address), last, last + 1):
            its = honest.tuple._replace(source=address)
            yield honest._replace(tuple=its)
            yield honest._replace(tuple=its, eth_src=mac)


def sampled(cloud: Deployment, random: Random, *, per_pair: int = 6) -> Iterator[Probe]:
    """For every ordered pair of ports: services at the edges of rules, lies, and tunnels."""
    written = [row for row in cloud.rules if isinstance(row, Rule)]
    by_family = {family: services(written, family) for family in (4, 6)}
    for source, target in permutations(cloud.ports, 2):
        honest = [
            frame
            for family, spoken in by_family.items()
            for service in spoken
            for frame in between(source, target, service, ROUTER_MAC)
            if frame.tuple.family == family
        ]
        if not honest:
            continue
        for frame in random.sample(honest, min(per_pair, len(honest))):
            yield Probe(frame, port=source.id)
        one = random.choice(honest)
        for lie in lies(source, target, one):
            yield Probe(lie, port=source.id)
        yield from random.sample(list(injections(cloud, one)), 4)


def injections(cloud: Deployment, honest: Frame) -> Iterator[Probe]:
    """A frame that comes to every host in a tunnel: from every provider address, in every
    segment."""
    addresses = (*(provider_address(host) for host in HOSTS), STRANGER)
    for host, came_from, vsid in product(HOSTS, addresses, (*SEGMENTS.values(), 5999)):
        if came_from != provider_address(host):
            yield Probe(honest, host=host, came_from=came_from, vsid=vsid)
