# SPDX-License-Identifier: Apache-2.0
"""What an Open vSwitch host remembers beside what every host does: the ids that it has allocated,
what its switch refuses, what was sent to it, and whose connections are to be forgotten. No I/O and
no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from isthmus.agent.ovs.comparing import Tally
from isthmus.agent.ovs.forgetting import Forgetting, zones_of
from isthmus.agent.ovs.refusals import MAY_MEND, Refusals
from isthmus.derive.engine import Change
from isthmus.host.facts import THIS, Identity, LocalPort, Problem
from isthmus.host.ours import SouthChange
from isthmus.host.state import HostState
from isthmus.policy.rows import Port
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import (
    DomainFacts,
    Limits,
    Meter,
    SegmentFacts,
    ThisBridge,
    TrackedAddress,
)
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.features import FEATURES
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow
from isthmus.switches.ovs.program import program_of
from isthmus.switches.ovs.resync import added, openflow_meter
from isthmus.wire import openflow as of
from isthmus.wire.openflow import Flow

DEFAULT_LIMITS = Limits()


class Changes(NamedTuple):
    """What the switch needs next."""

    adds: tuple[Flow, ...]
    deletes: tuple[Flow, ...]
    meters: tuple[of.Meter, ...]
    deleted_meters: tuple[of.Meter, ...]


class OvsHost(HostState):
    """`limits`: how many connections and fragments the host follows."""

    def __init__(
        self,
        identity: Identity,
        limits: Limits = DEFAULT_LIMITS,
        features: Sequence[Feature] = FEATURES,
    ) -> None:
        super().__init__(identity, program_of(features))
        self.features = tuple(features)
        """What its program, its packets, its refusals and its decisions are made of."""
        self.limits = limits
        self.numbers = Numbers()
        """What this host has numbered; kept on the bridge."""
        self.refusals = Refusals(self.engine, features)
        self.tally = Tally()
        self.forgetting = Forgetting()

    # -- input -------------------------------------------------------------------------------------

    def south_changed(self, changes: Sequence[SouthChange]) -> None:
        super().south_changed(changes)
        if any(isinstance(one.new or one.old, MAY_MEND) for one in changes):
            self.refusals.try_again()

    def bridge_changed(
        self,
        ports: Mapping[str, LocalPort],
        tunnel_ports: Mapping[str, int],
        forwarding: str = "",
    ) -> None:
        """What is plugged, by interface id, the OpenFlow ports of the tunnels, and who forwards."""
        tunnels = tuple(sorted(tunnel_ports.items()))
        self.engine.put(ThisBridge, THIS, ThisBridge(tunnels, forwarding, self.limits))
        self.switch_changed(ports)

    # -- conclusions -------------------------------------------------------------------------------

    def remember(self, numbers: str) -> None:
        """What the bridge says was numbered before; once, before anything is derived."""
        self.numbers = Numbers(numbers)
        self.numbers.load(self.engine)

    def derive(self, *, whole: bool) -> None:
        self.numbers.follow(self.engine, release=whole)
        while self.refusals.contradictions():
            self.numbers.follow(self.engine, release=whole)

    def ports_changed(self, changes: Sequence[Change]) -> None:
        zones = zones_of(self.engine, self.numbers.of(ZONES))
        self.forgetting.ports_changed(changes, zones)

    def refusals_of(self, port_id: str) -> Iterator[Problem]:
        for error in self.refusals.of_port(port_id):
            detail = f"the switch refuses a flow: {error}"
            yield Problem(port_id, "PolicyConfigurationFailure", detail)

    @property
    def contradictions(self) -> Sequence[str]:
        return self.refusals.told

    def changes(self) -> Changes:
        """What has changed in the program since the last call."""
        changed = self.engine.changes(Programmed)
        deletes = []
        for change in changed:
            self.tally.flow_changed(change)
            key, old, new = change
            assert isinstance(key, FlowKey)
            if new is None and isinstance(old, Programmed):
                deletes.append(flow(key, old))
                self.refusals.forget(key)
        meters, gone = [], []
        for change in self.engine.changes(Meter):
            self.tally.meter_changed(change)
            if isinstance(change.new, Meter):
                meters.append(openflow_meter(change.new))
            elif isinstance(change.old, Meter):
                gone.append(openflow_meter(change.old))
        return Changes(added(changed), tuple(deletes), tuple(meters), tuple(gone))

    def skip_changes(self) -> None:
        """Forget what has changed: the switch is compared with the whole program."""
        for change in self.engine.changes(Programmed):
            self.tally.flow_changed(change)
            if change.new is None and isinstance(change.key, FlowKey):
                self.refusals.forget(change.key)
        for change in self.engine.changes(Meter):
            self.tally.meter_changed(change)

    def forgotten(self) -> tuple[list[int], list[TrackedAddress]]:
        """Zones and addresses of which connections are to be forgotten since the last call."""
        changes = self.engine.changes(TrackedAddress)
        gone = self.forgetting.step(changes, self.engine.rows(Port), self._zone_of)
        return [n for kind, n in self.numbers.given_up if kind == ZONES], gone

    def _zone_of(self, segment: str) -> int | None:
        facts = self.engine.rows(SegmentFacts).get(segment)
        domain = None if facts is None else self.engine.rows(DomainFacts).get(facts.domain_key)
        return None if domain is None else domain.zone

    def refused(self, refusals: Iterable[tuple[Flow, str]]) -> bool:
        """Flows that the switch did not take: the port that each belongs to shows it. True if
        something is closed for it, and the program another."""
        closed, ports = self.refusals.take(refusals)
        self.report(ports)
        return closed
