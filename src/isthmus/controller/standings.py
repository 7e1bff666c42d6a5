# SPDX-License-Identifier: Apache-2.0
"""How many ports stand how, without looking at all of them: who asks has those looked at that have
changed since the last question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from isthmus.policy.rows import Claim, Host, Port, PortStatus, Row
from isthmus.reach.world import World

UNCLAIMED, UNSAID = "unclaimed", "unsaid"
"""No host has it; or one has, and has said nothing of it yet. Else a port stands as its host says:
up, error, standby."""


def standing(world: World, port: str) -> str:
    """How a port stands."""
    if world.claim_of(port) is None:
        return UNCLAIMED
    status = world.status_of(port)
    return UNSAID if status is None else status.state


class Standings:
    """Of all ports."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._known: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def note(self, world: World, old: Row | None, new: Row | None) -> None:
        """A row has changed, and the world has taken it in."""
        for row in (new, old):
            if isinstance(row, Claim | PortStatus):
                self._note(world, row.port)
            elif isinstance(row, Port):
                self._note(world, row.id)
            elif isinstance(row, Host) and (old is None or new is None):
                for port in world.ports_by_host.get(row.id):
                    self._note(world, port)

    def _note(self, world: World, port: str) -> None:
        if port in world.ports:
            self._changed.add(port)
            return
        self._changed.discard(port)
        known = self._known.pop(port, None)
        if known is not None:
            self._counts[known] -= 1

    def counts(self, world: World) -> Mapping[str, int]:
        """By standing, the number of ports."""
        for port in self._changed:
            known, now = self._known.get(port), standing(world, port)
            if known != now:
                self._known[port] = now
                self._counts[now] += 1
                if known is not None:
                    self._counts[known] -= 1
        self._changed.clear()
        return self._counts
