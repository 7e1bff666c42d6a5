# SPDX-License-Identifier: Apache-2.0
"""Which routers are in one routing domain, as a host knows it: what it reads, and what its switch
tells apart, follow from it.

Routers are neighbours that have legs in one segment. So a router that is alone in its segments
costs nothing but a look at each leg's segment, whatever the number of its legs.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item, Read
from isthmus.host.facts import Adjacent
from isthmus.host.indexes import ADJACENT_BY_ROUTER, LEGS_BY_SEGMENT
from isthmus.policy.rows import RouterPort
from isthmus.policy.topology import domain_of, is_peer, routers_of


def adjacent(leg: RouterPort, read: Read) -> Iterator[Item]:
    """Over RouterPort: the other routers in its segment."""
    if is_peer(leg):
        return
    legs = (read.get(RouterPort, key) for key in read.find(LEGS_BY_SEGMENT, leg.segment))
    names = routers_of(leg for leg in legs if leg is not None)
    others = tuple(name for name in names if name != leg.router)
    if others:
        yield Item(Adjacent, (leg.router, leg.segment), Adjacent(leg.router, others))


def routers_joined_to(router: str, read: Read) -> frozenset[str]:
    """The routers of a router's routing domain, as far as their legs have been read."""

    def neighbours(name: str) -> Iterator[str]:
        for key in read.find(ADJACENT_BY_ROUTER, name):
            row = read.get(Adjacent, key)
            yield from row.others if row is not None else ()

    return domain_of(router, neighbours)
