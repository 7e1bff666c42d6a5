# SPDX-License-Identifier: Apache-2.0
"""The sets of addresses that ends of rules tell apart, by routing domain: prefixes, words like
VIRTUALNETWORK, and members of groups; and what people call them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import NamedTuple

from isthmus.addresses import Address, parse_address
from isthmus.policy.rules import KEYWORDS, Network, networks
from isthmus.reach.world import World, spoken

MOST_NEWCOMERS = 5
"""Of the members that a group gains or loses, how many are called by name."""

ANY = "any"

Span = tuple[int, int]
"""First and last."""

EndKey = tuple[str, tuple[str, ...]]
"""The prefix or word of an end, and its groups."""


class AddressClass(NamedTuple):
    """Addresses of which all ends say the same: one of them, what people call them, and the rules
    whose end they are, in each world."""

    address: Address
    name: str
    rules: tuple[int, ...]


class _End(NamedTuple):
    """What an end of rules stands for: in each world spans of addresses, of one family; or the
    members of groups."""

    name: str
    groups: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    rules: int

    @property
    def size(self) -> int:
        return max(sum(last - first + 1 for first, last in spans) for spans in self.spans)


class AddressClasses:
    """What ends mean in some worlds; what was found out already is kept."""

    def __init__(self, worlds: Sequence[World], domain: str) -> None:
        self._worlds = worlds
        self._domain = domain
        self._routers = [world.gateways(domain) for world in worlds]
        self._spans: dict[tuple[str, int], tuple[tuple[Span, ...], ...]] = {}

    def of(self, rules_by_end: Mapping[EndKey, int], family: int) -> Iterator[AddressClass]:
        """One address of each set of addresses of a family that the ends tell apart.

        Prefixes cut all addresses into stretches; members of groups are looked at for themselves,
        and what is left of a stretch has no member.
        """
        none: tuple[tuple[Span, ...], ...] = tuple(() for _ in self._worlds)
        ends = [
            _End("", groups, none, rules)
            if groups
            else _End(name, (), self._spans_of(name, family), rules)
            for (name, groups), rules in rules_by_end.items()
        ]
        # the narrowest first: it names what it covers
        yield from self._cut(sorted(ends, key=lambda e: (e.size, e.name, e.groups)), family)

    def _spans_of(self, name: str, family: int) -> tuple[tuple[Span, ...], ...]:
        found = self._spans.get((name, family))
        if found is None:
            per_world = []
            for world, routers in zip(self._worlds, self._routers, strict=True):
                space = world.prefixes(self._domain)
                per_world.append(_merged(networks(name, family, space, routers)))
            found = self._spans[name, family] = tuple(per_world)
        return found

    def _cut(self, ends: Sequence[_End], family: int) -> Iterator[AddressClass]:
        everything = 1 << (32 if family == 4 else 128)
        nameable = [
            one.name if one.size < everything or one.name in KEYWORDS else "" for one in ends
        ]
        stretches = _stretches(ends, len(self._worlds), everything)
        members = self._members(ends, family)
        make = IPv4Address if family == 4 else IPv6Address
        usual = int(make("198.51.100.7" if family == 4 else "2001:db8::7"))
        seen: set[tuple[int, ...]] = set()
        for first, last, covering in stretches:
            if covering in seen:
                continue
            number = usual if first <= usual <= last and usual not in members else first
            while number in members:
                number += 1
            if number <= last:
                seen.add(covering)
                name = _narrowest(covering, nameable)
                yield AddressClass(make(number), name, _rules_of(ends, covering))
        yield from self._of_members(ends, members, stretches, nameable)

    def _of_members(
        self,
        ends: Sequence[_End],
        members: Mapping[int, tuple[str, tuple[frozenset[str], ...]]],
        stretches: Sequence[tuple[int, int, tuple[int, ...]]],
        nameable: Sequence[str],
    ) -> Iterator[AddressClass]:
        starts = [first for first, _, _ in stretches]
        by_class: dict[tuple[tuple[int, ...], tuple[frozenset[str], ...]], list[str]] = {}
        for number, (text, groups) in sorted(members.items()):
            covering = stretches[bisect_right(starts, number) - 1][2]
            by_class.setdefault((covering, groups), []).append(text)
        alike = Counter(groups for _, groups in by_class)
        for (covering, groups), texts in by_class.items():
            name = _narrowest(covering, nameable)
            where = f" in {name}" if alike[groups] > 1 and name != ANY else ""
            of_prefixes = _rules_of(ends, covering)
            of_groups = (
                sum(one.rules for one in ends if not theirs.isdisjoint(one.groups))
                for theirs in groups
            )
            yield AddressClass(
                parse_address(texts[0]),
                self._members_text(texts, groups) + where,
                tuple(a | b for a, b in zip(of_prefixes, of_groups, strict=True)),
            )

    def _members(
        self, ends: Sequence[_End], family: int
    ) -> dict[int, tuple[str, tuple[frozenset[str], ...]]]:
        """By number, addresses of members of the groups that ends speak of, and of which in each
        world."""
        groups = dict.fromkeys(group for one in ends for group in one.groups)
        found: dict[str, list[set[str]]] = {}
        for number, world in enumerate(self._worlds):
            for group in groups:
                for text in world.members(self._domain, group):
                    if (":" in text) == (family == 6):
                        found.setdefault(text, [set() for _ in self._worlds])[number].add(group)
        return {
            int(parse_address(text)): (text, tuple(map(frozenset, sets)))
            for text, sets in found.items()
        }

    def _members_text(self, texts: Sequence[str], groups: Sequence[frozenset[str]]) -> str:
        """Those that always are in the same groups by these; others, who come or go, by name."""
        if len(set(groups)) == 1:
            return " and ".join(f"group {spoken(group)}" for group in sorted(groups[0]))
        names = dict.fromkeys(
            next(filter(None, (world.owner_of(text, self._domain) for world in self._worlds)), text)
            for text in texts
        )
        first = ", ".join([*names][:MOST_NEWCOMERS])
        more = len(names) - MOST_NEWCOMERS
        return f"{first} and {more} more" if more > 0 else first


def swept(spans: Iterable[tuple[int, int, int]], end: int) -> Iterator[tuple[int, int, int]]:
    """0 to `end` (not included), cut where a span begins or ends; each piece with the bits of the
    spans that cover it. Spans of one bit do not overlap."""
    turns: dict[int, int] = {0: 0, end: 0}
    for first, last, bit in spans:
        turns[first] = turns.get(first, 0) ^ bit
        turns[last + 1] = turns.get(last + 1, 0) ^ bit
    places = sorted(turns)
    covering = 0
    for first, following in pairwise(places):
        covering ^= turns[first]
        yield first, following - 1, covering


def _stretches(
    ends: Sequence[_End], n_worlds: int, everything: int
) -> list[tuple[int, int, tuple[int, ...]]]:
    """First and last address of each stretch, and which ends cover it in which world."""
    spans = [
        (first, last, 1 << (world * len(ends) + number))
        for number, one in enumerate(ends)
        for world, of_world in enumerate(one.spans)
        for first, last in of_world
    ]
    mask = (1 << len(ends)) - 1
    return [
        (first, last, tuple(all_ >> (n * len(ends)) & mask for n in range(n_worlds)))
        for first, last, all_ in swept(spans, everything)
    ]


def _rules_of(ends: Sequence[_End], covering: Sequence[int]) -> tuple[int, ...]:
    """The rules of the ends that cover a stretch, in each world."""
    found = []
    for one in covering:
        rules = 0
        while one:
            bit = one & -one
            one ^= bit
            rules |= ends[bit.bit_length() - 1].rules
        found.append(rules)
    return tuple(found)


def _narrowest(covering: Sequence[int], nameable: Sequence[str]) -> str:
    """The name of the narrowest end that covers a stretch in some world; ends are sorted."""
    together = 0
    for one in covering:
        together |= one
    while together:
        bit = together & -together
        together ^= bit
        name = nameable[bit.bit_length() - 1]
        if name:
            return name
    return ANY


def _merged(found: Iterable[Network]) -> tuple[Span, ...]:
    """Prefixes, of which one may be inside another, as spans that do not overlap."""
    spans: list[Span] = []
    for one in sorted(found, key=lambda one: int(one.network_address)):
        first, last = int(one.network_address), int(one.broadcast_address)
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(spans[-1][1], last)
        else:
            spans.append((first, last))
    return tuple(spans)
