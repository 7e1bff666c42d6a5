# SPDX-License-Identifier: Apache-2.0
"""Which of several controllers derives: pure, with the clock as an argument.

The holder named by the south store's `Deriver` row derives for as long as its heartbeat in the
north store moves, judged by the clock of whoever watches: clocks need not agree. A controller that
starts and finds itself named takes over at once. The fence makes a wrong judgement harmless: two
may believe that they derive, only one can write.
"""

from __future__ import annotations

from collections.abc import Mapping

HEARTBEAT_S = 1.0
TAKE_OVER_AFTER_S = 3.0
"""Three heartbeats missed."""


class Watch:
    """What one controller has seen of the others' heartbeats."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen: dict[str, tuple[int, float]] = {}

    def should_take_over(self, holder: str, heartbeats: Mapping[str, int], now_s: float) -> bool:
        """Whether to become the deriver. `now_s` is monotonic; `heartbeats` count up, by name."""
        for name, count in heartbeats.items():
            seen = self._seen.get(name)
            if seen is None or seen[0] != count:
                self._seen[name] = (count, now_s)
        for name in self._seen.keys() - heartbeats.keys():
            del self._seen[name]
        if holder in ("", self._name):
            return True
        return not self.is_alive(holder, now_s)

    def is_alive(self, name: str, now_s: float) -> bool:
        """Whether its heartbeat has moved lately; one that was just met has."""
        seen = self._seen.get(name)
        return seen is not None and now_s - seen[1] < TAKE_OVER_AFTER_S
