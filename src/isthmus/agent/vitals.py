# SPDX-License-Identifier: Apache-2.0
"""Looks after what comes by no event, and says what is wrong with it: the switch (does it answer),
its interfaces, the underlay, the tunnels to peers; and asks guests for their address pairs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Never

from isthmus.agent import interfaces, links, scope, switch, underlay
from isthmus.agent.comparing import Comparing
from isthmus.agent.host import HostState
from isthmus.agent.pair_asking import PairAsking
from isthmus.agent.tunnel_probing import TunnelProbing
from isthmus.errors import IsthmusError, Unavailable
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Port
from isthmus.store import connection as ovsdb
from isthmus.switches.ovs import connection as openflow
from isthmus.switches.ovs.facts import LocalPort
from isthmus.wire import openflow_actions as act

log = logging.getLogger(__name__)

ASKED_EVERY_S = 1.0
"""How often the switch is asked whether it is there, and all is looked at for what is wrong."""
SILENT_S = 3.0
"""A switch that takes ten thousand flows at once is busy for less; after ten the connection is
given up (`switches.ovs.connection`)."""
UNDERLAY_EVERY_S = 5.0
"""An ovs-vswitchd that starts again makes its bridges' interfaces anew, without addresses."""
COMPARED_EVERY_S = 5.0
"""With what was sent (`comparing`): a switch answers in a millisecond, whatever it holds."""
TUNNELS_EVERY_S = 30.0
"""All peers at once, of which there may be a thousand."""
GUESTS_EVERY_S = 10.0
"""How long an address pair may stay with its former holder when its announcement was missed."""
AGAIN_S = 5.0
"""Where a peer did not answer."""


