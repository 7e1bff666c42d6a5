# SPDX-License-Identifier: Apache-2.0
"""The agent's process: carries rows between the south store and the host's state, and the host's
conclusions to its switch, whatever that is, and to the store.

Order is what keeps traffic alive. Nothing is taken off the switch before the south store has been
read and the scope has come to rest; after either end was lost, the switch is read again and only
what differs is changed. When the agent ends it leaves everything as it is: program, claims,
tunnels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Never

from isthmus.agent.answering import Answering, refusal
from isthmus.agent.instance import instance_of
from isthmus.agent.reading import Reading
from isthmus.agent.settings import Settings
from isthmus.agent.writing import Writer
from isthmus.errors import Broken, IsthmusError, Unavailable
from isthmus.host import reports, scope
from isthmus.host.ours import SouthChange
from isthmus.host.state import HostState
from isthmus.host.switch import Switch
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.host_problems import HostProblem, agent_fault
from isthmus.policy.rows import Answer, Heartbeat, Query, row_or_none
from isthmus.store import connection as ovsdb
from isthmus.tending import Tending
from isthmus.wire.ovsdb import RowId, delete, insert

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How often all is looked at for what is wrong."""


class Agent:
    """One host's agent. `tending` is that of its switch too: what fails there is told as well."""

    def __init__(
        self, state: HostState, switch: Switch, settings: Settings, tending: Tending
    ) -> None:
        self._state, self._switch = state, switch
        self._settings, self._tending = settings, tending
        self._south = ovsdb.Connection(
            settings.south,
            "Isthmus_South",
            scope.READ,
            name="south",
            tls=settings.tls,
            conditions={},
            on_changes=self._south_changed,
            on_connected=self._south_connected,
        )
        self._to_program, self._to_write = asyncio.Event(), asyncio.Event()
        self._to_answer = asyncio.Event()
        self._reading = Reading(self._south, settings.scope_file, self._to_program.set)
        self._answering = Answering(
            self._answer_one, lambda row_id: row_id in self._south.table(Query)
        )
        self._told: list[HostProblem] = []
        self._programmed_probe = 0

    async def run(self) -> Never:
        """Serve until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._switch.run(self))
                await self._to_program.wait()
                instance = instance_of(self._switch.status().mark)
                self._writer = Writer(self._state, self._south, instance)
                self._state.settle()
                await self._reading.start(self._state.conditions())
                for name, event, work in (
                    ("program", self._to_program, self._program),
                    ("write", self._to_write, self._write),
                    ("answer", self._to_answer, self._answer),
                    ("widen_scope", self._reading.changed, self._reading.widen),
                ):
                    tasks.create_task(self._tending.whenever(name, event, work))
                every = self._tending.every
                tasks.create_task(every(HEARTBEAT_S, "beat", self._beat))
                tasks.create_task(every(LOOK_EVERY_S, "look", self._look_for_problems))
        finally:
            await self._south.stop()
        raise AssertionError("the tasks end by cancellation only")

    # -- what comes in -----------------------------------------------------------------------------

    def changed(self) -> None:
        """As `host.switch.HostAgent` has it."""
        self._to_program.set()

    async def tell(self, answers: Sequence[Answer]) -> None:
        """Raises Unavailable."""
        await self._south.transact([insert(one.TABLE, one) for one in answers])

    def _south_changed(self, changes: Sequence[ovsdb.Change]) -> None:
        self._state.south_changed(
            [SouthChange(c.row_id, row_or_none(c.old), row_or_none(c.new)) for c in changes]
        )
        if any(c.row_type is not Heartbeat for c in changes):
            self._to_program.set()
        if self._state.queries:
            self._to_answer.set()

    def _south_connected(self, connected: bool) -> None:
        if connected:
            self._reading.connected()
            self._writer.listen()
            self._state.report_all()
            self._to_program.set()
            self._to_write.set()

    # -- what goes out -----------------------------------------------------------------------------

    async def _program(self) -> None:
        """Derive, and bring the switch to what was derived."""
        if not self._writer.judge():
            self._to_write.set()  # why, and nothing else: the switch stays as it is
            return
        state, probe = self._state, self._state.probe
        state.settle()
        at_rest = self._reading.follow(state.conditions())
        if at_rest:
            state.settle(whole=True)
        ports, now_us = state.take_reports(), time.time_ns() // 1000
        statuses = {port: state.wanted_status(port, now_us) for port in ports}
        programmed = False
        try:
            programmed = await self._switch.program(whole=at_rest)
        finally:
            if not programmed:
                state.put_back(ports)
        if not programmed:
            return
        self._writer.note(statuses)
        if at_rest:
            self._programmed_probe = probe
        self._to_write.set()
        if state.has_reports:
            self._to_program.set()

    async def _write(self) -> None:
        """Tell the store what has become of our ports, and of the host."""
        was_refused = self._writer.refused
        status = self._switch.status()
        host_status = reports.host_status(
            self._state,
            version=self._settings.version,
            instance=self._writer.instance,
            switch=status,
        )
        beat = reports.heartbeat(
            self._state,
            at_s=int(time.time()),
            probe=self._programmed_probe,
            problems=[one.text for one in self._with_faults(status.problems)],
            flows=status.flows,
        )
        await self._writer.write(host_status, beat)
        if was_refused and not self._writer.refused:
            self._to_program.set()

    async def _beat(self) -> None:
        self._to_write.set()

    async def _look_for_problems(self) -> None:
        found = self._with_faults(self._switch.status().problems)
        if found != self._told:
            for one in found:
                if one not in self._told:
                    log.warning("problem=%s about=%r %s", one.code, one.about, one.shown)
            self._told = found
            self._to_write.set()

    def _with_faults(self, problems: Sequence[HostProblem]) -> list[HostProblem]:
        return [*problems, *(agent_fault(*one) for one in sorted(self._tending.faults.items()))]

    # -- questions ---------------------------------------------------------------------------------

    async def _answer(self) -> None:
        """Answer what is asked, each question for itself and once: some take a second. What is too
        many is taken out of the store without an answer."""
        queries = dict(self._state.queries)
        self._state.queries.clear()
        if self._writer.refused:
            return  # whoever is asked under this name is another
        refused = self._answering.take(queries)
        if refused:
            log.warning("questions=refused count=%d", len(refused))
            with contextlib.suppress(IsthmusError):  # then they are forgotten by who asks
                await self._south.transact([delete(Query.TABLE, row_id) for row_id in refused])

    async def _answer_one(self, row_id: RowId, query: Query) -> None:
        try:
            found = await self._switch.answer(query)
        except Unavailable as error:
            found = refusal(query, error)
        except Exception as error:  # whatever a question does, the host goes on
            log.exception("question=failed %s", query.question[:80])
            found = refusal(query, Broken(f"a fault of the agent: {error!r}"))
        with contextlib.suppress(IsthmusError):  # then nobody waits any more
            await self._south.transact([insert(found.TABLE, found), delete(query.TABLE, row_id)])
