# SPDX-License-Identifier: Apache-2.0
"""What rule sets mean: the order of rules, and what their words stand for.

At one level of a port (its subnet; itself with its groups) the rules of all sets stand in one list,
by priority, of equal ones those that deny first, then stateless ones; where none matches, the level
denies if any of its sets does by default. A packet passes when every level lets it.

Rules speak of connections, in the direction in which these were opened. A stateless rule speaks of
packets: what it allows at any level makes no connection at that end, so that a reply needs a rule
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
    summarize_address_range,
)
from typing import NamedTuple

from isthmus.policy.rows import Rule, RuleSet
from isthmus.policy.values import Action, Direction, PortRange

VIRTUAL_NETWORK, INTERNET, LOAD_BALANCER = "VIRTUALNETWORK", "INTERNET", "AZURELOADBALANCER"
"""Ends of a rule by name: the routing domain's address space, all outside it, its routers."""

TCP, UDP, ANY_PROTOCOL = 6, 17, -1

KEYWORDS = frozenset((VIRTUAL_NETWORK, INTERNET, LOAD_BALANCER))

EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}

Network = IPv4Network | IPv6Network


class Level(NamedTuple):
    """The rules of one level in one direction, the first match deciding."""

    rules: tuple[Rule, ...]
    allow_by_default: bool

    @property
    def is_open(self) -> bool:
        """Whether it lets everything pass, so that nobody need look."""
        return self.allow_by_default and all(rule.action is Action.ALLOW for rule in self.rules)

    @property
    def has_stateless(self) -> bool:
        """Whether some rule lets packets pass for themselves, without a connection."""
        return any(rule.stateless and rule.action is Action.ALLOW for rule in self.rules)


CLOSED = Level((), allow_by_default=False)


def merged(sets: Iterable[RuleSet], rules: Iterable[Rule], direction: Direction) -> Level:
    """One level."""
    ours = sorted((rule for rule in rules if rule.direction is direction), key=rank)
    allowing = all(default_of(one, direction) is Action.ALLOW for one in sets)
    return Level(tuple(ours), allowing)


def default_of(found: RuleSet, direction: Direction) -> Action:
    """What a rule set does with a packet of which no rule speaks."""
    return found.in_default if direction is Direction.IN else found.out_default


def rank(rule: Rule) -> tuple[int, bool, bool, str, str]:
    """What rules of a level are sorted by."""
    return rule.priority, rule.action is not Action.DENY, not rule.stateless, rule.rule_set, rule.id


def protocols(rule: Rule) -> tuple[int, ...]:
    """The IP protocols that a rule speaks of; -1 alone is any. A rule of any protocol that names
    ports speaks of TCP and UDP and of nothing else, whether it allows or denies."""
    has_ports = rule.source_ports is not None or rule.destination_ports is not None
    if rule.protocol < 0 and has_ports:
        return (TCP, UDP)
    return (rule.protocol,)


def speaks_of(rule: Rule, protocol: int) -> bool:
    """Whether a rule speaks of an IP protocol at all."""
    spoken = protocols(rule)
    return spoken == (ANY_PROTOCOL,) or protocol in spoken


ALL_PORTS = PortRange(0, 0xFFFF)


def span(ports: PortRange | None) -> PortRange:
    """First and last of a rule's ports."""
    return ALL_PORTS if ports is None else ports


def networks(
    end: str, family: int, space: Sequence[str], routers: Sequence[str]
) -> tuple[Network, ...]:
    """The prefixes of one family that an end of a rule stands for. `space` are the prefixes of the
    routing domain, `routers` the addresses of its routers."""
    whole = EVERYTHING[family]
    if not end:
        return (whole,)
    if end == LOAD_BALANCER:
        return _of_family(routers, family)
    if end == VIRTUAL_NETWORK:
        return _of_family(space, family)
    if end == INTERNET:
        return tuple(_complement(_of_family(space, family), family))
    return _of_family((end,), family)


def _of_family(texts: Iterable[str], family: int) -> tuple[Network, ...]:
    found = {one for one in map(ip_network, texts) if one.version == family}
    return tuple(sorted(found, key=lambda one: (int(one.network_address), one.prefixlen)))


def _complement(inside: Iterable[Network], family: int) -> Iterator[Network]:
    """The prefixes between those of `inside`, which are sorted."""
    free, bits = 0, 32 if family == 4 else 128
    address = IPv4Address if family == 4 else IPv6Address
    spans = [(int(one.network_address), int(one.broadcast_address)) for one in inside]
    for first, last in (*spans, (1 << bits, 1 << bits)):
        if first > free:
            yield from summarize_address_range(address(free), address(first - 1))
        free = max(free, last + 1)
