# SPDX-License-Identifier: Apache-2.0
"""What a change would do before it is made: ports touched, reachability gained and lost by tenant,
rules that would never decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet
from isthmus.policy.rules import KEYWORDS, Level, merged
from isthmus.policy.values import Direction, RuleLevel
from isthmus.reach.differences import Difference, Shadowed, difference, shadowed
from isthmus.reach.world import World


class RowChange(NamedTuple):
    """A row of policy before and after; None is absent."""

    old: Row | None
    new: Row | None


MOST_NAMES = 20
"""Of ports and rules that a report names."""


class ListKey(NamedTuple):
    """Rule sets in one direction within one routing domain."""

    domain: str
    direction: Direction
    sets: tuple[str, ...]


class Effect(NamedTuple):
    """What becomes of the ports under one list of rule sets."""

    domain: str
    direction: Direction
    sets: tuple[str, ...]
    ports: tuple[str, ...]
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    whole: bool


class Report(NamedTuple):
    """What a change comes to. `moved` have other addresses, segments or hosts; `reruled` are under
    other lists, or under lists that say something else."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]
    reruled: tuple[str, ...]
    effects: tuple[Effect, ...]
    shadowed: tuple[str, ...]
    rows: int


def plan(before: World, changes: Sequence[RowChange]) -> Report:
    """`changes` are those of the policy's rows."""
    after = before.changed(changes)
    added = [new.id for old, new in changes if old is None and isinstance(new, Port)]
    removed = [old.id for old, new in changes if new is None and isinstance(old, Port)]
    both = [(o, n) for o, n in changes if isinstance(o, Port) and isinstance(n, Port)]
    moved = [
        new.id
        for old, new in both
        if (old.segment, old.mac, old.addresses, old.hosts, old.pairs)
        != (new.segment, new.mac, new.addresses, new.hosts, new.pairs)
    ]
    lists = _touched_lists(before, after, changes)
    said = _Said(before, after)
    effects = tuple(sorted(_effects(said, lists, both)))
    reruled = sorted({port for effect in effects for port in effect.ports})
    return Report(
        tuple(sorted(added)),
        tuple(sorted(removed)),
        tuple(sorted(moved)),
        tuple(reruled),
        effects,
        tuple(_shadowed(said, lists)),
        len(changes),
    )


class Place(NamedTuple):
    """Where rule sets hold."""

    level: RuleLevel
    address: str
    direction: Direction


def lists_of(world: World, port: Port) -> Iterator[tuple[Place, ListKey]]:
    """The lists that hold for a port's addresses, and where."""
    domain = world.domain_of(port.segment)
    sets: dict[tuple[RuleLevel, str], set[str]] = defaultdict(set)
    for address in port.addresses:
        for one in port.rule_sets:
            if one.holds_for(address):
                sets[one.level, address].add(one.rule_set)
    for (level, address), names in sets.items():
        for direction in Direction:
            key = ListKey(domain, direction, tuple(sorted(names)))
            yield Place(level, address, direction), key


class _Touched:
    """What says something else than before: rule sets, and in which domains keywords do."""

    def __init__(self, before: World, after: World) -> None:
        self.worlds = before, after
        self.sets: set[str] = set()
        self.domains: set[str] = set()
        self._speaking: dict[str, bool] = {}

    def includes(self, key: ListKey) -> bool:
        if not self.sets.isdisjoint(key.sets):
            return True
        return key.domain in self.domains and any(map(self._speaks, key.sets))

    def _speaks(self, rule_set: str) -> bool:
        """Whether it has keywords."""
        if rule_set not in self._speaking:
            self._speaking[rule_set] = any(
                not KEYWORDS.isdisjoint((rule.source, rule.destination))
                for world in self.worlds
                for rule in world.rules_by_set.get(rule_set)
            )
        return self._speaking[rule_set]

    def ports(self, world: World) -> Iterator[Port]:
        """Those that may be under what it includes, each once."""
        names = {name for one in self.sets for name in world.ports_by_rule_set.get(one)}
        for domain in self.domains:
            for segment in world.segments_of(domain):
                names.update(world.ports_by_segment.get(segment))
        return (world.ports[name] for name in sorted(names))


def _touched(before: World, after: World, changes: Sequence[RowChange]) -> _Touched:
    found = _Touched(before, after)
    groups: set[str] = set()
    for old, new in changes:
        row = new or old
        match row:
            case RuleSet():
                found.sets.add(row.id)
            case Rule():
                found.sets.add(row.rule_set)
            case Router():
                found.domains |= {world.domain_of_router(row.id) for world in found.worlds}
            case RouterPort():
                found.domains |= {world.domain_of_router(row.router) for world in found.worlds}
            case Port():
                was, now = _memberships(before, old), _memberships(after, new)
                groups |= {group for group, _, _ in was ^ now}
    for world in found.worlds:
        for group in groups:
            found.sets |= {rule.rule_set for rule in world.rules_by_group.get(group)}
    return found


