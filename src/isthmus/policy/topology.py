# SPDX-License-Identifier: Apache-2.0
"""Which router a segment has, and at which addresses: decided here for switches, for what guests
are asked and told, and for those who ask where a packet goes.

A leg of kind `PEER` is a way to a segment of a peered network: its router routes to that segment,
and has no address in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_interface, ip_network

from isthmus.addresses import Address
from isthmus.policy.rows import RouterPort
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


def router_of(legs: Iterable[RouterPort]) -> str | None:
    """The router of a segment, from the legs in it; None where it has none. A segment has one
    router here; with several, the first by name routes."""
    return min((leg.router for leg in legs if not is_peer(leg)), default=None)


def gateways(legs: Iterable[RouterPort]) -> list[str]:
    """The addresses that a router has, from all its legs."""
    return sorted(text.partition("/")[0] for leg in own_legs(legs) for text in leg.addresses)


def gateway(legs: Iterable[RouterPort]) -> IPv4Address | None:
    """The IPv4 address that the router has in a segment, from the legs in it; None without one."""
    for leg in own_legs(legs):
        for text in leg.addresses:
            address = ip_interface(text).ip
            if isinstance(address, IPv4Address):
                return address
    return None


def lowest_address(prefix: str) -> Address:
    """The lowest address of a prefix that a host may have: the distributed router's, as on
    Microsoft's own controller."""
    return ip_network(prefix).network_address + 1
