# SPDX-License-Identifier: Apache-2.0
"""As whom a host speaks with its guests: as the first of the routers that route in their segment,
or where there is none as itself.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.indexes import LEGS_BY_SEGMENT
from isthmus.policy.rows import Router, RouterPort
from isthmus.policy.topology import gateway, routers_of, routing

SERVER_MAC = Mac(0x020000000001)
"""The MAC address that a host has for its guests on a segment without a router."""


def speaking_mac(engine: Engine, segment: str) -> Mac | None:
    """The MAC address of what a host sends to guests in a segment; None while a router of the
    segment is not known."""
    if not routers_of(_legs(engine, segment)):
        return SERVER_MAC
    leg = _first(engine, segment)
    return None if leg is None else parse_mac(engine.rows(Router)[leg.router].mac)


def speaking_address(engine: Engine, segment: str) -> IPv4Address | None:
    """That router's IPv4 address in the segment; None where there is none."""
    leg = _first(engine, segment)
    return None if leg is None else gateway(leg)


def _first(engine: Engine, segment: str) -> RouterPort | None:
    """The leg of the router that a host speaks as, once all of the segment's are known."""
    legs, routers = _legs(engine, segment), engine.rows(Router)
    names = routers_of(legs)
    known = {name: routers[name] for name in names if name in routers}
    found = routing(legs, known)[0] if len(known) == len(names) else []
    return found[0] if found else None


def _legs(engine: Engine, segment: str) -> list[RouterPort]:
    rows = engine.rows(RouterPort)
    return [rows[key] for key in engine.entry(LEGS_BY_SEGMENT, segment)]
