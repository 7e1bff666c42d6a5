# SPDX-License-Identifier: Apache-2.0
"""The segments of a network and what joins them: routing domains, routers, and the ways that
packets take. `policy.topology` decides, over rows that are kept here."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from ipaddress import ip_interface
from operator import attrgetter

from isthmus.addresses import Address, parse_prefix
from isthmus.policy.rows import Router, RouterPort, Segment, Subnet
from isthmus.policy.topology import domain_of as routers_joined
from isthmus.policy.topology import (
    gateways,
    in_order,
    is_peer,
    next_hop,
    own_legs,
    routers_of,
    routing,
)
from isthmus.reach.indexes import Grouped, Names


class Topology:
    """Kept leg by leg, O(routers in its segment) each."""

    def __init__(self) -> None:
        self.segments: MutableMapping[str, Segment] = {}
        self.routers: MutableMapping[str, Router] = {}
        self.legs_by_segment: Grouped[str, RouterPort] = Grouped(attrgetter("router"))
        self.legs_by_router: Grouped[str, RouterPort] = Grouped(attrgetter("segment"))
        self.junctions: Names[str] = Names()
        """By router: the segments in which others have legs too."""
        self.subnets_by_segment: Grouped[str, Subnet] = Grouped(attrgetter("prefix"))

    def add_leg(self, leg: RouterPort) -> None:
        """Take in a leg, in place of one of the same router and segment."""
        self.legs_by_segment.add(leg.segment, leg)
        self.legs_by_router.add(leg.router, leg)
        self._join(leg)

    def remove_leg(self, leg: RouterPort) -> None:
        """Forget the leg of that router and segment."""
        self.legs_by_segment.remove(leg.segment, leg.router)
        self.legs_by_router.remove(leg.router, leg.segment)
        self._join(leg)

    def _join(self, changed: RouterPort) -> None:
        """Note anew the segment of a changed leg, if several routers have legs in it."""
        self.junctions.remove(changed.router, changed.segment)
        names = routers_of(self.legs_by_segment.get(changed.segment))
        for name in names:
            if len(names) > 1:
                self.junctions.add(name, changed.segment)
            else:
                self.junctions.remove(name, changed.segment)

    def domain_of(self, segment: str) -> str:
        """The routing domain of a segment: the first of its routers, or itself where it has none.
        O(segments in which several of these have legs)."""
        name = next((leg.router for leg in self._known_legs(segment)), None)
        return f"{_LONE}{segment}" if name is None else self.routers_in(name)[0].id

    def domain_of_router(self, router: str) -> str:
        """The routing domain that a router is in, or its own name where it is not known."""
        return self.routers_in(router)[0].id if router in self.routers else router

    def routers_in(self, domain: str) -> list[Router]:
        """The routers of a routing domain, in order; any of them may name it. None of a segment's
        that has none."""
        if domain not in self.routers:
            return []
        if domain not in self.junctions:
            return [self.routers[domain]]
        return in_order(self.routers[name] for name in routers_joined(domain, self._neighbours))

    def _neighbours(self, router: str) -> Iterator[str]:
        for segment in self.junctions.get(router):
            yield from (leg.router for leg in self._known_legs(segment))

    def _known_legs(self, segment: str) -> list[RouterPort]:
        legs = self.legs_by_segment.get(segment)
        return own_legs(leg for leg in legs if leg.router in self.routers)

    def segments_of(self, domain: str) -> Iterator[str]:
        """The segments of a routing domain, each once."""
        routers = self.routers_in(domain)
        if not routers:
            yield domain.removeprefix(_LONE)
        elif len(routers) == 1:
            yield from (leg.segment for leg in own_legs(self.legs_by_router.get(domain)))
        else:
            legs = (leg for one in routers for leg in self.legs_by_router.get(one.id))
            yield from dict.fromkeys(leg.segment for leg in own_legs(legs))

    def routers_of(self, segment: str) -> list[Router]:
        """The routers that route in a segment, the first one first."""
        found, _ = routing(self.legs_by_segment.get(segment), self.routers)
        return [self.routers[leg.router] for leg in found]

    def router_for(self, segment: str, source: Address, destination: Address) -> Router | None:
        """The router by which what a guest sends from an address leaves its segment: the only one,
        or of several the one that it is told, or the first."""
        found = self.routers_of(segment)
        if len(found) < 2:
            return found[0] if found else None
        hop = next_hop(self.subnets_by_segment.get(segment), source, destination)
        for router in found:
            leg = self.legs_by_router.one(router.id, segment)
            if leg is not None and str(hop) in gateways([leg]):
                return router
        return found[0]

    def router_asked(self, segment: str, source: Address, destination: Address) -> Router | None:
        """The router that what a guest sends is for: one in its segment, or the one by which it
        leaves it."""
        text = str(destination)
        for router in self.routers_of(segment):
            leg = self.legs_by_router.one(router.id, segment)
            if leg is not None and text in gateways([leg]):
                return router
        router_for = self.router_for(segment, source, destination)
        is_its = router_for is not None and text in self.gateways_of(router_for.id)
        return router_for if is_its else None

    def way(self, segment: str, source: Address, destination: Address) -> str | None:
        """The segment in which a destination is looked for: the guest's own, if it is in a subnet
        of that, without which no router is asked; else the one that the router leads to."""
        router = self.router_for(segment, source, destination)
        is_alone = router is not None and len(self.routers_of(segment)) == 1
        if not is_alone and self.subnet_of(segment, destination) is not None:
            return segment
        return None if router is None else self.segment_of(router.id, destination)

    def subnet_of(self, segment: str, address: Address) -> Subnet | None:
        """The subnet of the segment that the address is in."""
        inside = (
            subnet
            for subnet in self.subnets_by_segment.get(segment)
            if address in parse_prefix(subnet.prefix)
        )
        return min(inside, key=lambda subnet: subnet.prefix, default=None)

    def segment_of(self, router: str, address: Address) -> str | None:
        """The segment that a router routes to for an address."""
        inside = (
            leg.segment
            for leg in self.legs_by_router.get(router)
            for text in leg.addresses
            if address in ip_interface(text).network and self._routes_by(leg)
        )
        return min(inside, default=None)

    def _routes_by(self, leg: RouterPort) -> bool:
        """Whether a router routes by one of its legs."""
        if is_peer(leg) or leg.router not in self.junctions:
            return True
        return any(router.id == leg.router for router in self.routers_of(leg.segment))

    def gateways(self, domain: str) -> list[str]:
        """The addresses of the routers of a routing domain."""
        return gateways(
            leg for one in self.routers_in(domain) for leg in self.legs_by_router.get(one.id)
        )

    def gateways_of(self, router: str) -> list[str]:
        """The addresses at which one router answers."""
        legs = self.legs_by_router.get(router)
        return gateways(leg for leg in legs if not is_peer(leg) and self._routes_by(leg))

    def prefixes(self, domain: str) -> tuple[str, ...]:
        """The address space of a routing domain."""
        routers = self.routers_in(domain)
        return tuple(dict.fromkeys(prefix for one in routers for prefix in one.prefixes))


_LONE = "segment "
"""How the routing domain of a segment without a router is called. Names of segments hold a slash,
which those of routers cannot, so the two are never taken for one another."""
