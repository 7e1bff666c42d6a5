# SPDX-License-Identifier: Apache-2.0
"""Access control as a feature: what its flows decide, and what is closed where they are not whole.

From lists (`profiles`) and the ends that they hold for (`filters`) to flows (`rules`, `matches`)
and the members of groups (`groups`).
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Engine, Key, unit
from isthmus.host.facts import Plugged
from isthmus.policy.rows import Port, Rule, RuleSet
from isthmus.policy.values import Action, RuleLevel
from isthmus.switches.ovs.facts import Whole
from isthmus.switches.ovs.feature import Decided, Decision, Feature
from isthmus.switches.ovs.filters import (
    Filter,
    FilterNumber,
    PortFilter,
    filter_flows,
    filter_problems,
    port_filters,
)
from isthmus.switches.ovs.groups import USES_BY_GROUP, GroupUse, membership
from isthmus.switches.ovs.pipeline import Stage, unit_cookie
from isthmus.switches.ovs.profiles import (
    RULES_BY_SET,
    Compiled,
    Inexpressible,
    Profile,
    StatelessSet,
    compile_profile,
    stateless_set,
)
from isthmus.switches.ovs.rules import flows_name, rule_flows

RULE_STAGES = (
    *(Stage.OUT_INTERFACE, Stage.OUT_SUBNET, Stage.IN_SUBNET, Stage.IN_INTERFACE),
    *(Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
    *(Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
)
"""Where rules decide. Where a stateless rule of one level lets a packet pass and the other level
none, it is judged once more with its connection, and counted twice for the first."""


def decisions(engine: Engine) -> Iterator[Decided]:
    """All that rules on this host can decide. Flows are there at both levels; a decision is applied
    at those at which a port of this host has its list."""
    levels = {
        (profile, level)
        for found in engine.rows(Filter).values()
        for level, profiles in (
            (RuleLevel.INTERFACE, (found.out_interface, found.in_interface)),
            (RuleLevel.SUBNET, (found.out_subnet, found.in_subnet)),
        )
        for profile in profiles
    }
    for compiled in engine.rows(Compiled).values():
        profile, sets = compiled.profile, compiled.profile.sets
        direction = profile.direction
        found = engine.rows(RuleSet).get(sets[0])
        default = Action.ALLOW if compiled.level.allow_by_default else Action.DENY
        origin = found.origin if found is not None else ""
        for level in RuleLevel:
            is_applied = (profile.key, level) in levels
            yield Decided(
                unit_cookie("rule_flows", flows_name(profile, level)),
                Decision(", ".join(sets), "", direction, level, default, origin),
                is_applied,
            )
            for rule in compiled.level.rules:
                yield Decided(
                    unit_cookie("rule_flows", flows_name(profile, level, rule)),
                    Decision(*(rule.rule_set, rule.id, direction, level, rule.action, rule.origin)),
                    is_applied,
                )


def _closes_list(profile: Key, _engine: Engine) -> Iterator[Whole]:
    yield Whole("list", profile)


def _closes_lists_of_groups(_port: Key, engine: Engine) -> Iterator[Whole]:
    """A member that is not known could be one whom a rule denies."""
    for compiled in engine.rows(Compiled).values():
        if compiled.speaks_of_groups:
            yield Whole("list", compiled.profile.key)


FEATURE = Feature(
    "access control",
    units=(
        unit(RuleSet, stateless_set),
        unit(Plugged, port_filters),
        unit(Profile, compile_profile),
        unit(Filter, filter_flows),
        unit(PortFilter, filter_problems),
        unit(Compiled, rule_flows),
        unit(Port, membership),
    ),
    indexes=(RULES_BY_SET, USES_BY_GROUP),
    tables=(RuleSet, Rule, FilterNumber, GroupUse, Inexpressible, StatelessSet),
    closes={"rule_flows": _closes_list, "membership": _closes_lists_of_groups},
    closes_disputed={Profile: _closes_list},
    port_units=frozenset(("membership",)),
    decisions=decisions,
    decides_at=RULE_STAGES,
)
