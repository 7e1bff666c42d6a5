# SPDX-License-Identifier: Apache-2.0
"""From a flow's cookie back to the rule that made it, and what flows have counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.addresses import Address
from isthmus.agent.ovs.host import OvsHost
from isthmus.policy.addresses import ruled_as
from isthmus.policy.rows import Port, RuleSet
from isthmus.policy.values import Action, Direction, RuleLevel
from isthmus.switches.ovs.allowed import LEVELS, note, notes
from isthmus.switches.ovs.filters import Filter, PortFilter, port_filter_key
from isthmus.switches.ovs.pipeline import DROPS, Stage, unit_cookie, unit_of_cookie
from isthmus.switches.ovs.profiles import Compiled, ProfileKey
from isthmus.switches.ovs.rules import flows_name
from isthmus.wire import oxm
from isthmus.wire.conversation import Conversation
from isthmus.wire.openflow_replies import InstalledFlow


class Decision(NamedTuple):
    """Whose a flow of rules is. `rule` is empty for the default of `rule_set`, which may be several
    names. Without `rule_set`, `rule` says why it is not known."""

    rule_set: str
    rule: str
    direction: str
    level: str
    action: str
    origin: str

    @property
    def text(self) -> str:
        if not self.rule_set:
            return self.rule
        return f"{self.rule_set}/{self.rule}" if self.rule else f"default of {self.rule_set}"


CHANGED = "a rule that has changed since"
"""Of a decision without a list: which one it was is not known any more."""


class Counted(NamedTuple):
    """What rules, stages and ports have counted. `blocked` is by port: what port security dropped;
    `dropped` by stage: what reached its end; `unopened` by port: what would have opened more
    connections than it may, from it or to it; `fragments` by port: those above its limit."""

    rules: dict[Decision, tuple[int, int]]
    """Packets and bytes."""
    dropped: dict[str, int]
    blocked: dict[str, int]
    unopened: dict[str, int]
    fragments: dict[str, int]


def decisions(state: OvsHost) -> dict[int, Decision]:
    """By the unit part of cookies: everything that rules on this host can decide."""
    return {unit: decision for unit, decision, _ in _decisions(state)}


def applied(state: OvsHost) -> dict[int, Decision]:
    """Those of lists at the levels at which a port of this host has them; flows are there at
    both."""
    return {unit: decision for unit, decision, is_applied in _decisions(state) if is_applied}


def _decisions(state: OvsHost) -> Iterator[tuple[int, Decision, bool]]:
    levels = {
        (profile, level)
        for found in state.engine.rows(Filter).values()
        for level, profiles in (
            (RuleLevel.INTERFACE, (found.out_interface, found.in_interface)),
            (RuleLevel.SUBNET, (found.out_subnet, found.in_subnet)),
        )
        for profile in profiles
    }
    for compiled in state.engine.rows(Compiled).values():
        profile, sets = compiled.profile, compiled.profile.sets
        direction = profile.direction
        found = state.engine.rows(RuleSet).get(sets[0])
        default = Action.ALLOW if compiled.level.allow_by_default else Action.DENY
        origin = found.origin if found is not None else ""
        for level in RuleLevel:
            is_applied = (profile.key, level) in levels
            yield (
                unit_cookie("rule_flows", flows_name(profile, level)),
                Decision(", ".join(sets), "", direction, level, default, origin),
                is_applied,
            )
            for rule in compiled.level.rules:
                yield (
                    unit_cookie("rule_flows", flows_name(profile, level, rule)),
                    Decision(*(rule.rule_set, rule.id, direction, level, rule.action, rule.origin)),
                    is_applied,
                )


def decision_of(cookie: int, state: OvsHost) -> Decision | None:
    """What a flow's cookie says; None for a flow of something else than rules."""
    return decisions(state).get(unit_of_cookie(cookie))


