# SPDX-License-Identifier: Apache-2.0
"""Rules as flows, on the original tuple of a connection, stateless ones also on the packet itself.

Each profile has a flow of the lowest priority for its default, and above it its rules in order: the
first that matches decides. What they match is in `matches`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.derive.engine import Item, Read
from isthmus.policy.joined import joined
from isthmus.policy.rows import Rule
from isthmus.policy.values import Action, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import noted
from isthmus.switches.ovs.bands import Rules
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.matches import looks_inside, matches
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.profiles import Compiled, Profile, enforced
from isthmus.switches.ovs.rule_stages import PLAIN_STAGES, STAGES
from isthmus.switches.ovs.tuple_fields import (
    ANSWER,
    FOLLOWED,
    ORIGINAL,
    PACKET,
    QUESTION,
    SCTP,
    Fields,
)
from isthmus.wire import oxm

NO_REPLY = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL)
REPLY = oxm.ct_state(oxm.CT_TRK | oxm.CT_RPL, oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL)


def rule_flows(compiled: Compiled, read: Read) -> Iterator[Item]:
    """Over Compiled: its rules at both levels, for ports may have it at either."""
    profile, number = compiled.profile, compiled.number
    if not number:
        return
    compiled = compiled._replace(level=enforced(compiled, read))
    for level in RuleLevel:
        stage, its_number, following = STAGES[profile.direction, level]
        mine = its_number.match(number)
        default = Flows("rule_flows", flows_name(profile, level))
        place = profile.direction, level
        if compiled.level.allow_by_default:
            note = noted(*place, profile.sets, None, read)
            yield default.add(
                stage, Rules.DEFAULT, oxm.match(mine), apply=note or None, goto=following
            )
        else:
            yield default.drop(stage, Rules.DEFAULT, oxm.match(mine), read)
        if profile.plain:
            yield from _plain_flows(compiled, level, read)
        for priority, rule in _by_priority(compiled.level.rules):
            flows = Flows("rule_flows", flows_name(profile, level, rule))
            note = noted(*place, profile.sets, rule, read)
            for followed, fields, passes in _verdicts(rule):
                for match in matches(profile, rule, fields, read):
                    whole = oxm.match(mine, *followed, *match)
                    if passes:
                        yield flows.add(stage, priority, whole, apply=note or None, goto=following)
                    else:
                        yield flows.drop(stage, priority, whole, read)


def flows_name(profile: Profile, level: RuleLevel, rule: Rule | None = None) -> str:
    """What the cookies of a rule's flows are made of; without a rule, of its list's default."""
    word = "default" if rule is None else f"{joined(rule.rule_set)}/{joined(rule.id)}"
    return f"{profile.key.text} {level} {word}"


def _by_priority(rules: Iterable[Rule]) -> Iterator[tuple[int, Rule]]:
    for rank, rule in enumerate(rules):
        yield max(Rules.RULE.last - rank, Rules.RULE), rule


def _verdicts(rule: Rule) -> tuple[tuple[tuple[bytes, ...], Fields, bool], ...]:
    """Of which packets of a connection a rule speaks, where its tuple is in them, and whether it
    lets them pass."""
    allows = rule.action is Action.ALLOW
    if rule.stateless and allows:
        return (
            ((NO_REPLY, reg.TURNED.match(0)), QUESTION, True),
            ((NO_REPLY, reg.TURNED.match(1)), QUESTION, False),
            ((REPLY,), ANSWER, False),
        )
    if rule.protocol == SCTP and looks_inside(rule):
        return ((NO_REPLY,), QUESTION, allows), ((REPLY,), ANSWER, allows)
    return (((FOLLOWED,), ORIGINAL, allows),)


_Verdict = tuple[Stage, tuple[bytes, ...] | None]
"""Where a packet goes on, and what is done to it before."""


def _plain_flows(compiled: Compiled, level: RuleLevel, read: Read) -> Iterator[Item]:
    """On the packet, taken for itself. What both levels allow and a stateless rule is among, passes
    at this end, and nobody follows it; of what else they allow it is remembered that they do.
    """
    profile, number = compiled.profile, compiled.number
    assert number, "who calls it has a number"
    here = PLAIN_STAGES[profile.direction, level]
    stage, mine = here.stage, here.number.match(number)
    stateful = (here.following, (here.allowed.copy_to(here.end),) if here.is_last else None)
    stateless = (here.following, ((here.end if here.is_last else here.allowed).load(0),))
    by_default = stateful if compiled.level.allow_by_default else (here.denied, None)
    flows = Flows("rule_flows", f"{profile.key.text} {level} plain")
    place = profile.direction, level
    allows = compiled.level.allow_by_default
    note = noted(*place, profile.sets, None, read) if allows else ()
    default = _with(note, by_default)
    yield flows.add(stage, Rules.DEFAULT, oxm.match(mine), apply=default[1], goto=default[0])
    for priority, rule in _by_priority(compiled.level.rules):
        allowing = stateless if rule.stateless else stateful
        allows = rule.action is Action.ALLOW
        # What it lets pass here no other flow of its counts; what goes on is judged and counted.
        is_counted = allows and rule.stateless
        its = Flows("rule_flows", flows_name(profile, level, rule)) if is_counted else flows
        note = noted(*place, profile.sets, rule, read) if allows else ()
        goto, apply = _with(note, allowing if allows else (here.denied, None))
        for match in matches(profile, rule, PACKET, read):
            yield its.add(stage, priority, oxm.match(mine, *match), apply=apply, goto=goto)


def _with(note: tuple[bytes, ...], verdict: _Verdict) -> _Verdict:
    goto, apply = verdict
    return goto, (*note, *(apply or ())) or None
