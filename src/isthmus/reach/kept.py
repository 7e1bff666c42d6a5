# SPDX-License-Identifier: Apache-2.0
"""A world that goes on changing, and stands still for whoever looks at it for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isthmus.policy.rows import Row
from isthmus.reach.world import RowPair, World


class KeptWorld:
    """`now` is the network as it is. Who keeps it beyond a turn of the event loop sees it change,
    and has to ask for it again after it has waited."""

    def __init__(self) -> None:
        self.now = World()
        self._meanwhile: list[RowPair] | None = None
        """What has changed since somebody has begun to look; None while nobody does."""

    def change(self, old: Row | None, new: Row | None) -> None:
        """Take in one changed row."""
        self.now.change(old, new)
        if self._meanwhile is not None:
            self._meanwhile.append((old, new))

    @contextmanager
    def still(self) -> Iterator[World]:
        """The network as it is now, which does not change until the end: another thread may read
        it. What changes meanwhile is laid over it, and put into it at the end. One at a time."""
        assert self._meanwhile is None, "somebody looks at it already"
        world, meanwhile = self.now, list[RowPair]()
        self.now, self._meanwhile = world.changed(()), meanwhile
        try:
            yield world
        finally:
            for old, new in meanwhile:
                world.change(old, new)
            self.now, self._meanwhile = world, None
