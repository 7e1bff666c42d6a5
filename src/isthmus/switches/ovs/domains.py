# SPDX-License-Identifier: Apache-2.0
"""Routing domains and segments: the facts that flows carry as numbers, and connection tracking
zones.

A routing domain is what routers join: the segments that one comes to from another through routers'
own legs. Addresses are unique in it, and it has one zone and its own numbers of groups. A segment
without a router is one by itself. What a domain is follows from its routers alone, and of these
from segments that several have legs in, so that a leg costs what is in its segment
(docs/design/0007).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from isthmus.derive.engine import Index, Item, Read
from isthmus.host.domains import routers_joined_to
from isthmus.host.indexes import LEGS_BY_SEGMENT
from isthmus.policy.rows import Router, RouterPort, Segment
from isthmus.policy.topology import Clash, in_order, routers_of, routing
from isthmus.switches.ovs.facts import (
    Assigned,
    DomainFacts,
    NoZone,
    RouterDomain,
    SegmentFacts,
    Wanted,
)
from isthmus.switches.ovs.pipeline import ISOLATED

ZONES = "zone"
"""Numbers of conntrack zones: one for each routing domain, in which addresses are unique and whose
connections may cross segments; and one for each pair of peered ones."""

NO_CONNECTIONS = 0xFFFF
"""The zone in which no connection is ever kept (`unfitting`)."""

HIGHEST_ZONE = NO_CONNECTIONS - 1
"""The field has 16 bits (Linux: ``struct nf_conntrack_zone.id``); zone 0 is everybody's."""


def router_domain(router: Router, read: Read) -> Iterator[Item]:
    """Over Router: the routing domain that it is in, once all routers of it are known; and what is
    known of that domain, from the first of its routers."""

    names = routers_joined_to(router.id, read)
    known = [row for name in names if (row := read.get(Router, name)) is not None]
    if len(known) < len(names):
        return
    ordered = in_order(known)
    routers = tuple(one.id for one in ordered)
    number = ordered[0].rdid
    yield Item(RouterDomain, router.id, RouterDomain(number, routers))
    if routers[0] == router.id:
        yield from _domain_facts(number, router.id, routers, read)


def _domain_facts(domain: int, first: str, routers: tuple[str, ...], read: Read) -> Iterator[Item]:
    need = _zone_of(domain)
    yield Item(Wanted, need, need)
    zone = read.get(Assigned, need)
    if zone is not None and zone.number is not None:
        yield Item(DomainFacts, (domain, first), DomainFacts(domain, zone.number, routers))


def segment_facts(segment: Segment, read: Read) -> Iterator[Item]:
    """Over Segment: the numbers that flows carry.

    A host reads a segment with its legs, and then their routers. Until these have come there are no
    facts: on its own, all that is in the segment would be programmed twice, and connections kept
    in a zone that is gone a moment later.
    """
    if segment.vsid <= 0:
        return
    names = routers_of(legs_of(LEGS_BY_SEGMENT, segment.id, read))
    if names:
        # All routers of a segment are in one domain.
        its = read.get(RouterDomain, names[0])
        if its is None:
            return
    else:
        its = RouterDomain(ISOLATED | segment.vsid, ())
        yield from _domain_facts(its.domain, segment.id, (), read)
    zone = read.get(Assigned, _zone_of(its.domain))
    if zone is not None and zone.number is not None:
        first = its.routers[0] if its.routers else segment.id
        value = SegmentFacts(segment.id, segment.vsid, its.domain, first)
        yield Item(SegmentFacts, segment.id, value)
    elif zone is not None:
        no_zone = NoZone(segment.id, no_zone_left(called(its.routers, segment.id)))
        yield Item(NoZone, segment.id, no_zone)


def called(routers: tuple[str, ...], segment: str) -> str:
    """A routing domain in a sentence: its routers, or where it has none its segment."""
    return ", ".join(routers) or segment


def no_zone_left(wanting: str) -> str:
    return (
        f"no connection tracking zone is left for {wanting}: this host holds {HIGHEST_ZONE}, one"
        " for each network that its ports are in or can reach, and one for each two of these that"
        " are peered: move the ports of some networks to other hosts"
    )


def _zone_of(domain: int) -> Wanted:
    return Wanted(ZONES, (domain,))


def peer_zone(one: int, other: int, read: Read) -> Generator[Item, None, int | None]:
    """The zone of connections between two routing domains, the same for both directions; None
    until it has a number."""
    need = of_peers(one, other)
    yield Item(Wanted, need, need)
    zone = read.get(Assigned, need)
    return None if zone is None else zone.number


def of_peers(one: int, other: int) -> Wanted:
    """What wants the zone of two routing domains."""
    return Wanted(ZONES, (min(one, other), max(one, other)))


def legs_of(index: Index, entry: str, read: Read) -> list[RouterPort]:
    """The legs of a segment or of a router."""
    found = (read.get(RouterPort, key) for key in read.find(index, entry))
    return [leg for leg in found if leg is not None]


def routing_in(segment: str, read: Read) -> tuple[list[tuple[RouterPort, Router]], list[Clash]]:
    """The legs in a segment whose routers route there, with these, the first one first; and who
    does not, and why."""
    legs = legs_of(LEGS_BY_SEGMENT, segment, read)
    known = {
        name: router for name in routers_of(legs) if (router := read.get(Router, name)) is not None
    }
    found, clashes = routing(legs, known)
    return [(leg, known[leg.router]) for leg in found], clashes