def _memberships(world: World, row: Row | None) -> set[tuple[str, str, str]]:
    """Groups, domains and addresses: what a port is to rules that speak of groups."""
    if not isinstance(row, Port):
        return set()
    domain = world.domain_of(row.segment)
    return {(group, domain, address) for group in row.groups for address in row.addresses}


def _touched_lists(
    before: World, after: World, changes: Sequence[RowChange]
) -> dict[ListKey, set[str]]:
    """Lists whose rules change, or what their words stand for, with the ports that are under them
    before and after; or before or after, for ports that go or come."""
    touched = _touched(before, after, changes)
    found: dict[ListKey, set[str]] = defaultdict(set)
    for world, other in ((before, after), (after, before)):
        for port in touched.ports(world):
            keys = {key for _, key in lists_of(world, port) if touched.includes(key)}
            then = other.ports.get(port.id)
            if keys and then is not None and then is not port:
                keys &= {key for _, key in lists_of(other, then)}
            for key in keys:
                found[key].add(port.id)
    return found


def level_of(world: World, key: ListKey) -> Level:
    """What a list says; nothing passes where a set of it is not there."""
    known = [world.rule_sets[name] for name in key.sets if name in world.rule_sets]
    if len(known) < len(key.sets):
        return Level((), allow_by_default=False)
    rules = [rule for name in key.sets for rule in world.rules_by_set.get(name)]
    return merged(known, rules, key.direction)


OPEN = Level((), allow_by_default=True)


class _Said:
    """What lists say, each looked at once: of a list without words and groups it is the same in
    every routing domain."""

    def __init__(self, before: World, after: World) -> None:
        self.before = before
        self.after = after
        self._levels: dict[tuple[bool, ListKey], Level] = {}
        self._differences: dict[tuple[ListKey, ListKey], Difference] = {}
        self._shadowed: dict[ListKey, list[Shadowed]] = {}

    def difference(self, was: ListKey, now: ListKey) -> Difference:
        one, other = self._level(was, is_after=False), self._level(now, is_after=True)
        key = was, now
        if _is_alike_everywhere(one) and _is_alike_everywhere(other):
            key = was._replace(domain=""), now._replace(domain="")
        if key not in self._differences:
            worlds = (self.before, one), (self.after, other)
            self._differences[key] = difference(*worlds, now.domain, now.direction)
        return self._differences[key]

    def shadowed(self, key: ListKey) -> list[Shadowed]:
        level = self._level(key, is_after=True)
        place = key._replace(domain="") if _is_alike_everywhere(level) else key
        if place not in self._shadowed:
            self._shadowed[place] = shadowed(self.after, level, key.domain)
        return self._shadowed[place]

    def _level(self, key: ListKey, *, is_after: bool) -> Level:
        if not key.sets:
            return OPEN
        place = is_after, key._replace(domain="")
        if place not in self._levels:
            self._levels[place] = level_of(self.after if is_after else self.before, key)
        return self._levels[place]


def _is_alike_everywhere(level: Level) -> bool:
    return not any(
        rule.source_groups
        or rule.destination_groups
        or not KEYWORDS.isdisjoint((rule.source, rule.destination))
        for rule in level.rules
    )


def _effects(
    said: _Said, lists: dict[ListKey, set[str]], both: Iterable[tuple[Port, Port]]
) -> Iterator[Effect]:
    before, after = said.before, said.after
    for key, ports in lists.items():
        yield from _effect(said, key, key, ports)
    # Ports that come under other lists than before.
    exchanged: dict[tuple[ListKey, ListKey], set[str]] = defaultdict(set)
    for old, new in both:
        if old.rule_sets == new.rule_sets:
            continue
        was, now = (dict(lists_of(world, one)) for world, one in ((before, old), (after, new)))
        kept = {*old.addresses} & {*new.addresses}
        for place in {*was, *now}:
            if place.address not in kept:
                continue
            domain = before.domain_of(old.segment)
            nothing = ListKey(domain, place.direction, ())
            pair = (was.get(place, nothing), now.get(place, nothing))
            if pair[0] != pair[1]:
                exchanged[pair].add(new.id)
    for (one, other), ports in exchanged.items():
        yield from _effect(said, one, other, ports)


def _effect(said: _Said, was: ListKey, now: ListKey, ports: set[str]) -> Iterator[Effect]:
    found = said.difference(was, now)
    if found.gained or found.lost or not found.whole:
        yield Effect(
            now.domain,
            now.direction,
            now.sets or was.sets,
            tuple(sorted(ports)),
            found.gained,
            found.lost,
            found.whole,
        )


def _shadowed(said: _Said, lists: dict[ListKey, set[str]]) -> Iterator[str]:
    seen: dict[str, None] = {}
    for key in sorted(lists):
        for found in said.shadowed(key):
            names = ", ".join(f"{rule.rule_set}/{rule.id}" for rule in found.by)
            seen[f"{found.rule.rule_set}/{found.rule.id} never decides: {names} does before it"] = (
                None
            )
    yield from seen
