# SPDX-License-Identifier: Apache-2.0
"""The cells into which rules cut the space of packets: by address family, protocol, ranges of ports
or ICMP types, and sets of addresses. Within a cell every rule says the same of all packets, in each
of some worlds, so one packet of each cell tells all.

Sets of rules are whole numbers with a bit for each rule. A part of the space is cut further only by
the rules that may match in it, and only where somebody wants to know: so the cost follows what the
wanted rules overlap with, and not the length of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network
from typing import NamedTuple

from isthmus.policy.rows import Rule
from isthmus.policy.rules import (
    ALL_PORTS,
    ANY_PROTOCOL,
    KEYWORDS,
    protocols,
    span,
    speaks_of,
)
from isthmus.policy.values import PortRange
from isthmus.reach.address_classes import AddressClass, AddressClasses, EndKey, Span, swept
from isthmus.reach.rulings import ICMP, ICMPV6, WITH_PORTS, Packet
from isthmus.reach.world import World

MOST_STEPS = 100_000
"""Cells, and ends of rules looked at to find them: about a second. Nobody waits longer."""

OTHER_PROTOCOLS = range(253, -1, -1)
"""The first that no rule names stands for all of these. RFC 3692: 253 is for experiments."""

EPHEMERAL = 49152

Wanted = Callable[[int], object]
"""Whether a part of the space in which no other rules than these can match is of interest."""


class Cell(NamedTuple):
    """Packets of which all rules say the same; the texts say which they are. `detail` is of what
    has no ports. `matched` are the rules that match, in each world."""

    packet: Packet
    protocol: str
    detail: str
    source_ports: Span
    ports: Span
    source: str
    destination: str
    matched: tuple[int, ...]


class TooMany(Exception):
    """Looking at all cells would take longer than anybody waits."""


def cells(
    rules: Sequence[Rule],
    worlds: Sequence[World],
    domain: str,
    wanted: Wanted = lambda _rules: True,
    most: int = MOST_STEPS,
) -> Iterator[Cell]:
    """One packet for each cell that is `wanted`; bit n of a set is ``rules[n]``. Raises TooMany
    when that takes more than `most` steps."""
    return _Cutting(rules, worlds, domain, wanted, most).cells()


def overlap(one: Rule, other: Rule) -> bool:
    """Whether some packet may match both: False is certain, True is not."""
    if 0 not in (one.family, other.family) and one.family != other.family:
        return False
    ours, theirs = set(protocols(one)), set(protocols(other))
    is_named = ANY_PROTOCOL not in ours | theirs
    if is_named and not ours & theirs:
        return False
    if is_named and ours & theirs <= WITH_PORTS:
        for a, b in (
            (one.source_ports, other.source_ports),
            (one.destination_ports, other.destination_ports),
        ):
            (first, last), (start, end) = span(a), span(b)
            if last < start or end < first:
                return False
    return _prefixes_meet(one.source, other.source) and _prefixes_meet(
        one.destination, other.destination
    )


def _prefixes_meet(one: str, other: str) -> bool:
    """Words and groups, whose end is empty, may meet anything."""
    if not one or not other or not KEYWORDS.isdisjoint((one, other)):
        return True
    a, b = ip_network(one), ip_network(other)
    return a.version == b.version and a.overlaps(b)


class _Kind(NamedTuple):
    """Source and destination port (or ICMP type and code) of a cell, and what it stands for; and
    the rules that can match there."""

    numbers: tuple[int, int]
    rules: int
    detail: str = ""
    source_ports: Span = ALL_PORTS
    ports: Span = ALL_PORTS


_NAMES = {6: "tcp", 17: "udp", 132: "sctp", ICMP: "icmp", ICMPV6: "icmpv6"}

_NO_TYPE = 256
"""Stands for all types or codes that no rule names."""


class _Cutting:
    """One question: what was found out already is kept."""

    def __init__(
        self,
        rules: Sequence[Rule],
        worlds: Sequence[World],
        domain: str,
        wanted: Wanted,
        most: int,
    ) -> None:
        self._rules = rules
        self._wanted = wanted
        self._addresses = AddressClasses(worlds, domain)
        self._found: dict[tuple[str, int, int], list[AddressClass]] = {}
        self._left = most

    def cells(self) -> Iterator[Cell]:
        numbers = {rule.protocol for rule in self._rules if rule.protocol >= 0}
        named = numbers | {6, 17, ICMP, ICMPV6}
        other = next(number for number in OTHER_PROTOCOLS if number not in named)
        for family in (4, 6):
            for protocol in sorted({*named, other}):
                if protocol == (ICMPV6 if family == 4 else ICMP):
                    continue
                speaking = 0
                for number, rule in enumerate(self._rules):
                    if rule.family in (0, family) and speaks_of(rule, protocol):
                        speaking |= 1 << number
                name = _NAMES.get(protocol, f"protocol {protocol}")
                if protocol == other:
                    name = "other protocols"
                for kind in self._kinds(speaking, protocol):
                    yield from self._of_kind(family, protocol, name, kind)

    def _of_kind(self, family: int, protocol: int, name: str, kind: _Kind) -> Iterator[Cell]:
        for source in self._ends("source", family, kind.rules):
            possible = 0
            for rules in source.rules:
                possible |= rules
            if not self._wanted(possible):
                continue
            for destination in self._ends("destination", family, possible):
                matched = tuple(a & b for a, b in zip(source.rules, destination.rules, strict=True))
                self._step()
                if any(map(self._wanted, matched)):
                    yield Cell(
                        Packet(protocol, source.address, destination.address, *kind.numbers),
                        *(name, kind.detail, kind.source_ports, kind.ports),
                        *(source.name, destination.name, matched),
                    )

    def _step(self, steps: int = 1) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooMany

    # -- ports and types ---------------------------------------------------------------------------

    def _kinds(self, rules: int, protocol: int) -> Iterator[_Kind]:
        if not self._wanted(rules):
            return
        if protocol in (ICMP, ICMPV6):
            yield from self._types(rules)
        elif protocol in WITH_PORTS:
            for source, speaking in self._ranges(rules, lambda rule: rule.source_ports):
                usual = EPHEMERAL if source[0] <= EPHEMERAL <= source[1] else source[0]
                for ports, both in self._ranges(speaking, lambda rule: rule.destination_ports):
                    yield _Kind((usual, ports[0]), both, "", source, ports)
        else:
            yield _Kind((0, 0), rules)

    def _types(self, rules: int) -> Iterator[_Kind]:
        speaking = [rule for _, rule in self._among(rules)]
        types = sorted({rule.icmp_type for rule in speaking if rule.icmp_type >= 0})
        codes = sorted({rule.icmp_code for rule in speaking if rule.icmp_code >= 0})
        for kind in (*types, _NO_TYPE):
            what = f"type {kind}" if kind in types else "other types" if types else ""
            for code in (*codes, _NO_TYPE):
                self._step(len(speaking))
                found = 0
                for bit, rule in self._among(rules):
                    if rule.icmp_type in (-1, kind) and rule.icmp_code in (-1, code):
                        found |= bit
                if self._wanted(found):
                    detail = f"{what} code {code}" if code in codes and kind in types else what
                    yield _Kind((kind, code), found, detail)

    def _ranges(
        self, rules: int, ports: Callable[[Rule], PortRange | None]
    ) -> Iterator[tuple[Span, int]]:
        """The wanted ranges into which rules cut all ports, each with the rules that speak of
        it."""
        spans = [(*span(ports(rule)), bit) for bit, rule in self._among(rules)]
        for first, last, found in swept(spans, 0x10000):
            if self._wanted(found):
                yield (first, last), found

    def _among(self, rules: int) -> Iterator[tuple[int, Rule]]:
        while rules:
            bit = rules & -rules
            rules ^= bit
            yield bit, self._rules[bit.bit_length() - 1]

    # -- addresses ---------------------------------------------------------------------------------

    def _ends(self, end: str, family: int, rules: int) -> list[AddressClass]:
        """The sets of addresses that an end of some rules tells apart."""
        found = self._found.get((end, family, rules))
        if found is None:
            by_end = self._by_end(end, rules)
            self._step(len(by_end))
            found = self._found[end, family, rules] = list(self._addresses.of(by_end, family))
        return found

    def _by_end(self, end: str, rules: int) -> dict[EndKey, int]:
        found: dict[EndKey, int] = {}
        for bit, rule in self._among(rules):
            if end == "source":
                key = rule.source, rule.source_groups
            else:
                key = rule.destination, rule.destination_groups
            found[key] = found.get(key, 0) | bit
        return found
