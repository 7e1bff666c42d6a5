# SPDX-License-Identifier: Apache-2.0
"""As whom a host speaks with its guests: as the router of their segment, or where there is none as
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, ip_interface

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.indexes import LEGS_BY_SEGMENT, PEER
from isthmus.policy.rows import Router, RouterPort

SERVER_MAC = Mac(0x020000000001)
"""The MAC address that a host has for its guests on a segment without a router."""


def speaking_mac(engine: Engine, segment: str) -> Mac | None:
    """The MAC address of what a host sends to guests in a segment; None while the segment's router
    is not known."""
    for leg in _own_legs(engine, segment):
        router = engine.rows(Router).get(leg.router)
        return parse_mac(router.mac) if router is not None else None
    return SERVER_MAC


def speaking_address(engine: Engine, segment: str) -> IPv4Address | None:
    """The router's IPv4 address in a segment; None where there is none."""
    for leg in _own_legs(engine, segment):
        for text in leg.addresses:
            address = ip_interface(text).ip
            if isinstance(address, IPv4Address):
                return address
    return None


def _own_legs(engine: Engine, segment: str) -> Iterator[RouterPort]:
    """The legs of the segment's own routers, by name."""
    for key in sorted(engine.entry(LEGS_BY_SEGMENT, segment), key=repr):
        leg = engine.rows(RouterPort)[key]
        if leg.kind != PEER:
            yield leg
