# SPDX-License-Identifier: Apache-2.0
"""What a change would do before it is made: ports touched, reachability gained and lost by tenant,
rules that would never decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from isthmus.policy.rows import Port, Row, Rule, RuleSet
from isthmus.policy.rules import Level, merged
from isthmus.reach.differences import difference, shadowed
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
    direction: str
    sets: tuple[str, ...]


class Effect(NamedTuple):
    """What becomes of the ports under one list of rule sets."""

    domain: str
    direction: str
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
    effects = tuple(sorted(_effects(before, after, lists, both)))
    reruled = sorted({port for effect in effects for port in effect.ports})
    return Report(
        tuple(sorted(added)),
        tuple(sorted(removed)),
        tuple(sorted(moved)),
        tuple(reruled),
        effects,
        tuple(_shadowed(after, lists)),
        len(changes),
    )


def lists_of(world: World, port: Port) -> Iterator[tuple[str, ListKey]]:
    """The lists that hold for a port's addresses, with their level."""
    domain = world.domains.get(port.segment, "")
    sets: dict[tuple[str, str], set[str]] = defaultdict(set)
    for address in port.addresses:
        for entry in port.rule_sets:
            level, where, name = entry.split(" ", 2)
            if where in ("*", address):
                sets[level, address].add(name)
    for (level, _), names in sets.items():
        for direction in ("in", "out"):
            yield level, ListKey(domain, direction, tuple(sorted(names)))


def _touched_lists(
    before: World, after: World, changes: Sequence[RowChange]
) -> dict[ListKey, set[str]]:
    """Lists whose rules change, or whose groups' members do, with the ports that are under them
    before and after."""
    sets: set[str] = set()
    groups: set[str] = set()
    for old, new in changes:
        row = new or old
        if isinstance(row, RuleSet):
            sets.add(row.id)
        elif isinstance(row, Rule):
            sets.add(row.rule_set)
        elif isinstance(row, Port):
            was = set(old.groups) if isinstance(old, Port) else set()
            now = set(new.groups) if isinstance(new, Port) else set()
            groups |= was ^ now
    for world in (before, after):
        for name, rules in world.rules_by_set.items():
            if any(groups & {*rule.source_groups, *rule.destination_groups} for rule in rules):
                sets.add(name)
    under, later = _ports_under(before, sets), _ports_under(after, sets)
    return {key: both for key, ports in later.items() if (both := ports & under.get(key, set()))}


def _ports_under(world: World, sets: set[str]) -> dict[ListKey, set[str]]:
    """Ports by the lists that hold for them and have one of `sets`."""
    found: dict[ListKey, set[str]] = defaultdict(set)
    for port in world.ports.values():
        if any(entry.rpartition(" ")[2] in sets for entry in port.rule_sets):
            for _, key in lists_of(world, port):
                if sets & set(key.sets):
                    found[key].add(port.id)
    return found


def level_of(world: World, key: ListKey) -> Level:
    """What a list says; nothing passes where a set of it is not there."""
    known = [world.rule_sets[name] for name in key.sets if name in world.rule_sets]
    if len(known) < len(key.sets):
        return Level((), allow_by_default=False)
    rules = [rule for name in key.sets for rule in world.rules_by_set.get(name, ())]
    return merged(known, rules, key.direction)


OPEN = Level((), allow_by_default=True)


def _effects(
    before: World,
    after: World,
    lists: dict[ListKey, set[str]],
    both: Iterable[tuple[Port, Port]],
) -> Iterator[Effect]:
    for key, ports in lists.items():
        yield from _effect(before, after, key, key, ports)
    # Ports that come under other lists than before.
    exchanged: dict[tuple[ListKey, ListKey], set[str]] = defaultdict(set)
    for old, new in both:
        if old.rule_sets == new.rule_sets:
            continue
        was, now = (dict(_by_place(world, one)) for world, one in ((before, old), (after, new)))
        for place in {*was, *now}:
            domain = before.domains.get(old.segment, "")
            nothing = ListKey(domain, place[1], ())
            pair = (was.get(place, nothing), now.get(place, nothing))
            if pair[0] != pair[1]:
                exchanged[pair].add(new.id)
    for (one, other), ports in exchanged.items():
        yield from _effect(before, after, one, other, ports)


def _by_place(world: World, port: Port) -> Iterator[tuple[tuple[str, str], ListKey]]:
    for level, key in lists_of(world, port):
        yield (level, key.direction), key


def _effect(
    before: World, after: World, was: ListKey, now: ListKey, ports: set[str]
) -> Iterator[Effect]:
    one = level_of(before, was) if was.sets else OPEN
    other = level_of(after, now) if now.sets else OPEN
    found = difference((before, one), (after, other), now.domain, now.direction)
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


def _shadowed(after: World, lists: dict[ListKey, set[str]]) -> Iterator[str]:
    seen: dict[str, None] = {}
    for key in sorted(lists):
        for found in shadowed(after, level_of(after, key), key.domain):
            names = ", ".join(f"{rule.rule_set}/{rule.id}" for rule in found.by)
            seen[f"{found.rule.rule_set}/{found.rule.id} never decides: {names} does before it"] = (
                None
            )
    yield from seen
