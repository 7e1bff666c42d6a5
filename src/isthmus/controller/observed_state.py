# SPDX-License-Identifier: Apache-2.0
"""What hosts have said, in the shapes that people ask for it: `intent.render.States`.

Pure: rows of the south store go in, configurationState (MS-NCNBI section A.9) comes out. Stored
intent and what hosts report of it are two things: provisioningState is never touched here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from isthmus.controller.hearing import Hearing
from isthmus.controller.standings import Standings
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.host_problems import HostProblem, read, shown
from isthmus.policy.rows import Heartbeat, HostStatus, PortStatus, Row
from isthmus.policy.values import PortState
from isthmus.reach.kept import KeptWorld
from isthmus.reach.world import World


class HostView(NamedTuple):
    """One host as an operator sees it. `known`: there is a server of that name."""

    host: str
    known: bool
    alive: bool
    age_s: int | None
    """Since it was last heard of, by this controller's clock; None if it never was."""
    status: HostStatus | None
    heartbeat: Heartbeat | None
    claims: int


NAMED = ("servers", "accessControlLists", "virtualNetworks")
"""Kinds of resources whose names the observed state is told (`ObservedState.name`)."""


class Told:
    """What hosts have said of the ports in a virtual network, as far as its own state needs it."""

    def __init__(self) -> None:
        self.count = 0
        """Of statuses: one for each port and host."""
        self.wrong: set[tuple[str, str]] = set()
        """Ports and hosts that say that they are in error."""
        self.latest_us = 0

    def learn(self, status: PortStatus) -> None:
        self.count += 1
        self.latest_us = max(self.latest_us, status.changed_us)
        if status.state is PortState.ERROR:
            self.wrong.add((status.port, status.host))

    def forget(self, status: PortStatus) -> None:
        self.count -= 1
        self.wrong.discard((status.port, status.host))


def network_of(segment: str) -> str:
    """The name of the virtual network that a segment is in."""
    return segment.partition("/")[0]


