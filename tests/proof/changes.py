# SPDX-License-Identifier: Apache-2.0
"""One change of a cloud: what an operator or a tenant does while connections are open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import msgspec

from isthmus.policy.rows import Rule, RuleSet
from tests.proof.clouds import HOSTS, Deployment

Change = Callable[[Deployment, Random], Deployment]


def changed(cloud: Deployment, random: Random) -> Deployment:
    """Another cloud; the same where there was nothing to change."""
    return random.choice(CHANGES)(cloud, random)


def rule_removed(cloud: Deployment, random: Random) -> Deployment:
    rules = [row for row in cloud.rules if isinstance(row, Rule)]
    return cloud.without(random.choice(rules)) if rules else cloud


def rule_turned(cloud: Deployment, random: Random) -> Deployment:
    rules = [row for row in cloud.rules if isinstance(row, Rule)]
    if not rules:
        return cloud
    chosen = random.choice(rules)
    action = "deny" if chosen.action == "allow" else "allow"
    return _with_row(cloud, chosen, msgspec.structs.replace(chosen, action=action))


def default_turned(cloud: Deployment, random: Random) -> Deployment:
    chosen = random.choice([row for row in cloud.rules if isinstance(row, RuleSet)])
    column = random.choice(("in_default", "out_default"))
    value = "allow" if getattr(chosen, column) == "deny" else "deny"
    return _with_row(cloud, chosen, msgspec.structs.replace(chosen, **{column: value}))


def entry_removed(cloud: Deployment, random: Random) -> Deployment:
    """A member leaves a group, a rule set no longer holds, an address is taken away, ..."""
    places = [
        (port, column)
        for port in cloud.ports
        for column in ("groups", "rule_sets", "addresses", "pairs", "guards")
        if getattr(port, column)
    ]
    port, column = random.choice(places)
    entries = list(getattr(port, column))
    entries.remove(random.choice(entries))
    return cloud.with_port(msgspec.structs.replace(port, **{column: tuple(entries)}))


def entry_shared(cloud: Deployment, random: Random) -> Deployment:
    """A port gets the groups of another; both are under rules of connections or of packets."""
    one, other = random.choice(cloud.ports), random.choice(cloud.ports)
    return cloud.with_port(msgspec.structs.replace(one, groups=other.groups))


def port_removed(cloud: Deployment, random: Random) -> Deployment:
    return cloud.without_port(random.choice(cloud.ports).id)


def port_moved(cloud: Deployment, random: Random) -> Deployment:
    return cloud.moved(random.choice(cloud.ports).id, random.choice(HOSTS))


CHANGES: tuple[Change, ...] = (
    *(rule_removed, rule_turned, default_turned, entry_removed, entry_removed),
    *(entry_shared, port_removed, port_moved),
)


def _with_row(cloud: Deployment, before: Rule | RuleSet, after: Rule | RuleSet) -> Deployment:
    return replace(cloud, rules=tuple(after if row is before else row for row in cloud.rules))
