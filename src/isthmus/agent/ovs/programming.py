# SPDX-License-Identifier: Apache-2.0
"""Keeps the switch at the program: reads it whole when it may be another than we think, and else
sends what has changed.
"""

from __future__ import annotations

import logging
import time
from typing import NamedTuple, cast

from isthmus.agent.ovs.comparing import Comparing
from isthmus.agent.ovs.comparing import difference as difference_of_counts
from isthmus.agent.ovs.host import Changes, OvsHost
from isthmus.switches.ovs.apply import Refusal, apply
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.facts import Meter
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from isthmus.switches.ovs.resync import difference
from isthmus.wire.openflow import Flow

log = logging.getLogger(__name__)


class Resync(NamedTuple):
    """What the last reading of the switch found and changed."""

    installed: int
    adds: int
    deletes: int
    seconds: float


class Programmer:
    """The hands of one `OvsHost`. One call of `program` at a time."""

    def __init__(self, state: OvsHost, connection: Connection) -> None:
        self.last_resync: Resync | None = None
        self._state = state
        self._connection = connection
        self._must_read = True
        self._n_calls, self._is_at_work = 0, False
        self.must_go_on = False
        """Something was refused, and what that closes is still to be programmed; its owner resets
        it."""

    @property
    def must_read(self) -> bool:
        """The switch may hold other flows than we think."""
        return self._must_read

    def forget(self) -> None:
        """The connection is a new one: read the switch again."""
        self._must_read = True
        self._state.refusals.try_again()

    async def compare(self, comparing: Comparing) -> bool:
        """Whether the switch is to be read again, for it has not what was sent. Raises
        Unavailable."""
        if self._must_read or self._is_at_work:
            return False
        before = self._n_calls
        tables = await self._connection.dump_tables()
        meters = await self._connection.dump_meters()
        if self._n_calls != before:
            return False  # what was sent has changed meanwhile
        state = self._state
        found = difference_of_counts(
            state.tally, state.refusals.errors, {one.table: one.flows for one in tables}, meters
        )
        if comparing.found(found, time.monotonic()):
            log.warning("switch=changed by=others %s", found)
            self._must_read = True
        return self._must_read

    async def program(self) -> None:
        """Bring the switch to the settled program. Raises Unavailable; the next call then reads."""
        self._n_calls += 1
        self._is_at_work = True
        try:
            await self._program()
        finally:
            self._is_at_work = False

    async def _program(self) -> None:
        if self._must_read:
            started = time.monotonic()
            self._state.skip_changes()
            self._must_read = False
            installed = 0
            try:
                flows = await self._connection.dump_flows()
                installed = len(flows)
                found = difference(
                    flows,
                    cast("dict[FlowKey, Programmed]", self._state.engine.rows(Programmed)),
                    await self._connection.dump_meters(),
                    self._state.engine.rows(Meter).values(),
                )
                changes = Changes(*found)
                await self._apply(changes)
            except BaseException:
                self._must_read = True
                raise
            self.last_resync = Resync(
                *(installed, len(changes.adds), len(changes.deletes)),
                time.monotonic() - started,
            )
            log.info("switch=resynced installed=%d adds=%d deletes=%d s=%.4f", *self.last_resync)
            return
        try:
            await self._apply(self._state.changes())
        except BaseException:
            self._must_read = True
            raise

    async def _apply(self, changes: Changes) -> None:
        refusals = await apply(
            self._connection,
            changes.adds,
            changes.deletes,
            meters=changes.meters,
            deleted_meters=changes.deleted_meters,
        )
        for refusal in refusals:
            log.error("flow=refused %s", refusal.text)
        if self._state.refused(_flows(refusals)):
            self.must_go_on = True


def _flows(refusals: tuple[Refusal, ...]) -> list[tuple[Flow, str]]:
    return [(r.change, r.error) for r in refusals if isinstance(r.change, Flow)]
