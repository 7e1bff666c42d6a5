# SPDX-License-Identifier: Apache-2.0
"""Lists of rules: which rule sets make one, its rules in order, its number, and why one cannot be
enforced.

A *profile* is a list of rule sets in one direction within one routing domain; ports under the same
lists share it. Profiles that let everything pass have the number 0. Where any rule of a filter is
stateless, its profiles are *plain*: they are looked at on the packet itself as well
(docs/design/0002-stateless-rules-are-looked-at-first.md).

Numbers are assigned by the agent and kept on the bridge (`Wanted`, `Assigned`). What has none yet,
or cannot be expressed, lets nothing pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.policy.joined import joined
from isthmus.policy.rows import Rule, RuleSet
from isthmus.policy.rules import CLOSED, Level, merged
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs.domains import called
from isthmus.switches.ovs.facts import Assigned, Refused, Wanted, Whole
from isthmus.switches.ovs.groups import ENDS, PLAIN_ENDS, GroupUse
from isthmus.switches.ovs.pipeline import MOST_GROUPS

PROFILE_NUMBERS = "profile"

HIGHEST_NUMBER = 0xFFFE

_PLAIN = "plain"
"""Before the text of a plain profile."""


class ProfileKey(NamedTuple):
    """Which profile: `sets` are names of rule sets; `plain`: a rule of a filter that it is in is
    stateless."""

    domain: int
    direction: Direction
    sets: tuple[str, ...]
    plain: bool

    @property
    def text(self) -> str:
        """For cookies, and for the bridge (`number_names`)."""
        words = (str(self.domain), self.direction, *self.sets)
        return joined(_PLAIN, *words) if self.plain else joined(*words)

    def __str__(self) -> str:
        return self.text


class Profile(NamedTuple):
    """A list of rule sets, and the routers of its domain, whose addresses rules call by words."""

    key: ProfileKey
    routers: tuple[str, ...]

    @property
    def domain(self) -> int:
        return self.key.domain

    @property
    def direction(self) -> Direction:
        return self.key.direction

    @property
    def sets(self) -> tuple[str, ...]:
        return self.key.sets

    @property
    def plain(self) -> bool:
        return self.key.plain


class StatelessSet(NamedTuple):
    """That a rule set allows something without a connection."""

    name: str


class Compiled(NamedTuple):
    """A profile with its rules. `unknown` are rule sets that this host has not read; `number` is
    None until there is one, 0 if everything passes."""

    profile: Profile
    level: Level
    number: int | None
    unknown: tuple[str, ...]

    @property
    def speaks_of_groups(self) -> bool:
        return any(rule.source_groups or rule.destination_groups for rule in self.level.rules)


def enforced(compiled: Compiled, read: Read) -> Level:
    """What its flows say: where they cannot say what its rules do, nothing passes."""
    trouble = read.get(Inexpressible, compiled.profile.key)
    return compiled.level if trouble is None else CLOSED


class Inexpressible(NamedTuple):
    """Why a profile cannot be enforced as it is; it lets nothing pass."""

    profile: ProfileKey
    detail: str


def _set_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, Rule)
    return (row.rule_set,)


RULES_BY_SET = Index(Rule, "rule_set", _set_of)


def stateless_set(found: RuleSet, read: Read) -> Iterator[Item]:
    """Over RuleSet: whether a rule of it, in either direction, is stateless."""
    rules = (read.get(Rule, key) for key in read.find(RULES_BY_SET, found.id))
    if any(rule.stateless and rule.action is Action.ALLOW for rule in rules if rule is not None):
        yield Item(StatelessSet, found.id, StatelessSet(found.id))


def compile_profile(profile: Profile, read: Read) -> Iterator[Item]:
    """Over Profile: its rules in order, its number, and the groups that they speak of."""
    sets, rules, unknown = [], [], []
    for name in profile.sets:
        found = read.get(RuleSet, name)
        if found is None:
            unknown.append(name)
            continue
        sets.append(found)
        for key in read.find(RULES_BY_SET, name):
            rule = read.get(Rule, key)
            if rule is not None:
                rules.append(rule)
    if unknown:
        level = CLOSED
        yield _inexpressible(profile, f"no rule set is called {', '.join(unknown)}")
    else:
        level = merged(sets, rules, profile.direction)
    refused = read.get(Refused, Whole("list", profile.key))
    if refused is not None:
        yield _inexpressible(profile, refused.detail)
    number: int | None = 0
    is_looked_at = not level.is_open or (profile.plain and level.has_stateless)
    if is_looked_at:
        wanted = Wanted(PROFILE_NUMBERS, profile.key)
        yield Item(Wanted, wanted, wanted)
        assigned = read.get(Assigned, wanted)
        number = None if assigned is None else assigned.number
        if assigned is not None and number is None:
            yield _inexpressible(
                profile,
                f"this host holds {HIGHEST_NUMBER} lists of rules, one for each direction of what"
                " applies to an interface or a subnet: let more of them share their access control"
                " lists, or move ports to other hosts",
            )
    for use in _uses(profile, level) if is_looked_at else ():
        yield Item(GroupUse, use, use)
        yield Item(Wanted, use.wanted, use.wanted)
        bit = read.get(Assigned, use.wanted)
        if bit is not None and bit.number is None:
            yield _inexpressible(
                profile,
                f"its rules speak of {use.group}, one group more than the {MOST_GROUPS} of"
                f" {called(profile.routers, 'its segment')} that rules on one host can speak of,"
                " each once as a source and once as a destination, and once more for stateless"
                " rules: let rules name fewer groups, or prefixes, or move ports to other hosts",
            )
    yield Item(Compiled, profile.key, Compiled(profile, level, number, tuple(unknown)))


def _inexpressible(profile: Profile, detail: str) -> Item:
    return Item(Inexpressible, profile.key, Inexpressible(profile.key, detail))


def _uses(profile: Profile, level: Level) -> Iterator[GroupUse]:
    for source, destination in (ENDS, PLAIN_ENDS.values()) if profile.plain else (ENDS,):
        for rule in level.rules:
            for group in rule.source_groups:
                yield GroupUse(profile.domain, source, group)
            for group in rule.destination_groups:
                yield GroupUse(profile.domain, destination, group)
