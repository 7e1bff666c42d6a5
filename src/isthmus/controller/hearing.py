# SPDX-License-Identifier: Apache-2.0
"""When this controller has last heard of each host. Pure, with the clock as an argument.

Ages are counted by the reader's own monotonic clock, from the moment at which a heartbeat was seen
to change. What a host writes into its heartbeat is its own clock's word, and clocks of two machines
need not agree: a host whose clock is two minutes ahead must not outlive its death by as much.

A host that was just met has been heard of just now, dead or not; so has every host after the store
was away, for its silence was ours. Whoever must know sooner asks the host (`controller.asking`).
"""

from __future__ import annotations

from collections.abc import Callable

from isthmus.policy.heartbeats import SILENT_AFTER_S


class Hearing:
    """Of one controller. `now_s` is monotonic; `listening_s` is since when it listens, by default
    from now on."""

    def __init__(self, now_s: Callable[[], float], listening_s: float | None = None) -> None:
        self._now_s = now_s
        self._heard_s: dict[str, float] = {}
        self._listening_s = now_s() if listening_s is None else listening_s

    def heard(self, host: str, ago_s: float = 0.0) -> None:
        """The host has said something."""
        self._heard_s[host] = self._now_s() - ago_s

    def forget(self, host: str) -> None:
        self._heard_s.pop(host, None)

    def listen(self) -> None:
        """The store is there again: what was said meanwhile was not heard."""
        self._listening_s = self._now_s()

    def age_s(self, host: str) -> int | None:
        """Since the host was last heard of; None if it never was."""
        heard_s = self._heard_s.get(host)
        return None if heard_s is None else int(self._now_s() - heard_s)

    def is_alive(self, host: str) -> bool:
        heard_s = self._heard_s.get(host)
        return (
            heard_s is not None and self._now_s() - max(heard_s, self._listening_s) < SILENT_AFTER_S
        )
