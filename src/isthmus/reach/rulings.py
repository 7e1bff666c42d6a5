# SPDX-License-Identifier: Apache-2.0
"""What the rules of a port say of a packet: which one decides, at which level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.addresses import Address
from isthmus.policy.addresses import ruled_as
from isthmus.policy.closed import list_word
from isthmus.policy.rows import Port, Rule
from isthmus.policy.rules import Level, merged, networks, span, speaks_of
from isthmus.policy.values import Action, Direction, PortState, RuleLevel
from isthmus.reach.world import World

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
WITH_PORTS = frozenset((TCP, UDP, SCTP))
WITH_HANDSHAKE = frozenset((TCP, SCTP, ICMP, ICMPV6))
"""Whose answers begin no connection: connection tracking tells them from questions."""


class Packet(NamedTuple):
    """The first packet of a connection. Of ICMP the ports are type and code."""

    protocol: int
    source: Address
    destination: Address
    source_port: int = 0
    destination_port: int = 0

    @property
    def family(self) -> int:
        return self.source.version

    @property
    def reply(self) -> Packet:
        """What answers it. Of ICMP, an echo reply."""
        ports = (self.destination_port, self.source_port)
        if self.protocol in (ICMP, ICMPV6):
            ports = (129 if self.protocol == ICMPV6 else 0, 0)
        return Packet(self.protocol, self.destination, self.source, *ports)


class Ruling(NamedTuple):
    """What one level says. `rule` is None for its default, which is that of `sets`."""

    allowed: bool
    level: RuleLevel
    direction: Direction
    sets: tuple[str, ...]
    rule: Rule | None
    closed: bool = False
    """The port's host cannot enforce these sets, and lets nothing pass instead."""

    @property
    def stateless(self) -> bool:
        return self.rule is not None and self.rule.stateless


class Applied(NamedTuple):
    """One level of a port in one direction."""

    name: RuleLevel
    sets: tuple[str, ...]
    level: Level | None
    """None when a rule set is not known, or the port's host cannot enforce it: then nothing
    passes."""
    closed: bool = False
    """The latter."""


LEVELS = {
    Direction.OUT: (RuleLevel.INTERFACE, RuleLevel.SUBNET),
    Direction.IN: (RuleLevel.SUBNET, RuleLevel.INTERFACE),
}
"""In the order in which a packet meets them."""


def applied(world: World, port: Port, address: str, direction: Direction) -> Iterator[Applied]:
    """The levels that hold for one address of a port; none where it has no rule sets. What is no
    address of the port is under the rules of the first one of its family."""
    own = ruled_as(port, address)
    closed = closed_of(world, port)
    holding = [one for one in port.rule_sets if one.holds_for(own)]
    for name in LEVELS[direction]:
        sets = tuple(sorted({one.rule_set for one in holding if one.level == name}))
        if not sets:
            continue
        known = [world.rule_sets[one] for one in sets if one in world.rule_sets]
        if len(known) < len(sets):
            yield Applied(name, sets, None)
            continue
        if list_word(direction, sets) in closed:
            yield Applied(name, sets, None, closed=True)
            continue
        rules = [rule for one in sets for rule in world.rules_by_set.get(one)]
        yield Applied(name, sets, merged(known, rules, direction))


def forbids_something(world: World, port: Port, address: str) -> bool:
    """Whether rules hold for an address that do not let everything pass: else nobody looks at its
    packets, in either direction."""
    return any(
        one.level is None or not one.level.is_open
        for direction in LEVELS
        for one in applied(world, port, address, direction)
    )


def closed_of(world: World, port: Port) -> tuple[str, ...]:
    """What its host keeps closed of a port, in the words of `policy.closed`."""
    status = world.status_of(port.id)
    return () if status is None or status.state is not PortState.ERROR else status.closed


def rulings(
    world: World, port: Port, address: str, direction: Direction, packet: Packet
) -> list[Ruling]:
    """What each level says, up to the first that forbids."""
    domain = world.domain_of(port.segment)
    found = []
    for one in applied(world, port, address, direction):
        if one.level is None:
            found.append(Ruling(False, one.name, direction, one.sets, None, one.closed))
            break
        rule = next(
            (rule for rule in one.level.rules if matches(world, domain, rule, packet)), None
        )
        allowed = one.level.allow_by_default if rule is None else rule.action is Action.ALLOW
        found.append(Ruling(allowed, one.name, direction, one.sets, rule))
        if not allowed:
            break
    return found


def matches(world: World, domain: str, rule: Rule, packet: Packet) -> bool:
    """Whether a rule speaks of a packet, in a routing domain."""
    if rule.family not in (0, packet.family) or not speaks_of(rule, packet.protocol):
        return False
    if packet.protocol in WITH_PORTS:
        for ports, number in (
            (rule.source_ports, packet.source_port),
            (rule.destination_ports, packet.destination_port),
        ):
            first, last = span(ports)
            if not first <= number <= last:
                return False
    elif (rule.icmp_type >= 0 and rule.icmp_type != packet.source_port) or (
        rule.icmp_code >= 0 and rule.icmp_code != packet.destination_port
    ):
        return False
    return _is_end(world, domain, rule.source, rule.source_groups, packet.source) and _is_end(
        world, domain, rule.destination, rule.destination_groups, packet.destination
    )


def _is_end(world: World, domain: str, end: str, groups: tuple[str, ...], address: Address) -> bool:
    if groups:
        text = str(address)
        return any(world.has_member(domain, group, text) for group in groups)
    if not end:
        return True
    space = world.prefixes(domain) if end.isalpha() else ()
    gateways = world.gateways(domain) if end.isalpha() else ()
    return any(address in one for one in networks(end, address.version, space, gateways))
