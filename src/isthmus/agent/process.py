# SPDX-License-Identifier: Apache-2.0
"""The agent's process: carries rows, interfaces and packets to `HostState`, and its conclusions to
the switch and the store.

Order is what keeps traffic alive. Nothing is taken off the switch before the south store has been
read and the scope has come to rest; after either end was lost, the switch is read again and only
what differs is changed. When the agent ends it leaves everything as it is: flows, claims, tunnels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Never

from isthmus.agent import reports
from isthmus.agent.answering import Answering
from isthmus.agent.ovs import database, questions
from isthmus.agent.ovs.flushing import Flushing
from isthmus.agent.ovs.host import HostState
from isthmus.agent.ovs.metrics import HostMetrics, MetricsServer
from isthmus.agent.ovs.packets import PacketAnswers
from isthmus.agent.ovs.priming import Primer
from isthmus.agent.ovs.programming import Programmer
from isthmus.agent.ovs.vitals import Vitals
from isthmus.agent.settings import Settings
from isthmus.agent.writing import Writer
from isthmus.errors import Broken, IsthmusError, Unavailable
from isthmus.host import remembered, scope
from isthmus.host.namesake import instance_of
from isthmus.host.stored import SouthChange
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.rows import Heartbeat, HostStatus, Query, row_or_none
from isthmus.store import connection as ovsdb
from isthmus.switches.ovs import connection as openflow
from isthmus.switches.ovs import control
from isthmus.switches.ovs.facts import LocalPort, Reach
from isthmus.switches.ovs.pipeline import Programmed
from isthmus.tending import Tending
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.ovsdb import RowId, delete, insert

log = logging.getLogger(__name__)

NARROW_AFTER_S = 5.0
"""Until rows that are no longer needed are no longer asked for."""

STORE_SHARE = 0.2
"""Of its time, how much the store may take to look for what one host asks for anew,"""

WIDEN_AHEAD_S = 0.3
"""and how far ahead of that share it may be asked: a port in a network that is new to its host asks
three times, for its segment, the segment's router and all that this reaches."""

WATCH_S = 0.3
"""Between two tellings of what was dropped and allowed."""


