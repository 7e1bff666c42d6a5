# SPDX-License-Identifier: Apache-2.0
"""The numbers that a host gives to what has none of its own: conntrack zones, filters, profiles,
groups. They are kept on the bridge, so that a restart renumbers nothing.

A number that nobody wants any more is given again only after the switch has been programmed
without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from isthmus.derive.engine import Engine
from isthmus.switches.ovs.domains import HIGHEST_ZONE, ZONES
from isthmus.switches.ovs.facts import Assigned, Wanted
from isthmus.switches.ovs.filters import FILTER_NUMBERS
from isthmus.switches.ovs.number_names import text_of, wanted_of
from isthmus.switches.ovs.pipeline import MOST_GROUPS
from isthmus.switches.ovs.profiles import HIGHEST_NUMBER, PROFILE_NUMBERS

RANGES = {
    PROFILE_NUMBERS: (1, HIGHEST_NUMBER),
    FILTER_NUMBERS: (1, HIGHEST_NUMBER),
    ZONES: (1, HIGHEST_ZONE),
}
"""First and last; zone 0 is everybody's, and the highest nobody's. Other spaces are those of
groups."""

_GROUPS = (0, MOST_GROUPS - 1)


class Numbers:
    """What one host has assigned, by what the bridge calls it. Pure: text in, text out."""

    def __init__(self, text: str = "") -> None:
        self._by_kind: dict[str, dict[str, int]] = {}
        self._free: dict[str, set[int]] = {}
        self._next: dict[str, int] = {}
        self._quarantine: list[tuple[str, int]] = []
        self._unwanted: set[Wanted] = set()
        self._waiting: set[Wanted] = set()
        """Those that found their space full."""
        self.unsaved = False
        """Whether `text` is another than the bridge has; its owner resets it."""
        try:
            found = msgspec.json.decode(text or "{}", type=dict[str, dict[str, int]])
        except msgspec.DecodeError:
            found = {}
        for kind, names in found.items():
            first, last = RANGES.get(kind, _GROUPS)
            taken = set(names.values())
            if len(taken) < len(names) or any(not first <= number <= last for number in taken):
                continue  # two of one number, or one that is none: written by nobody of us
            self._by_kind[kind] = names
            highest = max(taken, default=first - 1)
            self._next[kind] = highest + 1
            self._free[kind] = set(range(first, highest + 1)) - taken

    def text(self) -> str:
        """What a bridge keeps."""
        kinds = {kind: names for kind, names in sorted(self._by_kind.items()) if names}
        return msgspec.json.encode(kinds).decode()

    def of(self, kind: str) -> Mapping[str, int]:
        """The numbers of a kind by name."""
        return self._by_kind.get(kind, {})

    def load(self, engine: Engine) -> None:
        """Tell a new engine all that is assigned."""
        for kind, names in self._by_kind.items():
            for name, number in names.items():
                wanted = wanted_of(kind, name)
                engine.put(Assigned, wanted, Assigned(number))
                self._unwanted.add(wanted)

    def follow(self, engine: Engine, *, release: bool) -> None:
        """Settle the engine, and give numbers until all that want one have one. `release`: what
        is not wanted may go, for the engine knows all.
        """
        while True:
            engine.settle()
            given = False
            changes = {change.key: change for change in engine.changes(Wanted)}
            asking = {key for key in changes if isinstance(key, Wanted)} | {
                wanted for wanted in self._waiting if self._has_room(text_of(wanted)[0])
            }
            for wanted in sorted(asking, key=text_of):
                if wanted in changes and changes[wanted].new is None:
                    self._unwanted.add(wanted)
                    self._waiting.discard(wanted)
                    continue
                self._unwanted.discard(wanted)
                kind, name = text_of(wanted)
                if name not in self._by_kind.get(kind, {}):
                    number = self._give(kind, name)
                    engine.put(Assigned, wanted, Assigned(number))
                    (self._waiting.add if number is None else self._waiting.discard)(wanted)
                    given = True
            if not given:
                break
            self.unsaved = True
        if release and self._unwanted:
            for wanted in sorted(self._unwanted, key=text_of):
                self._take(*text_of(wanted))
                engine.put(Assigned, wanted, None)
            self._unwanted.clear()
            engine.settle()

    def programmed(self) -> None:
        """The switch holds nothing of what was given up."""
        for kind, number in self._quarantine:
            self._free.setdefault(kind, set()).add(number)
        self._quarantine.clear()

    @property
    def given_up(self) -> list[tuple[str, int]]:
        """Kinds and numbers that the switch may still hold."""
        return self._quarantine

    def _has_room(self, kind: str) -> bool:
        first, last = RANGES.get(kind, _GROUPS)
        return bool(self._free.get(kind)) or self._next.get(kind, first) <= last

    def _give(self, kind: str, name: str) -> int | None:
        first, last = RANGES.get(kind, _GROUPS)
        free = self._free.get(kind)
        if free:
            number = min(free)
            free.discard(number)
        else:
            number = self._next.get(kind, first)
            if number > last:
                return None
            self._next[kind] = number + 1
        self._by_kind.setdefault(kind, {})[name] = number
        return number

    def _take(self, kind: str, name: str) -> None:
        number = self._by_kind.get(kind, {}).pop(name, None)
        if number is not None:
            self._quarantine.append((kind, number))
            self.unsaved = True
