# SPDX-License-Identifier: Apache-2.0
"""Looks after what comes by no event, and says what is wrong with it: the switch (does it answer),
its interfaces, the underlay, the tunnels to peers; and asks guests for their address pairs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Never

from isthmus.agent.ovs import database, interfaces, links, underlay
from isthmus.agent.ovs.comparing import Comparing
from isthmus.agent.ovs.connection_limits import ConnectionLimits
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.tunnel_probing import TunnelProbing
from isthmus.errors import IsthmusError, Unavailable
from isthmus.host import scope
from isthmus.host.facts import LocalPort, Plugged
from isthmus.host.interfaces import port_named
from isthmus.host.solicitations import PairAsking
from isthmus.policy.host_problems import HostProblem
from isthmus.store import connection as ovsdb
from isthmus.switches.ovs import connection as openflow
from isthmus.switches.ovs.facts import LocalMember
from isthmus.tending import Tending
from isthmus.wire import openflow_actions as act
from isthmus.wire.openflow_replies import PortDescription

log = logging.getLogger(__name__)

ASKED_EVERY_S = 1.0
"""How often the switch is asked whether it is there."""
SILENT_S = 3.0
"""A switch that takes ten thousand flows at once is busy for less; after ten the connection is
given up (`switches.ovs.connection`)."""
PORTS_EVERY_S = 5.0
"""How often all ports are asked what they were told not to do: 72 bytes a port."""
UNDERLAY_EVERY_S = 5.0
"""An ovs-vswitchd that starts again makes its bridges' interfaces anew, without addresses."""
COMPARED_EVERY_S = 5.0
"""With what was sent (`comparing`): a switch answers in a millisecond, whatever it holds."""
TUNNELS_EVERY_S = 30.0
"""All peers at once, of which there may be a thousand."""
CONNECTIONS_EVERY_S = 5.0
"""Who is at a limit of connections; a port has three or four meters, all told at once."""
GUESTS_EVERY_S = 10.0
"""How long an address pair may stay with its former holder when its announcement was missed."""
AGAIN_S = 5.0
"""Where a peer did not answer."""