class Vitals:
    """Of one host. `at_rest` tells whether all that its ports need has been read; `compare` whether
    the switch must be read, for it holds something else than was sent to it; `on_changed` is called
    when something else is wrong than before, `on_reports` when ports are to be reported, or the
    switch is to be programmed."""

    def __init__(
        self,
        state: HostState,
        rows: ovsdb.Connection,
        openflow_connection: openflow.Connection,
        *,
        bridge: str,
        datapath_type: str,
        run_directory: Path,
        underlay_interface: str,
        at_rest: Callable[[], bool],
        compare: Callable[[Comparing], Awaitable[bool]],
        on_changed: Callable[[], None],
        on_reports: Callable[[], None],
    ) -> None:
        self.tunnels = TunnelProbing(state, openflow_connection)
        self.comparing = Comparing(bridge)
        self._state, self._switch, self._openflow = state, rows, openflow_connection
        self._bridge, self._datapath_type = bridge, datapath_type
        self._run_directory, self._underlay_interface = run_directory, underlay_interface
        self._at_rest, self._on_changed, self._on_reports = at_rest, on_changed, on_reports
        self._compare = compare
        self._asked_s: float | None = None
        """Since when the switch owes an answer."""
        self._underlay: HostProblem | None = None
        self._told: list[HostProblem] = []
        self._look = asyncio.Event()

    async def run(self) -> Never:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_asking())
            tasks.create_task(self._keep_underlay())
            tasks.create_task(self._keep_probing())
            tasks.create_task(self._keep_asking_guests())
            tasks.create_task(self._keep_comparing())
            tasks.create_task(self._keep_looking())
        raise AssertionError("the tasks end by cancellation only")

    def look_again(self) -> None:
        """The switch is a new one: look at the underlay now."""
        self._look.set()

    # -- what is wrong -----------------------------------------------------------------------------

    def problems(self) -> list[HostProblem]:
        """All that is wrong now."""
        rows = self._switch.rows
        errors = switch.interface_errors(rows, self._bridge)
        found = [
            HostProblem(
                *("interface-error", name),
                f"interface {name}: {error}",
                f"see ovs-vswitchd's log, or ovs-vsctl del-port {self._bridge} {name}",
            )
            for name, error in sorted(errors.items())
        ]
        if switch.waits_for_flows(rows):
            name = switch.FLOW_RESTORE_WAIT
            found.append(
                HostProblem(
                    *(name, self._bridge),
                    f"other_config:{name} is true: ovs-vswitchd forwards nothing from its start on",
                    f"ovs-vsctl remove open_vswitch . other_config {name}",
                )
            )
        silent = self._silence()
        return [
            *([silent] if silent else []),
            *([self._underlay] if self._underlay else []),
            *found,
            *self._interfaces(),
            *self.comparing.problems(time.monotonic()),
            *self.tunnels.problems,
        ]

    def _silence(self) -> HostProblem | None:
        asked_s = self._asked_s
        late = asked_s is not None and time.monotonic() - asked_s > SILENT_S
        if self._openflow.connected and not late:
            return None
        return HostProblem(
            *("switch-silent", self._bridge),
            f"{self._bridge} does not answer on its OpenFlow socket in {self._run_directory}",
            "is ovs-vswitchd running? systemctl status openvswitch-switch; one that hangs has to"
            " be started again",
        )

    def _interfaces(self) -> list[HostProblem]:
        state = self._state
        names = state.engine.rows(scope.Unresolved) if self._at_rest() else {}

        def port_of(name: str) -> str:
            keys = sorted(state.engine.entry(scope.PORTS_BY_PROFILE, name), key=repr)
            known = name in state.engine.rows(Port)
            return name if known or not keys else str(keys[0])

        return interfaces.problems(
            switch.interfaces_of(self._switch.rows, self._bridge),
            bridge=self._bridge,
            unknown={str(name) for name in names},
            port_of=port_of,
            used={port.ofport for port in state.engine.rows(LocalPort).values()},
        )

    async def _keep_looking(self) -> Never:
        while True:
            await asyncio.sleep(ASKED_EVERY_S)
            found = self.problems()
            if found != self._told:
                for one in found:
                    if one not in self._told:
                        log.warning("problem=%s about=%s %s", one.code, one.about or "-", one.shown)
                self._told = found
                self._on_changed()

    # -- the switch --------------------------------------------------------------------------------

    async def _keep_asking(self) -> Never:
        """A switch that hangs keeps its connection, and would show at the next change only."""
        while True:
            await asyncio.sleep(ASKED_EVERY_S)
            if self._openflow.connected:
                self._asked_s = time.monotonic()
                try:
                    await self._openflow.barrier()
                except IsthmusError as error:
                    log.warning("switch=silent error=%s", error)
                self._asked_s = None

    async def _keep_comparing(self) -> Never:
        is_read = False
        while True:
            await asyncio.sleep(ASKED_EVERY_S if is_read else COMPARED_EVERY_S)
            is_read = False
            if self._openflow.connected:
                with contextlib.suppress(Unavailable):  # it is told that the switch is silent
                    is_read = await self._compare(self.comparing)
            if is_read:
                self._on_reports()

    # -- the underlay ------------------------------------------------------------------------------

    async def _keep_underlay(self) -> Never:
        while True:
            try:
                await self._tend_underlay()
            except IsthmusError as error:
                log.warning("work=underlay error=%s", error)
                self._underlay = underlay.failure(self._underlay_interface, error.message)
            try:
                async with asyncio.timeout(UNDERLAY_EVERY_S):
                    await self._look.wait()
            except TimeoutError:
                pass
            self._look.clear()

    async def _tend_underlay(self) -> None:
        rows, address = self._switch.rows, str(self._state.identity.provider_address)
        types = switch.datapath_types(rows)
        kind = types.get(self._bridge, self._datapath_type)
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
        types = switch.datapath_types(rows)
        return underlay.Ground(
            provider_address=str(self._state.identity.provider_address),
            datapath_type=types.get(self._bridge, self._datapath_type),
            interface=self._underlay_interface,
            links=await asyncio.to_thread(links.read),
            bridges=types,
            kept=underlay.kept_from(switch.kept(rows, underlay.BRIDGE, underlay.KEPT)),
        )

    async def _take(self, ground: underlay.Ground, steps: underlay.Steps) -> None:
        rows, interface = self._switch.rows, ground.interface
        if steps.make_bridge:
            log.info("underlay=bridge bridge=%s interface=%s", underlay.BRIDGE, interface)
            await self._switch.transact(
                switch.uplink_bridge(rows, underlay.BRIDGE, interface, steps.make_bridge)
            )
            until_s = time.monotonic() + UNDERLAY_EVERY_S
            while time.monotonic() < until_s:
                if underlay.BRIDGE in await asyncio.to_thread(links.read):
                    break
                await asyncio.sleep(0.1)
        if steps.keep is not None:
            # Written down first: whatever ends us on the way, the next one finds what to give.
            text = underlay.kept_text(steps.keep)
            operations = switch.keep(rows, underlay.BRIDGE, underlay.KEPT, text)
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
            await self.tunnels.round()
            await asyncio.sleep(AGAIN_S if self.tunnels.problems else TUNNELS_EVERY_S)

    # -- guests ------------------------------------------------------------------------------------

    async def _keep_asking_guests(self) -> Never:
        """Which address pairs they hold, also while nobody announces any."""
        asking = PairAsking(self._state)
        while True:
            if self._at_rest() and self._openflow.connected:
                with contextlib.suppress(Unavailable):
                    for ofport, frame in asking.questions():
                        self._openflow.send_packet_out(frame, [act.output(ofport)])
                if self._state.has_reports:
                    self._on_reports()
                await asyncio.sleep(GUESTS_EVERY_S)
            else:
                await asyncio.sleep(ASKED_EVERY_S)


def _move(interface: str, belongings: links.Belongings) -> None:
    # Taken first: with an address that is on both, the kernel forgets the bridge's routes as well.
    # Connections of this host outlive the moment between.
    links.quieten(interface)
    links.take(interface, belongings)
    links.give(underlay.BRIDGE, belongings)


def _restore(interface: str, belongings: links.Belongings) -> None:
    links.quieten(interface)
    links.give(underlay.BRIDGE, belongings)
