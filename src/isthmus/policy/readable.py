# SPDX-License-Identifier: Apache-2.0
"""What of a desired row can be computed with.

The deriver writes sound rows only; but whoever has a certificate of the south store may write any,
until the deriver writes them back (`controller.foreign`). What nobody can compute with is left out
where that closes something, and closes what it speaks of where leaving it out would open it: a
rule that cannot be read denies everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import cast

import msgspec

from isthmus.policy.rows import (
    PhysicalNetwork,
    Port,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.policy.rules import KEYWORDS
from isthmus.policy.values import (
    Action,
    AddressPair,
    AppliedSet,
    Direction,
    HostRoute,
    LegKind,
    PortGuard,
    PortRange,
)

Changes = Mapping[str, object]
"""What is to be read in place of columns: nothing for a sound row."""

SOUND: Changes = {}

MOST_VSID = (1 << 24) - 1
"""RFC 7348 section 5, RFC 7637 section 3.2: 24 bits."""
_MOST_MTU, _MOST_32 = 0xFFFF, 0xFFFFFFFF

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
"""Faster than `ipaddress`, for what is done with a hundred thousand rows when a host starts."""


def is_one(value: object, kind: type) -> bool:
    """Whether a column's value has been read, and is no text that is none of its values."""
    return value.__class__ is kind


def are(values: Iterable[object], kind: type) -> bool:
    """The same of all in a set."""
    return all(value.__class__ is kind for value in values)


def _physical_network(row: PhysicalNetwork) -> Changes | None:
    return SOUND if 0 <= row.mtu_bytes <= _MOST_MTU else None


def _segment(row: Segment) -> Changes | None:
    sound = 0 <= row.vsid <= MOST_VSID and 0 <= row.mtu_bytes <= _MOST_MTU
    return SOUND if sound else None


def _subnet(row: Subnet) -> Changes | None:
    sound = (
        _is_prefix(row.prefix)
        and (row.gateway is None or _is_address(row.gateway))
        and all(map(_is_address, row.dns))
        and are(row.host_routes, HostRoute)
        and 0 <= row.lease_s <= _MOST_32
    )
    return SOUND if sound else None


def _router(row: Router) -> Changes | None:
    sound = 0 <= row.rdid <= MOST_VSID and _is_mac(row.mac) and all(map(_is_prefix, row.prefixes))
    return SOUND if sound else None


def _router_port(row: RouterPort) -> Changes | None:
    sound = is_one(row.kind, LegKind) and all(map(_is_interface, row.addresses))
    return SOUND if sound else None


def _port(row: Port) -> Changes | None:
    sound = (
        _is_mac(row.mac)
        and all(map(_is_address, row.addresses))
        and (not row.dhcp_address or _is_address(row.dhcp_address))
        and all(map(_is_address, row.dns))
        and are(row.rule_sets, AppliedSet)
        and are(row.pairs, AddressPair)
        and are(row.guards, PortGuard)
        and 0 <= row.storm_pps <= _MOST_32
    )
    return SOUND if sound else None


def _rule_set(row: RuleSet) -> Changes:
    return {
        name: Action.DENY
        for name in ("in_default", "out_default")
        if not is_one(getattr(row, name), Action)
    }


def _rule(row: Rule) -> Changes | None:
    if not is_one(row.direction, Direction):
        return None  # in neither direction does anything hold
    if (
        is_one(row.action, Action)
        and row.family in (0, 4, 6)
        and -1 <= row.protocol <= 255
        and _is_end(row.source)
        and _is_end(row.destination)
        and (row.source_ports is None or is_one(row.source_ports, PortRange))
        and (row.destination_ports is None or is_one(row.destination_ports, PortRange))
        and -1 <= row.icmp_type <= 255
        and -1 <= row.icmp_code <= 255
    ):
        return SOUND
    return _denying(row)


def _denying(row: Rule) -> Changes:
    """What makes of a rule one that denies everything."""
    everything = Rule(rule_set="", id="", direction=row.direction, priority=0, action=Action.DENY)
    kept = {*Rule.KEY, "direction", "priority", "origin"}
    fields = (name for name in row.__struct_fields__ if name not in kept)
    return {name: getattr(everything, name) for name in fields}


def closing(row: Row) -> Row | None:
    """What stands for a desired row of which nobody knows what it should say, so that it opens
    nothing: a rule or a default that denies, and else no row at all."""
    match row:
        case Rule():
            return msgspec.structs.replace(row, **_denying(row))
        case RuleSet():
            return msgspec.structs.replace(row, in_default=Action.DENY, out_default=Action.DENY)
    return None


CHECKS: dict[type[Row], Callable[[Row], Changes | None]] = {
    table: cast("Callable[[Row], Changes | None]", check)  # each is given its own type
    for table, check in (
        (PhysicalNetwork, _physical_network),
        (Segment, _segment),
        (Subnet, _subnet),
        (Router, _router),
        (RouterPort, _router_port),
        (Port, _port),
        (RuleSet, _rule_set),
        (Rule, _rule),
    )
}


def _is_mac(text: str) -> bool:
    return _MAC.fullmatch(text) is not None


def _is_address(text: str) -> bool:
    if _IPV4.fullmatch(text):
        return True
    return _parses(ip_address, text)


def _is_prefix(text: str) -> bool:
    return _parses(ip_network, text)


def _is_interface(text: str) -> bool:
    return _parses(ip_interface, text)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    """IPv6 addresses with a zone (RFC 4007 section 11) are of one machine's interfaces: none."""
    try:
        parse(text)
    except ValueError:
        return False
    return "%" not in text


def _is_end(text: str) -> bool:
    return not text or text in KEYWORDS or _is_prefix(text)