class Agent:
    """One host's agent."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = HostState(settings.identity)
        self._packets = PacketAnswers(self.state, self._tunnel_answer)
        self._primer = Primer(settings.datapath_type)
        self._openflow = openflow.Connection(
            settings.switch_run_directory / f"{settings.bridge}.mgmt",
            on_connected=self._openflow_connected,
            on_packet_in=self._packet_in,
        )
        self._programmer = Programmer(self.state, self._openflow)
        self._switch = ovsdb.Connection(
            [settings.switch],
            "Open_vSwitch",
            database.ROWS,
            name="switch",
            on_changes=self._switch_changed,
        )
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
        self._tending = Tending()
        self._flushing = Flushing(
            self.state, self._openflow, settings.switch_run_directory, self._to_program.set
        )
        self._vitals = Vitals(
            self.state,
            self._switch,
            self._openflow,
            bridge=settings.bridge,
            datapath_type=settings.datapath_type,
            run_directory=settings.switch_run_directory,
            underlay_interface=settings.underlay_interface,
            tending=self._tending,
            at_rest=lambda: self._is_at_rest,
            compare=self._programmer.compare,
            on_changed=self._to_write.set,
            on_reports=self._to_program.set,
        )
        self._to_answer = asyncio.Event()
        self._answering = Answering(
            self._answer_one, lambda row_id: row_id in self._south.table(Query)
        )
        self._scope_changed, self._watched = asyncio.Event(), asyncio.Event()
        self._scope: scope.Conditions = {}
        """What follows from what has been read,"""
        self._scope_asked: scope.Conditions = {}
        """what the south store has been asked for,"""
        self._scope_read: scope.Conditions | None = None
        """and what it has given; None before the first time."""
        self._widen_after_s = 0.0
        self._narrowing: asyncio.TimerHandle | None = None
        self._programmed_probe = 0

    async def run(self) -> Never:
        """Serve until cancelled."""
        metrics = await self._serve_metrics()
        await self._switch.start()
        try:
            await self._switch.loaded()
            instance = instance_of(next(iter(self._switch.table(database.Switch)), ""))
            self._writer = Writer(self.state, self._south, instance)
            bridge = self.settings.bridge
            self.state.remember(database.kept(self._switch.rows, bridge, database.NUMBERS))
            self._read_switch()
            self.state.settle()
            self._scope = self.state.conditions()
            hint = remembered.load(self.settings.scope_file)
            # What is remembered may be out of date: then it is widened, and narrowed later.
            self._scope_asked = scope.union(hint, self._scope)
            await self._south.set_conditions(self._scope_asked)
            await self._south.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._openflow.run())
                for name, event, work in (
                    ("program", self._to_program, self._program),
                    ("write", self._to_write, self._write),
                    ("answer", self._to_answer, self._answer),
                    ("widen_scope", self._scope_changed, self._widen_scope),
                    ("watch", self._watched, self._watch),
                ):
                    tasks.create_task(self._tending.whenever(name, event, work))
                tasks.create_task(self._tending.every(HEARTBEAT_S, "beat", self._beat))
                tasks.create_task(self._vitals.run())
        finally:
            if metrics is not None:
                await metrics.stop()
            await self._south.stop()
            await self._switch.stop()
            self._primer.close()
        raise AssertionError("the tasks end by cancellation only")

    async def _serve_metrics(self) -> MetricsServer | None:
        """Raises Invalid."""
        if not self.settings.metrics:
            return None
        rows = self.state.engine.rows
        collector = HostMetrics(
            lambda: questions.count(self.state, self._openflow),
            self._packets.counters,
            lambda: (len(rows(LocalPort)), len(rows(Programmed))),
            lambda: self._vitals.connections.counted,
        )
        server = MetricsServer(collector)
        await server.start(self.settings.metrics)
        return server

    # -- what comes in -----------------------------------------------------------------------------

    def _switch_changed(self, _changes: Sequence[ovsdb.Change]) -> None:
        self._read_switch()
        self._to_program.set()

    def _read_switch(self) -> None:
        rows, bridge = self._switch.rows, self.settings.bridge
        self.state.switch_changed(
            database.local_ports(rows, bridge),
            database.tunnel_ports(rows, bridge),
            control.forwarding(self.settings.switch_run_directory),
        )

    def _south_changed(self, changes: Sequence[ovsdb.Change]) -> None:
        self.state.south_changed(
            [SouthChange(c.row_id, row_or_none(c.old), row_or_none(c.new)) for c in changes]
        )
        if any(c.row_type is not Heartbeat for c in changes):
            self._to_program.set()
        if self.state.queries:
            self._to_answer.set()

    def _south_connected(self, connected: bool) -> None:
        if connected:
            self._scope_read = self._scope_asked
            self._writer.listen()
            self.state.report_all()
            self._to_program.set()
            self._to_write.set()

    def _openflow_connected(self) -> None:
        self._read_switch()
        self._programmer.forget()
        self._vitals.look_again()
        self._to_program.set()

    def _tunnel_answer(self, packet: PacketIn) -> None:
        self._vitals.tunnels.take(packet)

    def _packet_in(self, packet: PacketIn) -> None:
        try:
            is_news = self._packets.take(packet, self._openflow)
        except Exception as error:  # one packet of one guest must not end the connection of all
            self._tending.failed("take_packet", error)
            return
        if is_news:
            self._to_program.set()

    # -- what goes out -----------------------------------------------------------------------------

    async def _program(self) -> None:
        """Derive, and bring the bridge, its tunnels and its flows to what was derived."""
        if not self._writer.judge():
            self._to_write.set()  # why, and nothing else: the switch stays as it is
            return
        await self._prepare_switch()
        state, probe = self.state, self.state.probe
        state.settle()
        self._scope = state.conditions()
        at_rest = self._is_at_rest
        if at_rest:
            state.settle(whole=True)
        else:
            self._scope_changed.set()
        if state.numbers.unsaved:
            await self._keep_numbers()
        if at_rest and self._scope != self._scope_read and self._narrowing is None:
            # To ask for less can wait: it costs the store a look at every row, and more often than
            # not a new port is on its way to hosts just then.
            loop = asyncio.get_running_loop()
            self._narrowing = loop.call_later(NARROW_AFTER_S, self._scope_changed.set)
        if not self._openflow.connected:
            return
        await self._vitals.connections.settle()
        if self._programmer.must_read and not at_rest:
            return
        ports, now_us = state.take_reports(), time.time_ns() // 1000
        statuses = {port: state.wanted_status(port, now_us) for port in ports}
        try:
            await self._programmer.program()
        except BaseException:
            state.report_all()
            raise
        await self._flushing.flush()
        state.numbers.programmed()
        self._writer.note(statuses)
        if at_rest:
            self._programmed_probe = probe
        self._primer.prime(
            change.key for change in state.engine.changes(Reach) if isinstance(change.key, int)
        )
        self._to_write.set()
        if state.has_reports or self._programmer.must_go_on:
            self._programmer.must_go_on = False
            self._to_program.set()

    @property
    def _is_at_rest(self) -> bool:
        """Whether all has been read that our ports need."""
        return self._scope_read is not None and scope.covers(self._scope_read, self._scope)

    async def _keep_numbers(self) -> None:
        """Tell the bridge of new numbers before the first flow that has them."""
        text = self.state.numbers.text()
        rows, bridge = self._switch.rows, self.settings.bridge
        operations = database.keep(rows, bridge, database.NUMBERS, text)
        if operations:
            await self._switch.transact(operations)
        self.state.numbers.unsaved = False

    async def _prepare_switch(self) -> None:
        """The bridge and its tunnels, unless they are there."""
        settings = self.settings
        operations = database.needed_operations(
            self._switch.rows,
            bridge_name=settings.bridge,
            datapath_type=settings.datapath_type,
            encapsulations=settings.identity.encapsulations,
            provider_address=str(settings.identity.provider_address),
        )
        if operations:
            await self._switch.transact(operations)

    async def _widen_scope(self) -> None:
        """Ask for what the scope has come to be; what comes may widen it once more.

        The store looks at every row to answer. A few changes are asked for at once; of many that
        follow each other, as when ports come in bulk, several are asked for together.
        """
        await asyncio.sleep(max(0.0, self._widen_after_s - WIDEN_AHEAD_S - time.monotonic()))
        if self._narrowing is not None:
            self._narrowing.cancel()
            self._narrowing = None
        wanted = self._scope
        if wanted != self._scope_read and self._south.connected:
            self._scope_asked = wanted
            started_s = time.monotonic()
            # How long we take to derive from what has come is no burden of the store.
            taken_s = await self._south.set_conditions(wanted)
            self._widen_after_s = max(self._widen_after_s, started_s) + taken_s / STORE_SHARE
            self._scope_read = wanted
            self._to_program.set()
            remembered.save(wanted, self.settings.scope_file)

    async def _write(self) -> None:
        """Tell the store what has become of our ports, and of the host."""
        was_refused = self._writer.refused
        await self._writer.write(self._host_status(), self._heartbeat())
        if was_refused and not self._writer.refused:
            self._to_program.set()

    def _host_status(self) -> HostStatus:
        found = [row.ovs_version for row in self._switch.table(database.Switch).values()]
        return reports.host_status(
            self.state,
            version=self.settings.version,
            switch_version=(found[0] if found else None) or "",
            instance=self._writer.instance,
        )

    def _heartbeat(self) -> Heartbeat:
        return reports.heartbeat(
            self.state,
            at_s=int(time.time()),
            probe=self._programmed_probe,
            problems=[one.text for one in self._vitals.problems()],
        )

    async def _answer(self) -> None:
        """Answer what is asked, each question for itself and once: some take a second. What is too
        many is taken out of the store without an answer."""
        queries = dict(self.state.queries)
        self.state.queries.clear()
        if self._writer.refused:
            return  # whoever is asked under this name is another
        refused = self._answering.take(queries)
        if refused:
            log.warning("questions=refused count=%d", len(refused))
            with contextlib.suppress(IsthmusError):  # then they are forgotten by who asks
                await self._south.transact([delete(Query.TABLE, row_id) for row_id in refused])

    async def _answer_one(self, row_id: RowId, query: Query) -> None:
        settings, watches = self.settings, self._packets.watches
        hands = questions.Switch(
            self._openflow,
            settings.switch_run_directory,
            settings.bridge,
            watches,
            self._packets.probing,
            self._vitals.tunnels,
            settings.certificate,
            settings.authorities,
            self._vitals.problems,
        )
        try:
            found = await questions.answer(query, self.state, hands)
        except Unavailable as error:
            found = questions.refusal(query, error)
        except Exception as error:  # whatever a question does, the host goes on
            log.exception("question=failed %s", query.question[:80])
            found = questions.refusal(query, Broken(f"a fault of the agent: {error!r}"))
        with contextlib.suppress(IsthmusError):  # then nobody waits any more
            await self._south.transact([insert(found.TABLE, found), delete(query.TABLE, row_id)])
        if watches.any:
            self._watched.set()
        if watches.must_program:
            watches.must_program = False
            self._to_program.set()

    async def _watch(self) -> None:
        """While somebody watches, tell what is seen; then have the flows as before."""
        self._watched.set()
        await asyncio.sleep(WATCH_S)
        watches, now_s = self._packets.watches, time.monotonic()
        with contextlib.suppress(Unavailable):
            found = await self._openflow.dump_meter_stats()
            watches.note_metered({one.id: one.n_dropped for one in found})
        told = [insert(one.TABLE, one) for one in watches.answers(now_s)]
        if told:
            with contextlib.suppress(Unavailable):
                await self._south.transact(told)
        if watches.expire(now_s):
            self._to_program.set()
        if not watches.any:
            self._watched.clear()

    async def _beat(self) -> None:
        self._to_write.set()
        reached = self.state.engine.rows(Reach)
        self._primer.prime(key for key in reached if isinstance(key, int))
