# SPDX-License-Identifier: Apache-2.0
"""The hand that tells the south store what has become of a host and of its ports, under the host's
name, which nobody else may use meanwhile (`host.namesake`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from isthmus.errors import IsthmusError
from isthmus.host import reports
from isthmus.host.namesake import Namesake
from isthmus.host.state import HostState
from isthmus.policy.rows import Heartbeat, HostStatus, PortStatus
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import Operation, wait

log = logging.getLogger(__name__)

TRANSACTION_ROWS = 100
"""The store commits one transaction after the other: more rows in each make it no faster."""


class Writer:
    """Of one agent. `refused` says why it may not speak as its host; it is empty while it may."""

    def __init__(self, state: HostState, south: Connection, instance: str) -> None:
        self.refused = ""
        self.instance = instance
        self._state = state
        self._south = south
        self._namesake = Namesake(state.identity.host, instance)
        self._statuses: dict[str, PortStatus | None] = {}
        """Of ports whose flows are on the switch, to be written."""

    def note(self, statuses: Mapping[str, PortStatus | None]) -> None:
        """What is to be said of ports at the next `write`; None is nothing any more."""
        self._statuses |= statuses

    def listen(self) -> None:
        """The store is there again: how long another agent was silent is counted anew."""
        self._namesake.forget()

    def judge(self) -> bool:
        """Look again whether this agent may speak as its host. Only what the store has now counts:
        while it is away, nothing has changed."""
        if not self._south.connected:
            return not self.refused
        status, beat = self._state.ours.host_status, self._state.ours.heartbeat
        refused = self._namesake.refusal(
            None if status is None else status.row,
            None if beat is None else beat.row,
            time.monotonic(),
        )
        if refused != self.refused:
            log.warning("host=%s", f"refused reason={refused!r}" if refused else "accepted")
        self.refused = refused
        return not refused

    async def write(self, status: HostStatus, beat: Heartbeat) -> None:
        """Write what differs. The heartbeat comes last: its probe says that all else is there."""
        if not self._south.connected:
            return  # everything is written when it is there again
        if not self.judge():
            await self._tell(reports.second_operations(self._state, beat, self.refused))
            return
        statuses, self._statuses = self._statuses, {}
        try:
            await self._tell_as_host([*reports.status_operations(self._state, status)])
            await self._tell_as_host([*reports.port_operations(self._state, statuses)])
            await self._tell_as_host([*reports.beat_operations(self._state, beat)])
        except IsthmusError:
            self._statuses = statuses | self._statuses
            raise

    async def _tell_as_host(self, operations: Sequence[Operation]) -> None:
        """In transactions that happen only while the host's rows carry the mark that was seen: ours
        or, when we take over from one that is silent, still the other's."""
        for start in range(0, len(operations), TRANSACTION_ROWS):
            stored = self._state.ours.host_status
            guard = (
                []
                if stored is None
                else [wait(HostStatus.TABLE, stored.row_id, stored.row, ["instance"])]
            )
            await self._south.transact([*guard, *operations[start : start + TRANSACTION_ROWS]])

    async def _tell(self, operations: Sequence[Operation]) -> None:
        if operations:
            await self._south.transact(operations)
