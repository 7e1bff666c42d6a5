# SPDX-License-Identifier: Apache-2.0
"""The values that columns of policy hold: words of closed sets, and what has several parts.

Rows hold them as they are computed with; `store.south_rows` alone knows how they stand in the data
base. A value is canonical: what is the same is equal.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple, NewType

from isthmus.addresses import Address, Mac, Prefix
from isthmus.wire.encapsulations import Encapsulation


class Action(StrEnum):
    """What a rule, or the default of a rule set, does with a packet."""

    ALLOW = "allow"
    DENY = "deny"


class Direction(StrEnum):
    """As the port sees it: to it (in), or from it (out)."""

    IN = "in"
    OUT = "out"


class RuleLevel(StrEnum):
    """Where rule sets are applied: a packet passes when both levels let it."""

    INTERFACE = "interface"
    SUBNET = "subnet"


class LegKind(StrEnum):
    """`PEER` leads to a segment of a peered network, whose own router has the addresses."""

    INTERNAL = "internal"
    PEER = "peer"


class PortGuard(StrEnum):
    """In what a port differs from others: it may use any MAC address, it may not answer DHCP, it
    may send router advertisements."""

    MAC_SPOOFING = "mac-spoofing"
    DHCP = "dhcp-guard"
    ROUTER_ADVERTISEMENTS = "router-advertisements"


class ClaimState(StrEnum):
    """`STANDBY` waits for the guest's first frame, or for the end of the active claim."""

    ACTIVE = "active"
    STANDBY = "standby"


class PortState(StrEnum):
    """What became of a port on a host; `STANDBY` while another host has it."""

    UP = "up"
    ERROR = "error"
    STANDBY = "standby"


class AppliedSet(NamedTuple):
    """A rule set that holds at a level for one of the port's addresses, or for all of them, where
    `address` is empty."""

    level: RuleLevel
    address: str
    rule_set: str

    def holds_for(self, address: str) -> bool:
        return not self.address or self.address == address


@lru_cache(maxsize=1 << 16)
def applied_to_all(level: RuleLevel, rule_set: str) -> AppliedSet:
    """For all of a port's addresses: the same value for the many ports that have it."""
    return AppliedSet(level, "", rule_set)


class AddressPair(NamedTuple):
    """Further addresses that a port may use, with one MAC address."""

    network: Prefix
    mac: Mac


class PortRange(NamedTuple):
    """Ports of TCP, UDP and SCTP, `last` included."""

    first: int
    last: int


class HostRoute(NamedTuple):
    """A route that DHCP gives (RFC 3442)."""

    network: Prefix
    next_hop: Address


Preference = NewType("Preference", tuple[Encapsulation, ...])
"""Encapsulations, the preferred one first."""


def pair_order(pair: AddressPair) -> tuple[int, int, int, int]:
    """What pairs are sorted by: networks of two families have no order of their own."""
    network, mac = pair
    return network.version, int(network.network_address), network.prefixlen, mac


def route_order(route: HostRoute) -> tuple[int, int, int, int, int]:
    """What host routes are sorted by. No two have the same place: 0.0.0.0 and :: are both 0."""
    network, next_hop = route
    prefix = network.version, int(network.network_address), network.prefixlen
    return *prefix, *address_order(next_hop)


def address_order(address: Address) -> tuple[int, int]:
    """What addresses of both families are sorted by."""
    return address.version, int(address)
