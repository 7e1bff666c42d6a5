# SPDX-License-Identifier: Apache-2.0
"""What a change of policy means for who may speak: reachability gained and lost, and rules that can
never decide.

Rules cut the space of packets into `cells`, of which one packet tells all. Cells are looked at per
list of rule sets and not per pair of ports: a list that ten thousand ports are under is looked at
once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from isthmus.policy.rows import Rule
from isthmus.policy.rules import ALL_PORTS, KEYWORDS, Level, rank
from isthmus.policy.values import Action, Direction
from isthmus.reach.address_classes import ANY, Span
from isthmus.reach.cells import MOST_STEPS, Cell, TooMany, cells, overlap
from isthmus.reach.rulings import ICMP, ICMPV6
from isthmus.reach.world import World

MOST_COMPARED = 50
"""Changed rules that are compared with every other one of their list, to find those that matter."""


def said(cell: Cell, direction: Direction) -> str:
    """A cell as people say it."""
    ports = "" if cell.ports == ALL_PORTS else _span_text(cell.ports)
    what = " ".join(part for part in (cell.protocol, cell.detail, ports) if part)
    if cell.source_ports != ALL_PORTS:
        what += f" (source port {_span_text(cell.source_ports)})"
    ends = []
    if cell.source != ANY or direction is Direction.IN:
        ends.append(f"from {cell.source}")
    if cell.destination != ANY or direction is Direction.OUT:
        ends.append(f"to {cell.destination}")
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
    before: tuple[World, Level],
    after: tuple[World, Level],
    domain: str,
    direction: Direction,
    *,
    most: int = MOST_STEPS,
) -> Difference:
    """What a list allows after a change and not before, and the other way round.

    Only what some changed rule speaks of is looked at: elsewhere the lists say the same.
    """
    worlds, levels = (before[0], after[0]), (before[1], after[1])
    everywhere = levels[0].allow_by_default != levels[1].allow_by_default
    of_levels = [frozenset(level.rules) for level in levels]
    others = of_levels[0] ^ of_levels[1]
    others |= _meaning_otherwise(of_levels[0] | of_levels[1], worlds, domain)
    rules = sorted(of_levels[0] | of_levels[1], key=rank)
    if not everywhere and len(others) <= MOST_COMPARED:
        rules = [rule for rule in rules if any(map(partial(overlap, rule), others))]
    changed = _bits(rules, others)
    allowing = _bits(rules, {rule for rule in rules if rule.action is Action.ALLOW})
    ours = [_bits(rules, of_level) for of_level in of_levels]
    gained: list[Cell] = []
    lost: list[Cell] = []
    whole = True
    try:
        for cell in cells(rules, worlds, domain, lambda bits: everywhere or bits & changed, most):
            was, now = (
                bool(_first(matched & of_level) & allowing)
                if matched & of_level
                else level.allow_by_default
                for matched, of_level, level in zip(cell.matched, ours, levels, strict=True)
            )
            if now and not was:
                gained.append(cell)
            elif was and not now:
                lost.append(cell)
    except TooMany:
        whole = False
    return Difference(_texts(gained, direction), _texts(lost, direction), whole)


def _first(rules: int) -> int:
    """The one that decides: rules are numbered in the order in which they are looked at."""
    return rules & -rules


def _bits(rules: Sequence[Rule], those: Collection[Rule]) -> int:
    return sum(1 << place for place, rule in enumerate(rules) if rule in those)


def _meaning_otherwise(
    rules: Iterable[Rule], worlds: tuple[World, World], domain: str
) -> frozenset[Rule]:
    """Rules whose words or groups stand for something else in one world than in the other."""
    words = _space(worlds[0], domain) != _space(worlds[1], domain)
    groups: dict[str, bool] = {}

    def is_otherwise(group: str) -> bool:
        if group not in groups:
            one, other = (world.members(domain, group) for world in worlds)
            groups[group] = one != other
        return groups[group]

    return frozenset(
        rule
        for rule in rules
        if (words and not KEYWORDS.isdisjoint((rule.source, rule.destination)))
        or any(map(is_otherwise, (*rule.source_groups, *rule.destination_groups)))
    )


def _space(world: World, domain: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What keywords are made of."""
    return world.prefixes(domain), tuple(world.gateways(domain))


def shadowed(world: World, level: Level, domain: str) -> list[Shadowed]:
    """Rules of a list that never decide, and which decide instead."""
    rules = level.rules
    undecided = (1 << len(rules)) - 1
    instead: dict[int, int] = {}
    """By the rule that decides in some cell: those that match there too."""

    def is_undecided(bits: int) -> int:
        return bits & undecided

    try:
        for cell in cells(rules, (world,), domain, is_undecided):
            matched = cell.matched[0]
            first = _first(matched)
            undecided &= ~first
            instead[first] = instead.get(first, 0) | matched ^ first
    except TooMany:
        return []
    found = []
    for place, rule in enumerate(rules):
        bit = 1 << place
        by = [first for first, others in instead.items() if others & bit]
        if undecided & bit and by:
            names = tuple(rules[first.bit_length() - 1] for first in by)
            found.append(Shadowed(rule, names))
    return found


def _texts(found: Sequence[Cell], direction: Direction) -> tuple[str, ...]:
    """Cells as people say them: neighbouring ranges are one, and families that say the same."""
    families: dict[str, set[int]] = {}
    for cell in _joined(found):
        families.setdefault(said(cell, direction), set()).add(cell.packet.family)
        if cell.source != ANY or cell.destination != ANY or cell.packet.protocol in (ICMP, ICMPV6):
            families[said(cell, direction)] |= {4, 6}  # it goes without saying
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