class ObservedState:
    """The network as it is known now (`world`), and what is shown of it.

    `now_s` is the time of day, which nothing that a host says is later than.
    """

    def __init__(self, now_s: Callable[[], float], hearing: Hearing) -> None:
        self._now_s = now_s
        self.hearing = hearing
        self._kept = KeptWorld()
        self._standings = Standings()
        self._named: dict[str, str] = {}
        """By instanceId: what policy calls what is of the kinds `NAMED`."""
        self._told_of: defaultdict[str, Told] = defaultdict(Told)
        """By virtual network."""

    @property
    def world(self) -> World:
        """As it is now; who has waited asks again."""
        return self._kept.now

    def still(self) -> AbstractContextManager[World]:
        """See `reach.kept.KeptWorld.still`."""
        return self._kept.still()

    def change(self, old: Row | None, new: Row | None) -> None:
        """Take in one changed row. A row that another of the same key replaces goes first."""
        about = new if new is not None else old
        if isinstance(about, PortStatus):
            self._change_told(about, old, new)
        else:
            self._kept.change(old, new)
            self._hear(old, new)
        self._standings.note(self.world, old, new)

    def _change_told(self, about: PortStatus, old: Row | None, new: Row | None) -> None:
        if isinstance(new, PortStatus) and new.changed_us > self._now_us():
            new = msgspec.structs.replace(new, changed_us=self._now_us())
        self._forget_told(about)
        self._kept.change(old, new)
        status = self.world.statuses_by_port.one(about.port, about.host)
        if status is not None:
            self._told_of[network_of(status.segment)].learn(status)

    def _hear(self, old: Row | None, new: Row | None) -> None:
        if isinstance(new, Heartbeat):
            self.hearing.heard(new.host)
        elif isinstance(old, Heartbeat):
            self.hearing.forget(old.host)

    def _forget_told(self, row: PortStatus) -> None:
        before = self.world.statuses_by_port.one(row.port, row.host)
        if before is not None:
            network = network_of(before.segment)
            self._told_of[network].forget(before)
            if not self._told_of[network].count:
                del self._told_of[network]

    def standings(self) -> Mapping[str, int]:
        """See `Standings.counts`."""
        return self._standings.counts(self.world)

    # -- hosts -------------------------------------------------------------------------------------

    def host_views(self) -> list[HostView]:
        """Every host that is wanted or has been heard of, by name."""
        world = self.world
        names = {*world.hosts, *world.host_statuses, *world.heartbeats, *world.ports_by_host}
        return [self.host_view(name) for name in sorted(names)]

    def host_view(self, host: str) -> HostView:
        return HostView(
            host=host,
            known=host in self.world.hosts,
            alive=self.hearing.is_alive(host),
            age_s=self.hearing.age_s(host),
            status=self.world.host_statuses.get(host),
            heartbeat=self.world.heartbeats.get(host),
            claims=len(self.world.ports_by_host.get(host)),
        )

    def is_alive(self, host: str) -> bool:
        return self.hearing.is_alive(host)

    def _now_us(self) -> int:
        return int(self._now_s() * 1e6)

    def problems_of(self, view: HostView) -> list[HostProblem]:
        """What the host has said is wrong with it, as far as it is worth a word."""
        if view.heartbeat is None:
            return []
        sentences = view.heartbeat.problems
        alive = frozenset(
            one.about for one in map(read, sentences) if one.about and self.is_alive(one.about)
        )
        return shown(sentences, alive)

    # -- intent.render.States ----------------------------------------------------------------------

    def configuration_state(self, kind: str, instance_id: str) -> JsonObject | None:
        """``configurationState``; None while no host has said anything of the resource."""
        match kind:
            case "networkInterfaces":
                return self._port_state(instance_id)
            case "servers":
                return self._server_state(instance_id)
            case "accessControlLists":
                return self._rules_state(instance_id)
            case "virtualNetworks":
                return self._network_state(instance_id)
        return None

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        """References of the server that has a networkInterface, and the other way round."""
        world = self.world
        if kind == "networkInterfaces":
            port = world.port_of_profile(instance_id.lower())
            claim = None if port is None else world.claim_of(port.id)
            host = None if claim is None else world.hosts.get(claim.host)
            return (host.origin,) if host is not None else ()
        host_id = self._host_by_instance(instance_id)
        if kind != "servers" or host_id is None:
            return ()
        return [
            world.ports[port].origin
            for port in sorted(world.ports_by_host.get(host_id))
            if port in world.ports and (claim := world.claim_of(port)) and claim.host == host_id
        ]

    def _port_state(self, instance_id: str) -> JsonObject | None:
        port = self.world.port_of_profile(instance_id.lower())
        claim = None if port is None else self.world.claim_of(port.id)
        status = None if port is None else self.world.status_of(port.id)
        if port is None or claim is None or status is None:
            return None
        if not self.is_alive(claim.host):
            text = f"{claim.host} has the port and has not been heard of for {SILENT_AFTER_S} s"
            return _state("Failure", "HostUnreachable", text, status.changed_us, instance_id)
        if status.state is PortState.ERROR:
            text = f"on {claim.host}: {status.detail}"
            return _state("Failure", status.code, text, status.changed_us, instance_id)
        if status.revision != port.revision:
            text = f"{claim.host} has not applied the last change yet"
            return _state("InProgress", "Unknown", text, status.changed_us, instance_id)
        text = f"applied on {claim.host}"
        return _state("Success", "Success", text, status.changed_us, instance_id)

    def _rules_state(self, instance_id: str) -> JsonObject | None:
        """Of an access control list: that of the ports under it, with those in error."""
        name = self._named.get(instance_id.lower())
        under = sorted(self.world.ports_by_rule_set.get(name)) if name else ()
        statuses = [s for port in under if (s := self.world.status_of(port)) is not None]
        if not statuses:
            return None
        changed_us = max(status.changed_us for status in statuses)
        wrong = [status for status in statuses if status.state is PortState.ERROR]
        text = f"{len(wrong)} of {len(statuses)} ports under it are in error"
        if not wrong:
            text = f"applied to {len(statuses)} ports"
        return self._state_of_ports(wrong, text, changed_us, instance_id)

    def _network_state(self, instance_id: str) -> JsonObject | None:
        """Of a virtual network: that of the ports in it, with those in error."""
        told = self._told_of.get(self._named.get(instance_id.lower(), ""))
        if told is None:
            return None
        ports = sorted({port for port, _ in told.wrong})
        statuses = [s for port in ports if (s := self.world.status_of(port)) is not None]
        wrong = [status for status in statuses if status.state is PortState.ERROR]
        text = f"{len(wrong)} of its ports are in error" if wrong else "applied to its ports"
        return self._state_of_ports(wrong, text, told.latest_us, instance_id)

    def _state_of_ports(
        self, wrong: Sequence[PortStatus], text: str, changed_us: int, instance_id: str
    ) -> JsonObject:
        if not wrong:
            return _state("Success", "Success", text, changed_us, instance_id)
        errors: list[Json] = [
            {**state} for status in wrong if (state := self._port_state_of(status)) is not None
        ]
        code = "PolicyConfigurationFailure"
        state = _state("Failure", code, text, changed_us, instance_id)
        return {**state, "virtualNetworkInterfaceErrors": errors}

    def _port_state_of(self, status: PortStatus) -> JsonObject | None:
        port = self.world.ports.get(status.port)
        return None if port is None else self._port_state(port.profile_id)

    def _server_state(self, instance_id: str) -> JsonObject | None:
        host = self._host_by_instance(instance_id)
        if host is None:
            return None
        view = self.host_view(host)
        if view.heartbeat is None:
            return None
        at_us = min(view.heartbeat.at_s * 1_000_000, self._now_us())
        if not view.alive:
            text = f"not heard of for {view.age_s} s: is isthmus agent running there?"
            return _state("Failure", "HostNotConnectedToController", text, at_us, instance_id)
        problems = self.problems_of(view)
        if problems:
            text = "; ".join(problem.shown for problem in problems)
            return _state("Warning", "PolicyConfigurationFailure", text, at_us, instance_id)
        return _state("Success", "Success", "connected", at_us, instance_id)

    def _host_by_instance(self, instance_id: str) -> str | None:
        return self._named.get(instance_id.lower())

    def name(self, instance_id: str, name: str | None) -> None:
        """Tell what policy calls the server, the access control list or the virtual network of an
        instanceId; None when it has gone."""
        if name is None:
            self._named.pop(instance_id.lower(), None)
        else:
            self._named[instance_id.lower()] = name