class Noted:
    """What the rules of a packet's ends noted on its way (`allowed.noted`), as rules."""

    def __init__(self, state: OvsHost) -> None:
        self._state = state
        self._lists: dict[tuple[ProfileKey, RuleLevel], tuple[Compiled, _ByNote]] = {}
        """Of profile and level what each note stands for; as long as the list is the same."""

    def clear(self) -> None:
        self._lists.clear()

    def allowing(
        self, metadata: int, sender: Port | None, receiver: Port | None, ends: Conversation
    ) -> list[Decision]:
        """Which rules let it pass, level by level. Of one that is in the list no more, or in
        another list than the end has now, it is said that it has changed."""
        found: list[Decision] = []
        for direction, level, its in notes(metadata):
            port, address = (
                (sender, ends.source)
                if direction is Direction.OUT
                else (receiver, ends.destination)
            )
            profile = _profile(port, address, direction, level, self._state)
            known = self._by_note(profile, level).get(its, ())
            found += known or [Decision("", CHANGED, direction, level, Action.ALLOW, "")]
        return found

    def _by_note(self, profile: ProfileKey | None, level: RuleLevel) -> _ByNote:
        compiled = self._state.engine.rows(Compiled).get(profile)
        if compiled is None or profile is None:
            return {}
        known = self._lists.get((profile, level))
        if known is None or known[0] is not compiled:
            known = compiled, _by_note(compiled, level, self._state)
            self._lists[profile, level] = known
        return known[1]


def _profile(
    port: Port | None,
    address: Address,
    direction: Direction,
    level: RuleLevel,
    state: OvsHost,
) -> ProfileKey | None:
    """The list that holds for an address of a port."""
    if port is None:
        return None
    key = port_filter_key(port, ruled_as(port, str(address)), address.version)
    found = state.engine.rows(PortFilter).get(key)
    return found.filter[LEVELS.index((direction, level))] if found is not None else None


_ByNote = Mapping[int, Sequence[Decision]]
"""Seldom more than one."""


def _by_note(compiled: Compiled, level: RuleLevel, state: OvsHost) -> _ByNote:
    """What allows."""
    sets, direction = compiled.profile.sets, compiled.profile.direction
    found: dict[int, list[Decision]] = {}
    for rule in compiled.level.rules:
        if rule.action is Action.ALLOW:
            its = Decision(rule.rule_set, rule.id, direction, level, rule.action, rule.origin)
            found.setdefault(note(sets, rule), []).append(its)
    if compiled.level.allow_by_default:
        first = state.engine.rows(RuleSet).get(sets[0])
        origin = first.origin if first is not None else ""
        default = Decision(", ".join(sets), "", direction, level, Action.ALLOW, origin)
        found.setdefault(note(sets), []).append(default)
    return found


RULE_STAGES = (
    *(Stage.OUT_INTERFACE, Stage.OUT_SUBNET, Stage.IN_SUBNET, Stage.IN_INTERFACE),
    *(Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
    *(Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
)
"""Where rules decide. Where a stateless rule of one level lets a packet pass and the other level
none, it is judged once more with its connection, and counted twice for the first."""


def counted(flows: Iterable[InstalledFlow], state: OvsHost) -> Counted:
    """From the flows of the rule stages, those of ADMISSION, and those that end a table."""
    known = applied(state)
    found = Counted({}, {}, {}, {}, {})
    for flow in flows:
        if flow.priority == 0 and not flow.match:
            if flow.table in DROPS:
                found.dropped[Stage(flow.table).name] = flow.n_packets
        elif flow.table == Stage.ADMISSION:
            if flow.priority == 1:
                port = state.port_behind(next(oxm.entries(flow.match)).value)
                if port is not None:
                    found.blocked[port.id] = flow.n_packets
        elif (decision := known.get(unit_of_cookie(flow.cookie))) is not None:
            packets, octets = found.rules.get(decision, (0, 0))
            found.rules[decision] = packets + flow.n_packets, octets + flow.n_bytes
    return found
