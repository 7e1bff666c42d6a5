# SPDX-License-Identifier: Apache-2.0
"""An Open vSwitch as the switch of a host (`host.switch.Switch`): its data base and its OpenFlow
connection, and the work that keeps its bridge, its tunnels and its flows at what was derived.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Never

from isthmus.agent.ovs import database, questions
from isthmus.agent.ovs.flushing import Flushing
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.metrics import HostMetrics
from isthmus.agent.ovs.packets import PacketAnswers
from isthmus.agent.ovs.priming import Primer
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.programming import Programmer
from isthmus.agent.ovs.settings import OvsSettings
from isthmus.agent.ovs.tunnel_probing import ANSWERS
from isthmus.agent.ovs.vitals import Vitals
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Unavailable
from isthmus.host.facts import LocalPort, Reach
from isthmus.host.switch import HostAgent, SwitchStatus
from isthmus.policy.heartbeats import HEARTBEAT_S
from isthmus.policy.rows import Answer, Query
from isthmus.store import connection as ovsdb
from isthmus.switches.ovs import connection as openflow
from isthmus.switches.ovs import control
from isthmus.switches.ovs.allowed import WATCHING_ALLOWED
from isthmus.switches.ovs.pipeline import Programmed
from isthmus.switches.ovs.probed import PROBING
from isthmus.switches.ovs.shown_drops import WATCHING_DROPS
from isthmus.switches.ovs.tunnels import TUNNELS
from isthmus.tending import Tending
from isthmus.wire.openflow_packets import PacketIn

log = logging.getLogger(__name__)

WATCH_S = 0.3
"""Between two tellings of what was dropped and allowed."""


class OvsSwitch:
    """The switch of one host."""

    def __init__(self, state: OvsHost, settings: OvsSettings, tending: Tending) -> None:
        self._state, self._settings, self._tending = state, settings, tending
        self._primer = Primer(settings.datapath_type)
        self._openflow = openflow.Connection(
            settings.switch_run_directory / f"{settings.bridge}.mgmt",
            on_connected=self._openflow_connected,
            on_packet_in=self._packet_in,
        )
        self._programmer = Programmer(state, self._openflow)
        self._database = ovsdb.Connection(
            [settings.switch],
            "Open_vSwitch",
            database.ROWS,
            name="switch",
            on_changes=self._database_changed,
        )
        self._flushing = Flushing(
            state, self._openflow, settings.switch_run_directory, self._changed
        )
        self._vitals = Vitals(
            state,
            self._database,
            self._openflow,
            bridge=settings.bridge,
            datapath_type=settings.datapath_type,
            run_directory=settings.switch_run_directory,
            underlay_interface=settings.underlay_interface,
            tending=tending,
            at_rest=lambda: self._is_at_rest,
            compare=self._programmer.compare,
            on_reports=self._changed,
        )
        self._watches, self._probing = Watches(state), Probing(state)
        self._packets = PacketAnswers(
            state,
            self._openflow,
            {
                **dict.fromkeys((WATCHING_DROPS, WATCHING_ALLOWED), self._watched_packet),
                PROBING: self._probing.take,
                TUNNELS: self._vitals.tunnels.take,
            },
        )
        self._agent: HostAgent | None = None
        """None until it is known what is plugged."""
        self._is_at_rest = False
        self._watched = asyncio.Event()

    async def run(self, agent: HostAgent) -> Never:
        """As `host.switch.Switch` has it."""
        await self._database.start()
        try:
            await self._database.loaded()
            kept = database.kept(self._database.rows, self._settings.bridge, database.NUMBERS)
            self._state.remember(kept)
            self._read_database()
            self._agent = agent
            agent.changed()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._openflow.run())
                watch = self._tending.whenever("watch", self._watched, self._watch)
                tasks.create_task(watch)
                tasks.create_task(self._tending.every(HEARTBEAT_S, "prime", self._prime))
                tasks.create_task(self._vitals.run())
        finally:
            await self._database.stop()
            self._primer.close()
        raise AssertionError("the tasks end by cancellation only")

    def metrics(self) -> HostMetrics:
        """What rules, stages and ports have counted."""
        rows = self._state.engine.rows
        return HostMetrics(
            lambda: questions.count(self._state, self._openflow),
            self._packets.counters,
            lambda: (len(rows(LocalPort)), len(rows(Programmed))),
            lambda: self._vitals.connections.counted,
        )

    def status(self) -> SwitchStatus:
        """As `host.switch.Switch` has it."""
        switches = self._database.table(database.Switch)
        versions = [row.ovs_version for row in switches.values()]
        return SwitchStatus(
            mark=next(iter(switches), ""),
            version=(versions[0] if versions else None) or "",
            capabilities=(ANSWERS,),
            flows=len(self._state.engine.rows(Programmed)),
            problems=tuple(self._vitals.problems()),
        )

    # -- what comes in -----------------------------------------------------------------------------

    def _changed(self) -> None:
        if self._agent is not None:
            self._agent.changed()

    def _database_changed(self, _changes: Sequence[ovsdb.Change]) -> None:
        if self._agent is not None:
            self._read_database()
            self._changed()

    def _read_database(self) -> None:
        rows, bridge = self._database.rows, self._settings.bridge
        self._state.bridge_changed(
            database.local_ports(rows, bridge),
            database.tunnel_ports(rows, bridge),
            control.forwarding(self._settings.switch_run_directory),
        )

    def _openflow_connected(self) -> None:
        self._read_database()
        self._programmer.forget()
        self._vitals.look_again()
        self._changed()

    def _watched_packet(self, packet: PacketIn) -> None:
        self._watches.take(packet, time.time_ns() // 1000)

    def _packet_in(self, packet: PacketIn) -> None:
        try:
            is_news = self._packets.take(packet)
        except Exception as error:  # one packet of one guest must not end the connection of all
            self._tending.failed("take_packet", error)
            return
        if is_news:
            self._changed()

    # -- what goes out -----------------------------------------------------------------------------

    async def program(self, *, whole: bool) -> bool:
        """As `host.switch.Switch` has it: the bridge, its tunnels and its flows."""
        state = self._state
        self._is_at_rest = whole
        await self._prepare()
        if state.numbers.unsaved:
            await self._keep_numbers()
        if not self._openflow.connected:
            return False
        await self._vitals.connections.settle()
        if self._programmer.must_read and not whole:
            return False
        await self._programmer.program()
        await self._flushing.flush()
        state.numbers.programmed()
        self._primer.prime(
            change.key for change in state.engine.changes(Reach) if isinstance(change.key, int)
        )
        if self._programmer.must_go_on:
            self._programmer.must_go_on = False
            self._changed()
        return True

    async def _keep_numbers(self) -> None:
        """Tell the bridge of new numbers before the first flow that has them."""
        text = self._state.numbers.text()
        rows, bridge = self._database.rows, self._settings.bridge
        operations = database.keep(rows, bridge, database.NUMBERS, text)
        if operations:
            await self._database.transact(operations)
        self._state.numbers.unsaved = False

    async def _prepare(self) -> None:
        """The bridge and its tunnels, unless they are there."""
        settings, identity = self._settings, self._state.identity
        operations = database.needed_operations(
            self._database.rows,
            bridge_name=settings.bridge,
            datapath_type=settings.datapath_type,
            encapsulations=identity.encapsulations,
            provider_address=str(identity.provider_address),
        )
        if operations:
            await self._database.transact(operations)

    async def _prime(self) -> None:
        reached = self._state.engine.rows(Reach)
        self._primer.prime(key for key in reached if isinstance(key, int))

    # -- questions ---------------------------------------------------------------------------------

    async def answer(self, query: Query) -> Answer:
        """As `host.switch.Switch` has it."""
        settings, watches = self._settings, self._watches
        hands = questions.Switch(
            self._openflow,
            settings.switch_run_directory,
            settings.bridge,
            watches,
            self._probing,
            self._vitals.tunnels,
            settings.certificate,
            settings.authorities,
            self._vitals.problems,
        )
        try:
            return await questions.answer(query, self._state, hands)
        finally:
            if watches.any:
                self._watched.set()
            if watches.must_program:
                watches.must_program = False
                self._changed()

    async def _watch(self) -> None:
        """While somebody watches, tell what is seen; then have the flows as before."""
        self._watched.set()
        await asyncio.sleep(WATCH_S)
        watches, now_s = self._watches, time.monotonic()
        with contextlib.suppress(Unavailable):
            found = await self._openflow.dump_meter_stats()
            watches.note_metered({one.id: one.n_dropped for one in found})
        told = [*watches.answers(now_s)]
        if told and self._agent is not None:
            with contextlib.suppress(Unavailable):
                await self._agent.tell(told)
        if watches.expire(now_s):
            self._changed()
        if not watches.any:
            self._watched.clear()
