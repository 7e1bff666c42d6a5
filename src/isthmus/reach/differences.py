# SPDX-License-Identifier: Apache-2.0
"""What a change of policy means for who may speak: reachability gained and lost, and rules that can
never decide.

Rules cut the space of packets into cells: by address family, protocol, ranges of ports, ICMP types,
and sets of addresses. Within a cell every rule before and after the change says the same, so one
packet of each cell tells all. Cells are looked at per list of rule sets and not per pair of ports:
a list that ten thousand ports are under is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise, product
from typing import NamedTuple

from isthmus.addresses import Address
from isthmus.policy.rows import Rule
from isthmus.policy.rules import EVERYTHING, Level, networks, span
from isthmus.reach.rulings import ICMP, ICMPV6, WITH_PORTS, Packet, matches
from isthmus.reach.world import World

MOST_CELLS = 50_000
"""Of one list: more would take longer than anybody waits."""

OTHER_PROTOCOL = 253
"""RFC 3692: for experiments; it stands for all that no rule names."""

EPHEMERAL = 49152

MOST_NEWCOMERS = 5
"""Of the members that a group gains or loses, how many are looked at by name."""


class Cell(NamedTuple):
    """Packets of which all rules say the same; the texts say which they are."""

    packet: Packet
    protocol: str
    ports: str
    source: str
    destination: str

    def text(self, direction: str) -> str:
        what = " ".join(part for part in (self.protocol, self.ports) if part)
        ends = []
        if self.source != "any" or direction == "in":
            ends.append(f"from {self.source}")
        if self.destination != "any" or direction == "out":
            ends.append(f"to {self.destination}")
        return " ".join((what, *ends))


class Difference(NamedTuple):
    """What became of one list of rule sets in one direction."""

    gained: tuple[str, ...]
    lost: tuple[str, ...]
    whole: bool
    """False when there were too many cells to look at."""


class Shadowed(NamedTuple):
    """A rule that never decides: whatever it speaks of, an earlier one of its list has decided."""

    rule: Rule
    by: tuple[Rule, ...]


def difference(
    before: tuple[World, Level], after: tuple[World, Level], domain: str, direction: str
) -> Difference:
    """What a list allows after a change and not before, and the other way round."""
    rules = [*before[1].rules, *after[1].rules]
    gained: list[Cell] = []
    lost: list[Cell] = []
    for count, cell in enumerate(cells(rules, (before[0], after[0]), domain)):
        if count >= MOST_CELLS:
            return Difference(_texts(gained, direction), _texts(lost, direction), False)
        was, now = (_allows(world, level, domain, cell) for world, level in (before, after))
        if now and not was:
            gained.append(cell)
        elif was and not now:
            lost.append(cell)
    return Difference(_texts(gained, direction), _texts(lost, direction), True)


def shadowed(world: World, level: Level, domain: str) -> list[Shadowed]:
    """Rules of a list that never decide, and which decide instead."""
    deciding: set[Rule] = set()
    instead: dict[Rule, dict[Rule, None]] = {rule: {} for rule in level.rules}
    for count, cell in enumerate(cells(level.rules, (world,), domain)):
        if count >= MOST_CELLS:
            return []
        first: Rule | None = None
        for rule in level.rules:
            if not matches(world, domain, rule, cell.packet):
                continue
            if first is None:
                first = rule
                deciding.add(rule)
            else:
                instead[rule][first] = None
    return [
        Shadowed(rule, tuple(instead[rule]))
        for rule in level.rules
        if rule not in deciding and instead[rule]
    ]


def _allows(world: World, level: Level, domain: str, cell: Cell) -> bool:
    for rule in level.rules:
        if matches(world, domain, rule, cell.packet):
            return rule.action == "allow"
    return level.allow_by_default


def _texts(found: Sequence[Cell], direction: str) -> tuple[str, ...]:
    """Cells as people say them: families and neighbouring ranges that say the same are one."""
    return tuple(dict.fromkeys(cell.text(direction) for cell in _joined(found)))


def _joined(found: Sequence[Cell]) -> Iterator[Cell]:
    by_rest: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in found:
        by_rest.setdefault((cell.protocol, cell.source, cell.destination), []).append(cell)
    for group in by_rest.values():
        spans = sorted(
            {
                tuple(map(int, c.ports.split("-")))
                for c in group
                if c.ports.replace("-", "").isdigit()
            }
        )
        joined: list[list[int]] = []
        for one in spans:
            first, last = one[0], one[-1]
            if joined and first <= joined[-1][1] + 1:
                joined[-1][1] = max(joined[-1][1], last)
            else:
                joined.append([first, last])
        for first, last in joined:
            text = "" if (first, last) == (0, 0xFFFF) else _span_text(first, last)
            yield group[0]._replace(ports=text)
        yield from (cell for cell in group if not cell.ports.replace("-", "").isdigit())


def _span_text(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def cells(rules: Sequence[Rule], worlds: Sequence[World], domain: str) -> Iterator[Cell]:
    """One packet for each cell that the rules cut."""
    protocols = {rule.protocol for rule in rules if rule.protocol >= 0}
    for family in (4, 6):
        sources = list(_ends(rules, "source", worlds, domain, family))
        destinations = list(_ends(rules, "destination", worlds, domain, family))
        for protocol in sorted({*protocols, 6, 17, ICMP, ICMPV6, OTHER_PROTOCOL}):
            if protocol == (ICMPV6 if family == 4 else ICMP):
                continue
            speaking = [rule for rule in rules if rule.protocol in (-1, protocol)]
            for ports, source, destination in product(
                _ports(speaking, protocol), sources, destinations
            ):
                first, second, text = ports
                yield Cell(
                    Packet(protocol, source[0], destination[0], first, second),
                    _protocol_text(protocol, family, protocols),
                    text,
                    source[1],
                    destination[1],
                )


_NAMES = {6: "tcp", 17: "udp", 132: "sctp", ICMP: "icmp", ICMPV6: "icmpv6"}


def _protocol_text(protocol: int, family: int, named: set[int]) -> str:
    if protocol == OTHER_PROTOCOL and protocol not in named:
        return "other protocols"
    return _NAMES.get(protocol, f"protocol {protocol}")


def _ports(rules: Sequence[Rule], protocol: int) -> Iterator[tuple[int, int, str]]:
    """Source and destination port (or ICMP type and code) of each cell, and its text."""
    if protocol in (ICMP, ICMPV6):
        kinds = sorted({rule.icmp_type for rule in rules if rule.icmp_type >= 0})
        codes = sorted({rule.icmp_code for rule in rules if rule.icmp_code >= 0})
        for kind in (*kinds, _free(kinds)):
            for code in (*codes, _free(codes)) if codes else (0,):
                yield kind, code, f"type {kind}" if kind in kinds else ""
    elif protocol in WITH_PORTS:
        for low, _ in _ranges(rule.source_ports for rule in rules):
            source = max(low, EPHEMERAL) if low == 0 else low
            for first, last in _ranges(rule.destination_ports for rule in rules):
                yield source, first, f"{first}-{last}"
    else:
        yield 0, 0, ""


def _free(numbers: Sequence[int]) -> int:
    return next(number for number in range(256, -1, -1) if number not in numbers)


def _ranges(spans: Iterable[str]) -> list[tuple[int, int]]:
    """The ranges into which ranges of ports cut all ports."""
    cuts = {0, 0x10000}
    for text in spans:
        first, last = span(text)
        cuts |= {first, last + 1}
    return [(first, following - 1) for first, following in pairwise(sorted(cuts))]


def _ends(
    rules: Sequence[Rule], end: str, worlds: Sequence[World], domain: str, family: int
) -> Iterator[tuple[Address, str]]:
    """An address of each set of addresses that the rules tell apart, and what people call it."""
    seen: set[tuple[bool, ...]] = set()
    for address, text in _candidates(rules, end, worlds, domain, family):
        side = tuple(
            _speaks(world, rule, end, domain, address) for world in worlds for rule in rules
        )
        if side not in seen:
            seen.add(side)
            yield address, text


def _candidates(
    rules: Sequence[Rule], end: str, worlds: Sequence[World], domain: str, family: int
) -> Iterator[tuple[Address, str]]:
    make = IPv4Address if family == 4 else IPv6Address
    nobody = make("198.51.100.7") if family == 4 else make("2001:db8::7")
    yield nobody, "any"
    for rule in rules:
        groups = rule.source_groups if end == "source" else rule.destination_groups
        for group in groups:
            for text, name in _members(group, worlds, domain, family):
                yield make(text), name
        for world in worlds:
            name = rule.source if end == "source" else rule.destination
            if not name or groups:
                continue
            router = world.routers.get(domain)
            space = router.prefixes if router is not None else ()
            for network in networks(name, family, space, world.gateways(domain)):
                if network != EVERYTHING[family]:
                    yield network[-1], name


def _members(
    group: str, worlds: Sequence[World], domain: str, family: int
) -> Iterator[tuple[str, str]]:
    """An address that is in the group in all worlds, and some that are not in all."""
    sets = [
        {m for m in world.members.get((domain, group), ()) if (":" in m) == (family == 6)}
        for world in worlds
    ]
    common, everybody = set.intersection(*sets), set.union(*sets)
    for text in sorted(common)[:1]:
        yield text, f"group {group}"
    for text in sorted(everybody - common)[:MOST_NEWCOMERS]:
        holder = next(filter(None, (world.owner_of(text, domain) for world in worlds)), text)
        yield text, holder


def _speaks(world: World, rule: Rule, end: str, domain: str, address: Address) -> bool:
    """Whether the end of a rule covers an address."""
    groups = rule.source_groups if end == "source" else rule.destination_groups
    if groups:
        return any(str(address) in world.members.get((domain, group), ()) for group in groups)
    name = rule.source if end == "source" else rule.destination
    router = world.routers.get(domain)
    space = router.prefixes if router is not None else ()
    return any(
        address in one for one in networks(name, address.version, space, world.gateways(domain))
    )
