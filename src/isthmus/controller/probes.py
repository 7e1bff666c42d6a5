# SPDX-License-Identifier: Apache-2.0
"""Following a change to the last host: a number that is raised, and that each host answers once its
switch has all that was accepted before. Who does not answer is silent or behind."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection

from isthmus.controller.asking import ANSWER_S, Asking
from isthmus.controller.observed_state import HostView, ObservedState
from isthmus.errors import Unavailable
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.observed import MOST_COUNT
from isthmus.policy.rows import Heartbeat, Probe
from isthmus.store.connection import Connection
from isthmus.store.failures import Duplicate, WaitFailed
from isthmus.wire.ovsdb import RowId, insert, mutate, update, wait

log = logging.getLogger(__name__)

DERIVED_S = 20.0
"""How long derivation may take: a take-over by another controller, and a hundred thousand rows."""
DERIVING_S = 0.002
"""Between two looks whether that is done: it takes about a millisecond."""
FRESH_S = 1.0
"""For how long what hosts have answered is told to others who ask whether they are there."""
MOST_RAISED = MOST_COUNT // 2
"""No controller gets so far: a number beyond is somebody else's, and counting begins anew."""
MOST_KEPT = 64
"""Numbers whose answers are remembered."""


class Probes:
    """Those of one controller."""

    def __init__(
        self,
        south: Connection,
        observed: ObservedState,
        asking: Asking,
        pending: Callable[[], bool],
    ) -> None:
        """`pending`: whether something accepted is not in the south store yet."""
        self._south = south
        self._observed = observed
        self._asking = asking
        self._pending = pending
        self._raised_at: dict[int, float] = {}
        self._answered: dict[int, dict[str, float]] = {}
        self._asked: tuple[int, float] | None = None
        """The number that was last raised to see who is there, and when."""
        self._unknown_since: dict[str, float] = {}
        """Hosts that have not answered such a number, and since when."""

    async def raise_probe(self) -> JsonObject:
        """Ask every host to answer when it has programmed all that was accepted before.

        Raises Unavailable when what was accepted does not become policy in time.
        """
        started = time.monotonic()
        if not await self.derived(DERIVED_S):
            raise Unavailable(
                f"what was accepted has not become policy in {DERIVED_S:g} s: `isthmus status`"
                " says who derives and what is wrong"
            )
        number = await self._raise()
        self._raised_at[number] = started
        for old in sorted(self._raised_at)[:-MOST_KEPT]:
            del self._raised_at[old]
            self._answered.pop(old, None)
        self.south_changed()
        return self._progress(number)

    async def derived(self, within_s: float) -> bool:
        """Wait until all that was accepted is in the south store; False if it is not in time."""
        started = time.monotonic()
        while self._pending():
            if time.monotonic() > started + within_s:
                return False
            await self._asking.next_change(time.monotonic() + DERIVING_S)
        return True

    async def _raise(self) -> int:
        try:
            return await self._increment()
        except Duplicate:
            return await self._increment()  # another controller has made the row

    async def _increment(self) -> int:
        found = self._row()
        if found is None:
            await self._south.transact([insert(Probe.TABLE, Probe(number=1))])
            return 1
        row_id, row = found
        if not 0 <= row.number < MOST_RAISED:
            log.error("probe=absurd number=%d: somebody else has written it", row.number)
            changed = update(Probe.TABLE, row_id, Probe(number=1), ["number"])
            with contextlib.suppress(WaitFailed):  # another controller has mended it
                await self._south.transact([wait(Probe.TABLE, row_id, row, ["number"]), changed])
            return self._highest() or 1
        await self._south.transact([mutate(Probe.TABLE, row_id, [("number", "+=", 1)])])
        return max(row.number + 1, self._highest())

    def _row(self) -> tuple[RowId, Probe] | None:
        rows = self._south.table(Probe).items()
        return next(((row_id, row) for row_id, row in rows if row.name == Probe().name), None)

    def _highest(self) -> int:
        found = self._row()
        return 0 if found is None else found[1].number

    def _has(self, heartbeat: Heartbeat | None, number: int) -> bool:
        """Whether a host has answered. What is above all that was ever asked is left from a number
        that nobody of us has raised, and answers nothing."""
        if heartbeat is None:
            return False
        return number <= heartbeat.probe <= max(number, self._highest())

    async def probe(self, number: int, answered: int, wait_s: float) -> JsonObject:
        """How far a probe has come: returns when more than `answered` hosts have answered, when
        all have, or after `wait_s`.
        """
        until = time.monotonic() + wait_s
        while True:
            self.south_changed()
            progress = self._progress(number)
            hosts = progress["hosts"]
            assert isinstance(hosts, list)
            done = [host for host in hosts if host["milliseconds"] is not None]
            if len(done) > answered or len(done) == len(hosts):
                return progress
            if not await self._asking.next_change(until):
                return progress

    async def unknown(self, hosts: Collection[str] | None = None) -> dict[str, str]:
        """Ask whether hosts (all, unless some are given) are there and have programmed all; those
        that have not said so in `ANSWER_S`, each with what is known and since when.

        Who asks right after another is told what that one has heard: a thousand hosts write a
        thousand rows to answer.
        """
        now_s = time.monotonic()
        if self._asked is None or now_s - self._asked[1] >= FRESH_S:
            try:
                self._asked = await self._raise(), now_s
            except Unavailable as error:
                return {view.host: error.message for view in self._known(hosts)}
        number, asked_s = self._asked
        while missing := [v for v in self._known(hosts) if not self._has(v.heartbeat, number)]:
            if all(not view.alive for view in missing):
                break  # they have been silent for long
            if not await self._asking.next_change(asked_s + ANSWER_S):
                break
        now_s = time.monotonic()
        # A view says how it was when it was taken, and time has passed.
        silent = {view.host for view in missing}
        missing = [view for view in self._known(hosts) if view.host in silent]
        asked = {view.host for view in self._known(hosts)}
        since = {view.host: self._unknown_since.get(view.host, asked_s) for view in missing}
        others = {h: s for h, s in self._unknown_since.items() if h not in asked}
        self._unknown_since = {**others, **since}
        return {view.host: _why(view, now_s - since[view.host]) for view in missing}

    def _known(self, hosts: Collection[str] | None) -> list[HostView]:
        views = self._observed.host_views()
        return [one for one in views if one.known and (hosts is None or one.host in hosts)]

    def south_changed(self) -> None:
        """Note who has answered by now."""
        now = time.monotonic()
        for host, heartbeat in self._observed.world.heartbeats.items():
            for number in self._raised_at:
                if self._has(heartbeat, number):
                    self._answered.setdefault(number, {}).setdefault(host, now)

    def _progress(self, number: int) -> dict[str, Json]:
        started = self._raised_at.get(number)
        answered = self._answered.get(number, {})
        hosts: list[Json] = []
        for view in self._observed.host_views():
            if not view.known or not view.alive:
                continue
            at = answered.get(view.host)
            if at is None and self._has(view.heartbeat, number):
                at = started
            taken = None if at is None or started is None else round((at - started) * 1e3, 3)
            hosts.append({"host": view.host, "milliseconds": taken, "ageSeconds": view.age_s})
        silent = [view for view in self._known(None) if not view.alive]
        return {
            "probe": number,
            "hosts": hosts,
            "silent": [view.host for view in silent],
            "silentSeconds": {view.host: view.age_s for view in silent},
        }


def _why(view: HostView, unknown_s: float) -> str:
    if view.age_s is None:
        return "was never heard of"
    if view.alive and view.age_s + 1 < unknown_s:  # whole seconds: surely heard since then
        return f"is behind: it lives, and has not programmed what it was to for {unknown_s:.0f} s"
    return f"does not answer, and was last heard of {view.age_s} s ago"
