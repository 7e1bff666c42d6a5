# SPDX-License-Identifier: Apache-2.0
"""What a change of policy means for who may speak: reachability gained and lost, and rules that can
never decide.

Rules cut the space of packets into cells: by address family, protocol, ranges of ports, ICMP types,
and sets of addresses. Within a cell every rule before and after the change says the same, so one
packet of each cell tells all. Cells are looked at per list of rule sets and not per pair of ports:
a list that ten thousand ports are under is looked at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise, product
from typing import NamedTuple

from isthmus.addresses import Address, parse_address
from isthmus.policy.rows import Rule
from isthmus.policy.rules import KEYWORDS, Level, networks, span
from isthmus.reach.rulings import ICMP, ICMPV6, WITH_PORTS, Packet, matches
from isthmus.reach.world import World, spoken

MOST_CELLS = 50_000
"""Of one list: more would take longer than anybody waits."""

OTHER_PROTOCOLS = range(253, -1, -1)
"""The first that no rule names stands for all of these. RFC 3692: 253 is for experiments."""

EPHEMERAL = 49152

MOST_NEWCOMERS = 5
"""Of the members that a group gains or loses, how many are called by name."""


Span = tuple[int, int]
"""First and last."""

ALL_PORTS: Span = (0, 0xFFFF)


class Cell(NamedTuple):
    """Packets of which all rules say the same; the texts say which they are. `detail` is of what
    has no ports."""

    packet: Packet
    protocol: str
    detail: str
    source_ports: Span
    ports: Span
    source: str
    destination: str

    def text(self, direction: str) -> str:
        ports = "" if self.ports == ALL_PORTS else _span_text(self.ports)
        what = " ".join(part for part in (self.protocol, self.detail, ports) if part)
        if self.source_ports != ALL_PORTS:
            what += f" (source port {_span_text(self.source_ports)})"
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
    """Cells as people say them: neighbouring ranges are one, and families that say the same."""
    families: dict[str, set[int]] = {}
    for cell in _joined(found):
        families.setdefault(cell.text(direction), set()).add(cell.packet.family)
        if cell.source != ANY or cell.destination != ANY or cell.packet.protocol in (ICMP, ICMPV6):
            families[cell.text(direction)] |= {4, 6}  # it goes without saying
    return tuple(
        text if len(spoken) > 1 else f"{text} (IPv{min(spoken)})"
        for text, spoken in families.items()
    )


def _joined(found: Sequence[Cell]) -> Iterator[Cell]:
    """Of each family, protocol and pair of ends, the ports that are the same for neighbouring
    source ports, as few as there can be."""
    groups: dict[tuple[int, str, str, str, str], dict[Span, list[Cell]]] = {}
    for cell in found:
        rest = (cell.packet.family, cell.protocol, cell.detail, cell.source, cell.destination)
        groups.setdefault(rest, {}).setdefault(cell.source_ports, []).append(cell)
    for by_source in groups.values():
        alike: dict[tuple[Span, ...], list[Cell]] = {}
        for one in by_source.values():
            alike.setdefault(_union(cell.ports for cell in one), []).extend(one)
        for spans, cells_alike in alike.items():
            for source_ports in _union(cell.source_ports for cell in cells_alike):
                for ports in spans:
                    yield cells_alike[0]._replace(source_ports=source_ports, ports=ports)


def _union(spans: Iterable[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for first, last in sorted(set(spans)):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def _span_text(ports: Span) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def cells(rules: Sequence[Rule], worlds: Sequence[World], domain: str) -> Iterator[Cell]:
    """One packet for each cell that the rules cut."""
    named = {rule.protocol for rule in rules if rule.protocol >= 0} | {6, 17, ICMP, ICMPV6}
    other = next(number for number in OTHER_PROTOCOLS if number not in named)
    for family in (4, 6):
        sources = list(_ends(rules, "source", worlds, domain, family))
        destinations = list(_ends(rules, "destination", worlds, domain, family))
        for protocol in sorted({*named, other}):
            if protocol == (ICMPV6 if family == 4 else ICMP):
                continue
            speaking = [rule for rule in rules if rule.protocol in (-1, protocol)]
            name = _NAMES.get(protocol, f"protocol {protocol}")
            for kind, source, destination in product(
                _kinds(speaking, protocol), sources, destinations
            ):
                yield Cell(
                    Packet(protocol, source[0], destination[0], *kind.numbers),
                    "other protocols" if protocol == other else name,
                    *(kind.detail, kind.source_ports, kind.ports),
                    *(source[1], destination[1]),
                )


_NAMES = {6: "tcp", 17: "udp", 132: "sctp", ICMP: "icmp", ICMPV6: "icmpv6"}


class _Kind(NamedTuple):
    """Source and destination port (or ICMP type and code) of a cell, and what it stands for."""

    numbers: tuple[int, int]
    detail: str = ""
    source_ports: Span = ALL_PORTS
    ports: Span = ALL_PORTS


def _kinds(rules: Sequence[Rule], protocol: int) -> Iterator[_Kind]:
    if protocol in (ICMP, ICMPV6):
        types = sorted({rule.icmp_type for rule in rules if rule.icmp_type >= 0})
        codes = sorted({rule.icmp_code for rule in rules if rule.icmp_code >= 0})
        for kind in (*types, _NO_TYPE):
            what = f"type {kind}" if kind in types else "other types" if types else ""
            for code in (*codes, _NO_TYPE):
                detail = f"{what} code {code}" if code in codes and kind in types else what
                yield _Kind((kind, code), detail)
    elif protocol in WITH_PORTS:
        for source in _ranges(rule.source_ports for rule in rules):
            usual = EPHEMERAL if source[0] <= EPHEMERAL <= source[1] else source[0]
            for ports in _ranges(rule.destination_ports for rule in rules):
                yield _Kind((usual, ports[0]), "", source, ports)
    else:
        yield _Kind((0, 0))


_NO_TYPE = 256
"""Stands for all types or codes that no rule names."""


def _ranges(spans: Iterable[str]) -> list[Span]:
    """The ranges into which ranges of ports cut all ports."""
    cuts = {0, 0x10000}
    for text in spans:
        first, last = span(text)
        cuts |= {first, last + 1}
    return [(first, following - 1) for first, following in pairwise(sorted(cuts))]


class _End(NamedTuple):
    """What an end of rules stands for: in each world spans of addresses, of one family; or the
    members of groups."""

    name: str
    groups: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]

    @property
    def size(self) -> int:
        return max(sum(last - first + 1 for first, last in spans) for spans in self.spans)


ANY = "any"


def _ends(
    rules: Sequence[Rule], end: str, worlds: Sequence[World], domain: str, family: int
) -> Iterator[tuple[Address, str]]:
    """An address of each set of addresses that the rules tell apart, and what people call it.

    Prefixes cut all addresses into stretches; members of groups are looked at for themselves, and
    what is left of a stretch has no member.
    """
    everything = 1 << (32 if family == 4 else 128)
    ends = [_end(key, worlds, domain, family) for key in dict.fromkeys(_keys(rules, end))]
    cuts = {0, everything}
    for one in ends:
        cuts |= {c for spans in one.spans for first, last in spans for c in (first, last + 1)}
    starts = sorted(cuts)
    stretches = [_Stretch.at(start, ends, everything) for start in starts[:-1]]
    members = _members(ends, worlds, domain, family)
    make = IPv4Address if family == 4 else IPv6Address
    usual = int(make("198.51.100.7" if family == 4 else "2001:db8::7"))
    seen: set[tuple[bool, ...]] = set()
    for stretch, (first, following) in zip(stretches, pairwise(starts), strict=True):
        number = usual if first <= usual < following and usual not in members else first
        while number in members:
            number += 1
        if number < following and stretch.side not in seen:
            seen.add(stretch.side)
            yield make(number), stretch.name
    by_class: dict[tuple[_Stretch, tuple[frozenset[str], ...]], list[str]] = {}
    for number, (text, groups) in sorted(members.items()):
        stretch = stretches[bisect_right(starts, number) - 1]
        by_class.setdefault((stretch, groups), []).append(text)
    alike = Counter(groups for _, groups in by_class)
    for (stretch, groups), texts in by_class.items():
        yield (
            parse_address(texts[0]),
            _members_text(texts, groups, worlds, domain)
            + (f" in {stretch.name}" if alike[groups] > 1 and stretch.name != ANY else ""),
        )


def _keys(rules: Sequence[Rule], end: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    for rule in rules:
        if end == "source":
            yield rule.source, rule.source_groups
        else:
            yield rule.destination, rule.destination_groups


def _end(
    key: tuple[str, tuple[str, ...]], worlds: Sequence[World], domain: str, family: int
) -> _End:
    name, groups = key
    if groups:
        return _End("", groups, tuple(() for _ in worlds))
    spans = []
    for world in worlds:
        router = world.routers.get(domain)
        space = router.prefixes if router is not None else ()
        found = networks(name, family, space, world.gateways(domain))
        spans.append(tuple((int(one.network_address), int(one.broadcast_address)) for one in found))
    return _End(name, (), tuple(spans))


class _Stretch(NamedTuple):
    """Neighbouring addresses that no prefix tells apart: which ends cover them in which world, and
    the name of the narrowest."""

    side: tuple[bool, ...]
    name: str

    @classmethod
    def at(cls, start: int, ends: Sequence[_End], everything: int) -> _Stretch:
        sides = [
            tuple(any(first <= start <= last for first, last in spans) for spans in one.spans)
            for one in ends
        ]
        named = [
            (one.size, one.name)
            for one, side in zip(ends, sides, strict=True)
            if any(side) and one.name and (one.size < everything or one.name in KEYWORDS)
        ]
        name = min(named, default=(0, ANY))[1]
        return cls(tuple(covered for side in sides for covered in side), name)


def _members(
    ends: Sequence[_End], worlds: Sequence[World], domain: str, family: int
) -> dict[int, tuple[str, tuple[frozenset[str], ...]]]:
    """By number, addresses of members of the groups that ends speak of, and of which in each
    world."""
    groups = dict.fromkeys(group for one in ends for group in one.groups)
    found: dict[str, list[set[str]]] = {}
    for number, world in enumerate(worlds):
        for group in groups:
            for text in world.members.get((domain, group), ()):
                if (":" in text) == (family == 6):
                    found.setdefault(text, [set() for _ in worlds])[number].add(group)
    return {
        int(parse_address(text)): (text, tuple(map(frozenset, sets)))
        for text, sets in found.items()
    }


def _members_text(
    texts: Sequence[str],
    groups: Sequence[frozenset[str]],
    worlds: Sequence[World],
    domain: str,
) -> str:
    """Those that always are in the same groups by these; others, who come or go, by name."""
    if len(set(groups)) == 1:
        return " and ".join(f"group {spoken(group)}" for group in sorted(groups[0]))
    names = dict.fromkeys(
        next(filter(None, (world.owner_of(text, domain) for world in worlds)), text)
        for text in texts
    )
    first = ", ".join([*names][:MOST_NEWCOMERS])
    more = len(names) - MOST_NEWCOMERS
    return f"{first} and {more} more" if more > 0 else first
