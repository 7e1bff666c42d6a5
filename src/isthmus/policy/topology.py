# SPDX-License-Identifier: Apache-2.0
"""Which routers route in a segment, at which addresses, and what they make one routing domain:
decided here for switches, for what guests are asked and told, and for those who ask where a packet
goes.

A leg of kind `PEER` is a way to a segment of a peered network: its router routes to that segment,
and has no address in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import NamedTuple

from isthmus.addresses import Address, parse_prefix
from isthmus.policy.rows import Router, RouterPort, Subnet
from isthmus.policy.values import LegKind


def is_peer(leg: RouterPort) -> bool:
    """Whether a leg leads to a segment of a peered network."""
    return leg.kind is LegKind.PEER


def own_legs(legs: Iterable[RouterPort]) -> list[RouterPort]:
    """Those of legs whose routers have addresses in their segments, by router and segment."""
    return sorted(
        (leg for leg in legs if not is_peer(leg)), key=lambda leg: (leg.router, leg.segment)
    )


def peer_legs(legs: Iterable[RouterPort]) -> list[RouterPort]:
    """Those of legs that lead to segments of peered networks, by router and segment."""
    return sorted((leg for leg in legs if is_peer(leg)), key=lambda leg: (leg.router, leg.segment))


def routers_of(legs: Iterable[RouterPort]) -> list[str]:
    """The routers of a segment, from the legs in it, by name."""
    return sorted({leg.router for leg in legs if not is_peer(leg)})


def in_order(routers: Iterable[Router]) -> list[Router]:
    """Routers in the order in which they come before each other, wherever one must: by number."""
    return sorted(routers, key=lambda router: (router.rdid, router.id))


def domain_of(router: str, neighbours: Callable[[str], Iterable[str]]) -> frozenset[str]:
    """The routers of a router's routing domain: all that it comes to by segments that two of them
    have legs in. `neighbours` gives those with which a router shares a segment.

    Addresses are unique in a routing domain, and its number is that of its first router
    (`in_order`): it changes where two domains become one, or one two, and else only with its first
    router. Whom a peering leads to is no neighbour.
    """
    found, ahead = {router}, [router]
    while ahead:
        further = set(neighbours(ahead.pop())) - found
        found |= further
        ahead += sorted(further)
    return frozenset(found)


class Clash(NamedTuple):
    """Why a router does not route in a segment: another that comes before it has there what only
    one can have."""

    router: str
    other: str
    what: str


def routing(
    legs: Iterable[RouterPort], routers: Mapping[str, Router]
) -> tuple[list[RouterPort], list[Clash]]:
    """The legs in a segment whose routers route there, in the order of these, and those that do
    not. Guests choose by MAC address who routes, and ask for it by the gateway's address: so
    routers in one segment have different ones. Routers that are not known do not route."""
    here = {leg.router: leg for leg in own_legs(legs) if leg.router in routers}
    found: list[RouterPort] = []
    clashes: list[Clash] = []
    taken: dict[object, str] = {}
    for router in in_order(routers[name] for name in here):
        leg = here[router.id]
        own = {
            f"the number {router.rdid}": router.rdid,
            f"the MAC address {router.mac}": router.mac,
            **{f"the address {text}": text for text in gateways([leg])},
        }
        disputed = next((what for what, value in own.items() if value in taken), None)
        if disputed is not None:
            clashes.append(Clash(router.id, taken[own[disputed]], disputed))
            continue
        taken.update(dict.fromkeys(own.values(), router.id))
        found.append(leg)
    return found, clashes


def gateways(legs: Iterable[RouterPort]) -> list[str]:
    """The addresses that a router has, from all its legs."""
    return sorted(text.partition("/")[0] for leg in own_legs(legs) for text in leg.addresses)


def gateway(leg: RouterPort) -> IPv4Address | None:
    """The IPv4 address that a router has in a segment, from its leg there; None without one."""
    for text in leg.addresses:
        address = ip_interface(text).ip
        if isinstance(address, IPv4Address):
            return address
    return None


def next_hop(subnets: Iterable[Subnet], source: Address, destination: Address) -> Address | None:
    """To which address a guest sends what leaves its segment, if it does as DHCP tells it: that of
    the longest route that its subnet gives, else the subnet's gateway; None where it is told
    none."""
    told = min(
        (one for one in subnets if source in parse_prefix(one.prefix)),
        default=None,
        key=lambda one: one.prefix,
    )
    if told is None:
        return None
    routes = [one for one in told.host_routes if destination in one.network]
    if routes:
        return max(routes, key=lambda one: one.network.prefixlen).next_hop
    return ip_address(told.gateway) if told.gateway else None


def lowest_address(prefix: str) -> Address:
    """The lowest address of a prefix that a host may have: the distributed router's, as on
    Microsoft's own controller."""
    return ip_network(prefix).network_address + 1
