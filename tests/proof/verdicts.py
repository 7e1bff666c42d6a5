# SPDX-License-Identifier: Apache-2.0
"""What rule sets decide of one packet at one end, read from policy rows as plainly as can be.

This is the definition that the flows are held to: no code of `policy.rules` or of a switch, no
numbers, no shortcuts. At a level (subnet, interface) the rules of all sets that hold for an address
stand in one list by priority, Deny before Allow, and of those that allow stateless ones before
others; the first that matches decides; where none does, the level denies if one of its sets does by
default. Both levels must let a packet pass. A rule set that is not there lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cache
from ipaddress import ip_address, ip_interface, ip_network

from isthmus.addresses import parse_mac
from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet
from tests.proof.connections import Tuple


class Verdict(Enum):
    DENY = "deny"
    ALLOW = "allow"
    """And what answers it may pass as well."""
    ALLOW_PACKET = "allow this packet"
    """A stateless rule did: an answer needs a rule of its own."""


class Domain:
    """One routing domain as rules see it: its address space, its routers, its groups."""

    def __init__(
        self, routers: Iterable[Router], legs: Iterable[RouterPort], ports: Iterable[Port]
    ):
        self.space = [ip_network(text) for router in routers for text in router.prefixes]
        self.routers = {ip_interface(text).ip for leg in legs for text in leg.addresses}
        self.members: dict[str, set[tuple[int, int]]] = {}
        for port in ports:
            for group in port.groups:
                self.members.setdefault(group, set()).update(map(numbered, port.addresses))

    def is_in(self, family: int, number: int, end: str, groups: Iterable[str]) -> bool:
        """Whether an address is what an end of a rule stands for."""
        if groups:
            return any((family, number) in self.members.get(group, ()) for group in groups)
        address = ip_address(number.to_bytes(4 if family == 4 else 16, "big"))
        if end == "AZURELOADBALANCER":
            return address in self.routers
        if end == "VIRTUALNETWORK":
            return any(address in prefix for prefix in self.space)
        if end == "INTERNET":
            return not any(address in prefix for prefix in self.space)
        return not end or address in ip_network(end)


@cache
def numbered(text: str) -> tuple[int, int]:
    """Family and number of an address."""
    address = ip_address(text)
    return address.version, int(address)


def holds(port: Port, family: int, number: int) -> bool:
    """Whether an address is one of a port's own."""
    return (family, number) in map(numbered, port.addresses)


mac_number = cache(parse_mac)


class Rules:
    """All rule sets."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._sets: dict[str, RuleSet] = {}
        self._rules: dict[str, list[Rule]] = {}
        for row in rows:
            if isinstance(row, RuleSet):
                self._sets[row.id] = row
            if isinstance(row, Rule):
                self._rules.setdefault(row.rule_set, []).append(row)

    def levels(self, port: Port, address: str) -> Iterator[list[str]]:
        """Names of the rule sets of each level that hold for an address of a port."""
        for level in ("subnet", "interface"):
            entries = [one for one in port.rule_sets if one.level == level]
            names = [one.rule_set for one in entries if one.address in ("", address)]
            if names:
                yield names

    def forbids_something(self, port: Port, address: str) -> bool:
        """Whether any rule or default of an address denies: else nobody looks at its packets."""
        for names in self.levels(port, address):
            if any(name not in self._sets for name in names):
                return True
            for name in names:
                one = self._sets[name]
                if "deny" in (one.in_default, one.out_default):
                    return True
                if any(rule.action == "deny" for rule in self._rules.get(name, ())):
                    return True
        return False

    def verdict(
        self, port: Port, address: str, direction: str, packet: Tuple, domain: Domain
    ) -> Verdict:
        """Of a packet that a port sends (out) or receives (in), taken for itself."""
        found = [
            self._at_level(names, direction, packet, domain) for names in self.levels(port, address)
        ]
        for verdict in (Verdict.DENY, Verdict.ALLOW_PACKET):
            if verdict in found:
                return verdict
        return Verdict.ALLOW

    def _at_level(self, names: list[str], direction: str, packet: Tuple, domain: Domain) -> Verdict:
        if any(name not in self._sets for name in names):
            return Verdict.DENY
        matching = [
            rule
            for name in set(names)
            for rule in self._rules.get(name, ())
            if rule.direction == direction and _matches(rule, packet, domain)
        ]
        if matching:
            first = min(rule.priority for rule in matching)
            best = [rule for rule in matching if rule.priority == first]
            if any(rule.action == "deny" for rule in best):
                return Verdict.DENY
            return Verdict.ALLOW_PACKET if any(r.stateless for r in best) else Verdict.ALLOW
        defaults = [
            self._sets[name].in_default if direction == "in" else self._sets[name].out_default
            for name in names
        ]
        return Verdict.DENY if "deny" in defaults else Verdict.ALLOW


def _matches(rule: Rule, packet: Tuple, domain: Domain) -> bool:
    spoken: tuple[int, ...] = (packet.protocol,) if rule.protocol == -1 else (rule.protocol,)
    if rule.protocol == -1 and (rule.source_ports, rule.destination_ports) != (None, None):
        spoken = (6, 17)
    if rule.family not in (0, packet.family) or packet.protocol not in spoken:
        return False
    for number, end, groups, ports, actual in (
        (packet.source, rule.source, rule.source_groups, rule.source_ports, packet.source_port),
        (
            *(packet.destination, rule.destination, rule.destination_groups),
            *(rule.destination_ports, packet.destination_port),
        ),
    ):
        if not domain.is_in(packet.family, number, end, groups):
            return False
        if ports is not None and not ports.first <= actual <= ports.last:
            return False
    for wanted, actual in (
        (rule.icmp_type, packet.source_port),
        (rule.icmp_code, packet.destination_port),
    ):
        if wanted not in (-1, actual):
            return False
    return True
