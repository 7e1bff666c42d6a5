# SPDX-License-Identifier: Apache-2.0
"""How a unit gives flows: each is an Item of `Programmed`, under its place in the switch."""

from __future__ import annotations

from isthmus.derive.engine import Item
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage, programmed, unit_cookie
from isthmus.wire import openflow_actions as act


class Flows:
    """The flows of one unit call; they share the upper part of their cookies."""

    __slots__ = ("_cookie",)

    def __init__(self, unit: str, key: str) -> None:
        self._cookie = unit_cookie(unit, key)

    def add(
        self,
        stage: Stage,
        priority: int,
        match: bytes,
        *,
        meter: int | None = None,
        apply: tuple[bytes, ...] | None = None,
        goto: Stage | None = None,
    ) -> Item:
        """A flow; without `apply` and `goto` it drops."""
        key = FlowKey(stage, priority, match)
        instructions = act.instructions(meter=meter, apply=apply, goto=goto)
        return Item(Programmed, key, programmed(self._cookie, key, instructions))
