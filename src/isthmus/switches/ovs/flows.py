# SPDX-License-Identifier: Apache-2.0
"""How a unit gives flows: each is an Item of `Programmed`, under its place in the switch."""

from __future__ import annotations

from isthmus.derive.engine import Item, Read
from isthmus.host.facts import THIS
from isthmus.switches.ovs.declared import broken
from isthmus.switches.ovs.facts import Watching
from isthmus.switches.ovs.pipeline import (
    DROPPED,
    SHOWN_DROPS,
    WATCH_METER,
    FlowKey,
    Programmed,
    Stage,
    dropped_by,
    programmed,
    unit_cookie,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

_HELD: set[tuple[str, Stage, int, int, int]] = set()
"""Units, places and lengths of flows that were held to the declaration: those that a unit gives
for one stage in one length differ in numbers alone. (Tests hold every flow to it.)"""

SHOW = act.controller(DROPPED, max_len=128, meter=WATCH_METER)


class Flows:
    """The flows of one unit call; they share the upper part of their cookies."""

    __slots__ = ("_cookie", "_unit")

    def __init__(self, unit: str, key: str) -> None:
        self._unit, self._cookie = unit, unit_cookie(unit, key)

    def add(
        self,
        stage: Stage,
        priority: int,
        match: bytes,
        *,
        meter: int | None = None,
        apply: tuple[bytes, ...] | None = None,
        goto: Stage | None = None,
        version: str = "",
        lasts_s: int = 0,
        since: tuple[FlowKey, ...] = (),
    ) -> Item:
        """A flow. One that drops is given by `drop`. `version`: as in `pipeline.programmed`;
        `lasts_s` and `since`: as in `Programmed`. Raises AssertionError if the first one of its
        shape does what its stage is not declared for (`declared`).
        """
        key = FlowKey(stage, priority, match)
        instructions = act.instructions(meter=meter, apply=apply, goto=goto)
        shape = self._unit, stage, priority, len(match), len(instructions)
        if shape not in _HELD:
            assert not (fault := broken(key, instructions)), f"{self._unit}: {fault}"
            _HELD.add(shape)
        value = programmed(self._cookie, key, instructions, version)
        return Item(Programmed, key, value._replace(lasts_s=lasts_s, since=since))

    def drop(self, stage: Stage, priority: int, match: bytes, read: Read) -> Item:
        """A flow that drops and counts; while somebody watches, some of its packets are shown.

        The meter is the copy's own. As an instruction it would end the packet, which may have other
        receivers, or be looked at as an answer.
        """
        watching = read.get(Watching, THIS)
        if watching is None:
            return self.add(stage, priority, match)
        if not watching.ports:
            return self.add(stage, priority, match, apply=(SHOW,))
        whose = act.load(dropped_by(self._cookie, stage), oxm.METADATA)
        return self.add(stage, priority, match, apply=(whose, act.resubmit_table(SHOWN_DROPS)))
