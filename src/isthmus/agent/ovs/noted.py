# SPDX-License-Identifier: Apache-2.0
"""Which rules have allowed a packet, from what these noted in it on its way
(`switches.ovs.allowed`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.addresses import Address
from isthmus.agent.ovs.host import OvsHost
from isthmus.policy.addresses import ruled_as
from isthmus.policy.rows import Port, RuleSet
from isthmus.policy.values import Action, Direction, RuleLevel
from isthmus.switches.ovs.allowed import LEVELS, note, notes
from isthmus.switches.ovs.feature import Decision
from isthmus.switches.ovs.filters import PortFilter, port_filter_key
from isthmus.switches.ovs.profiles import Compiled, ProfileKey
from isthmus.wire.conversation import Conversation

CHANGED = "a rule that has changed since"
"""Of a decision without a list: which one it was is not known any more."""


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
