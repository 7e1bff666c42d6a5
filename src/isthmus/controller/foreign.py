# SPDX-License-Identifier: Apache-2.0
"""Desired rows of the south store that somebody else has changed.

Only the deriver writes desired rows; but whoever has a certificate of the south store may, and a
rule turned from deny to allow opens a port. The deriver hears each change of its replica anyway: a
row that is not as it wants it is written back at once, which costs O(change), and is told.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from isthmus.policy.rows import DESIRED, Row
from isthmus.store.connection import Change
from isthmus.store.south import Place

log = logging.getLogger(__name__)

TOLD_S = 3600.0
"""For how long after it was written back a change is told."""
MOST_TOLD, MOST_LOGGED = 5, 20
"""Rows that are named: of all, and in the log at one time."""


class _Found(NamedTuple):
    at_s: float
    text: str


class Foreign:
    """Of one controller. `wanted` gives the row that derivation wants at a place, `stored` the one
    that the store has."""

    def __init__(
        self,
        wanted: Callable[[Place], Row | None],
        stored: Callable[[Place], Row | None],
        now_s: Callable[[], float],
    ) -> None:
        self.count = 0
        """Rows that were written back since this controller began."""
        self._wanted = wanted
        self._stored = stored
        self._now_s = now_s
        self._suspects: set[Place] = set()
        self._found: deque[_Found] = deque(maxlen=MOST_TOLD)

    def note(self, changes: Iterable[Change]) -> bool:
        """What the replica has heard. True if a row is not as it is wanted: our own write, of which
        another may follow, or somebody else's."""
        found = False
        for change in changes:
            for row in (change.old, change.new):
                if isinstance(row, DESIRED) and self._differs(place := (type(row), row.key)):
                    self._suspects.add(place)
                    found = True
        return found

    def _differs(self, place: Place) -> bool:
        return self._stored(place) != self._wanted(place)

    def forget(self) -> None:
        """All is going to be compared, or another controller derives."""
        self._suspects.clear()

    def take(self, ours: Iterable[Place]) -> list[tuple[Row | None, Row | None]]:
        """What is to be written back: (as it is, as it is wanted). To be called while no write of
        ours is on its way; `ours` are places that are about to be written anyway."""
        suspects, self._suspects = self._suspects - {*ours}, set()
        places = sorted(filter(self._differs, suspects), key=repr)
        for place in places[:MOST_LOGGED]:
            log.error("policy=changed-by-another row=%s", shown(place))
        if places:
            self.count += len(places)
            now_s = self._now_s()
            self._found.extend(_Found(now_s, shown(place)) for place in places[-MOST_TOLD:])
        return [(self._stored(place), self._wanted(place)) for place in places]

    @property
    def told(self) -> str:
        """For the operator; empty when there is nothing."""
        now_s = self._now_s()
        names = [one.text for one in self._found if now_s - one.at_s < TOLD_S]
        if not names:
            return ""
        return (
            f"somebody else changed rows of the south store: {', '.join(dict.fromkeys(names))}"
            f" ({self.count} since this controller began). They were written back"
        )


def shown(place: Place) -> str:
    """A row by its table and key, for one line of a log."""
    table, key = place
    parts = (str(one) for one in key) if isinstance(key, tuple) else (str(key),)
    text = f"{table.TABLE} {' '.join(parts)}"[:200]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