def _state(
    status: str, code: str, message: str, changed_us: int, instance_id: str
) -> dict[str, Json]:
    at = datetime.fromtimestamp(changed_us // 1_000_000, UTC)
    return {
        "status": status,
        "detailedInfo": [{"source": "VirtualSwitch", "message": message, "code": code}],
        # ISO 8601 with seven digits of a second and an offset, as Windows prints it.
        "lastUpdatedTime": f"{at:%Y-%m-%dT%H:%M:%S}.{changed_us % 1_000_000:06d}0+00:00",
        "id": instance_id,
    }


def host_shown(view: HostView, problems: Sequence[HostProblem]) -> dict[str, Json]:
    """A host as JSON."""
    status, heartbeat = view.status, view.heartbeat
    return {
        "host": view.host,
        "known": view.known,
        "alive": view.alive,
        "ageSeconds": view.age_s,
        "claims": view.claims,
        "ports": 0 if heartbeat is None else heartbeat.ports,
        "flows": 0 if heartbeat is None else heartbeat.flows,
        "problems": [problem.shown for problem in problems],
        "encapsulations": [] if status is None else list(status.encapsulations),
        "providerAddresses": [] if status is None else [*map(str, status.provider_addresses)],
        "version": "" if status is None else status.version,
        "switchVersion": "" if status is None else status.switch_version,
    }