class Vitals:
    """Of one host. `at_rest` tells whether all that its ports need has been read; `compare` whether
    the switch must be read, for it holds something else than was sent to it; `on_reports` is called
    when ports are to be reported, or the switch is to be programmed."""

    def __init__(
        self,
        state: OvsHost,
        rows: ovsdb.Connection,
        openflow_connection: openflow.Connection,
        *,
        bridge: str,
        datapath_type: str,
        run_directory: Path,
        underlay_interface: str,
        tending: Tending,
        at_rest: Callable[[], bool],
        compare: Callable[[Comparing], Awaitable[bool]],
        on_reports: Callable[[], None],
    ) -> None:
        self.tunnels = TunnelProbing(state, openflow_connection)
        self.connections = ConnectionLimits(
            state, openflow_connection, run_directory, lambda: self._kind
        )
        self.comparing = Comparing(bridge)
        self._state, self._switch, self._openflow = state, rows, openflow_connection
        self._bridge, self._datapath_type = bridge, datapath_type
        self._run_directory, self._underlay_interface = run_directory, underlay_interface
        self._tending = tending
        self._asking, self._guests_asked = PairAsking(state), False
        self._at_rest, self._on_reports = at_rest, on_reports
        self._compare, self._is_read = compare, False
        self._asked_s: float | None = None
        """Since when the switch owes an answer."""
        self._underlay: HostProblem | None = None
        self._described: list[PortDescription] = []
        """The switch's ports as they were last, at which moment they are to be asked for again."""
        self._describe_s = 0.0
        self._look = asyncio.Event()

    async def run(self) -> Never:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            every = self._tending.every
            tasks.create_task(every(ASKED_EVERY_S, "ask_switch", self._ask_switch))
            tasks.create_task(self._keep_underlay())
            tasks.create_task(self._keep_probing())
            tasks.create_task(self._keep_asking_guests())
            tasks.create_task(every(CONNECTIONS_EVERY_S, "count_connections", self._count))
            tasks.create_task(self._keep_comparing())
        raise AssertionError("the tasks end by cancellation only")

    def look_again(self) -> None:
        """The switch is a new one: look at the underlay now."""
        self._look.set()

    # -- what is wrong -----------------------------------------------------------------------------

    def problems(self) -> list[HostProblem]:
        """All that is wrong now. That one part cannot be looked at is a problem like the others."""
        found: list[HostProblem] = []
        for name, part in (
            ("look_at_store", self._store),
            ("look_at_switch", self._silence),
            ("look_at_ports", self._ports),
            ("look_at_errors", self._errors),
            ("look_at_interfaces", self._interfaces),
            ("look_at_settings", self._settings),
        ):
            try:
                found += part()
            except Exception as error:
                self._tending.failed(name, error)
            else:
                self._tending.went_well(name)
        if self._underlay is not None:
            found.append(self._underlay)
        found += self.comparing.problems(time.monotonic())
        return [*found, *self.tunnels.problems, *self.connections.problems]

    def _store(self) -> Iterator[HostProblem]:
        if not self._switch.connected:
            yield HostProblem(
                *("switch-store", ""),
                "the switch's data base does not answer, so that nothing plugged or unplugged since"
                f" is seen: {self._switch.problem}",
                "is its ovsdb-server running? systemctl status ovsdb-server; one that hangs has to"
                " be started again",
            )

    def _ports(self) -> list[HostProblem]:
        if not self._openflow.connected:
            return []
        found = database.interfaces_of(self._switch.rows, self._bridge)
        return interfaces.closed(found, self._described, bridge=self._bridge, port_of=self._port_of)

    def _errors(self) -> list[HostProblem]:
        errors = database.interface_errors(self._switch.rows, self._bridge)
        return [
            HostProblem(
                *("interface-error", name),
                f"interface {name}: {error}",
                f"see ovs-vswitchd's log, or ovs-vsctl del-port {self._bridge} {name}",
            )
            for name, error in sorted(errors.items())
        ]

    def _settings(self) -> Iterator[HostProblem]:
        if database.waits_for_flows(self._switch.rows):
            name = database.FLOW_RESTORE_WAIT
            yield HostProblem(
                *(name, self._bridge),
                f"other_config:{name} is true: ovs-vswitchd forwards nothing from its start on",
                f"ovs-vsctl remove open_vswitch . other_config {name}",
            )

    def _silence(self) -> Iterator[HostProblem]:
        asked_s = self._asked_s
        late = asked_s is not None and time.monotonic() - asked_s > SILENT_S
        if self._openflow.connected and not late:
            return
        if not self._openflow.connected and self._openflow.refusal:
            yield HostProblem(
                *("switch-refuses", self._bridge),
                f"{self._bridge} is there and is not spoken with: {self._openflow.refusal}",
                f"ovs-vsctl get bridge {self._bridge} protocols must show none or"
                f" {database.PROTOCOL} among others; see ovs-vswitchd's log",
            )
            return
        yield HostProblem(
            *("switch-silent", self._bridge),
            f"{self._bridge} does not answer on its OpenFlow socket in {self._run_directory}",
            "is ovs-vswitchd running? systemctl status openvswitch-switch; one that hangs has to"
            " be started again",
        )

    def _interfaces(self) -> list[HostProblem]:
        state = self._state
        names = state.engine.rows(scope.Unresolved) if self._at_rest() else {}

        return interfaces.problems(
            database.interfaces_of(self._switch.rows, self._bridge),
            bridge=self._bridge,
            unknown={str(name) for name in names},
            port_of=self._port_of,
            used={port.ofport for port in state.engine.rows(LocalPort).values()},
        )

    def _port_of(self, name: str) -> str:
        """The port that an interface's name means."""
        port = port_named(name, self._state.engine)
        return name if port is None else port.id

    # -- the switch --------------------------------------------------------------------------------

    async def _ask_switch(self) -> None:
        """A switch that hangs keeps its connection, and would show at the next change only."""
        if self._openflow.connected:
            self._asked_s = time.monotonic()
            try:
                await self._openflow.barrier()
                if time.monotonic() >= self._describe_s:
                    self._described = await self._openflow.dump_ports()
                    self._describe_s = time.monotonic() + PORTS_EVERY_S
            except IsthmusError as error:
                log.warning("switch=silent error=%s", error)
            finally:
                self._asked_s = None

    async def _keep_comparing(self) -> Never:
        while True:
            await asyncio.sleep(ASKED_EVERY_S if self._is_read else COMPARED_EVERY_S)
            self._is_read = False
            await self._tending.attempt("compare_switch", self._compare_once)

    async def _compare_once(self) -> None:
        if self._openflow.connected:
            with contextlib.suppress(Unavailable):  # it is told that the switch is silent
                self._is_read = await self._compare(self.comparing)
        if self._is_read:
            self._on_reports()

    # -- the underlay ------------------------------------------------------------------------------

    async def _keep_underlay(self) -> Never:
        while True:
            await self._tending.attempt("underlay", self._mend_underlay)
            try:
                async with asyncio.timeout(UNDERLAY_EVERY_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    async def _mend_underlay(self) -> None:
        try:
            await self._tend_underlay()
        except IsthmusError as error:
            self._underlay = underlay.failure(self._underlay_interface, error.message)
            raise

    async def _tend_underlay(self) -> None:
        rows, address = self._switch.rows, str(self._state.identity.provider_address)
        types = database.datapath_types(rows)
        kind = self._kind
        if underlay.is_well(address, kind, self._underlay_interface, links.addresses(), types):
            self._underlay = None
            return
        for _ in range(4):  # make the bridge, keep what is taken, give it
            ground = await self._ground()
            self._underlay = underlay.problem(ground)
            steps = underlay.steps(ground)
            if steps == underlay.Steps():
                return
            await self._take(ground, steps)

    async def _ground(self) -> underlay.Ground:
        rows = self._switch.rows
        types = database.datapath_types(rows)
        return underlay.Ground(
            provider_address=str(self._state.identity.provider_address),
            datapath_type=self._kind,
            interface=self._underlay_interface,
            links=await asyncio.to_thread(links.read),
            bridges=types,
            kept=underlay.kept_from(database.kept(rows, underlay.BRIDGE, underlay.KEPT)),
        )

    async def _take(self, ground: underlay.Ground, steps: underlay.Steps) -> None:
        rows, interface = self._switch.rows, ground.interface
        if steps.make_bridge:
            log.info("underlay=bridge bridge=%s interface=%s", underlay.BRIDGE, interface)
            await self._switch.transact(
                database.uplink_bridge(rows, underlay.BRIDGE, interface, steps.make_bridge)
            )
            until_s = time.monotonic() + UNDERLAY_EVERY_S
            while time.monotonic() < until_s:
                if underlay.BRIDGE in await asyncio.to_thread(links.read):
                    break
                await asyncio.sleep(0.1)
        if steps.keep is not None:
            # Written down first: whatever ends us on the way, the next one finds what to give.
            text = underlay.kept_text(steps.keep)
            operations = database.keep(rows, underlay.BRIDGE, underlay.KEPT, text)
            if operations:
                await self._switch.transact(operations)
            log.info("underlay=moving from=%s addresses=%s", interface, text)
            await asyncio.to_thread(_move, interface, steps.keep)
        if steps.give is not None:
            log.info("underlay=giving addresses=%s", underlay.kept_text(steps.give))
            await asyncio.to_thread(_restore, interface, steps.give)

    # -- tunnels -----------------------------------------------------------------------------------

    async def _keep_probing(self) -> Never:
        while True:
            await self._tending.attempt("probe_tunnels", self.tunnels.round)
            await asyncio.sleep(AGAIN_S if self.tunnels.problems else TUNNELS_EVERY_S)

    # -- connections -------------------------------------------------------------------------------

    async def _count(self) -> None:
        if self._openflow.connected:
            with contextlib.suppress(Unavailable):  # a switch that is silent is told as such
                await self.connections.look(time.monotonic())

    @property
    def _kind(self) -> str:
        """The bridge's datapath type."""
        types = database.datapath_types(self._switch.rows)
        return types.get(self._bridge, self._datapath_type)

    # -- guests ------------------------------------------------------------------------------------

    async def _keep_asking_guests(self) -> Never:
        """Which address pairs they hold, also while nobody announces any."""
        while True:
            self._guests_asked = False
            await self._tending.attempt("ask_guests", self._ask_guests)
            await asyncio.sleep(GUESTS_EVERY_S if self._guests_asked else ASKED_EVERY_S)

    async def _ask_guests(self) -> None:
        if not self._at_rest() or not self._openflow.connected:
            return
        self._guests_asked = True
        with contextlib.suppress(Unavailable):
            for ofport, frame in self._asking.questions(self._passing()):
                self._openflow.send_packet_out(frame, [act.output(ofport)])
        if self._state.has_reports:
            self._on_reports()

    def _passing(self) -> list[Plugged]:
        """The ports here that may send something."""
        members = self._state.engine.rows(LocalMember).values()
        return [Plugged(member.port, member.ofport) for member in members]


def _move(interface: str, belongings: links.Belongings) -> None:
    # Taken first: with an address that is on both, the kernel forgets the bridge's routes as well.
    # Connections of this host outlive the moment between.
    links.quieten(interface)
    links.take(interface, belongings)
    links.give(underlay.BRIDGE, belongings)


def _restore(interface: str, belongings: links.Belongings) -> None:
    links.quieten(interface)
    links.give(underlay.BRIDGE, belongings)
