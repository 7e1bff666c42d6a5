# SPDX-License-Identifier: Apache-2.0
"""As whom a host speaks with its guests: as the router of their segment, or where there is none as
itself.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.indexes import LEGS_BY_SEGMENT
from isthmus.policy.rows import Router, RouterPort
from isthmus.policy.topology import gateway, router_of

SERVER_MAC = Mac(0x020000000001)
"""The MAC address that a host has for its guests on a segment without a router."""


def speaking_mac(engine: Engine, segment: str) -> Mac | None:
    """The MAC address of what a host sends to guests in a segment; None while the segment's router
    is not known."""
    name = router_of(_legs(engine, segment))
    if name is None:
        return SERVER_MAC
    router = engine.rows(Router).get(name)
    return None if router is None else parse_mac(router.mac)


def speaking_address(engine: Engine, segment: str) -> IPv4Address | None:
    """The router's IPv4 address in a segment; None where there is none."""
    return gateway(_legs(engine, segment))


def _legs(engine: Engine, segment: str) -> list[RouterPort]:
    rows = engine.rows(RouterPort)
    return [rows[key] for key in engine.entry(LEGS_BY_SEGMENT, segment)]
