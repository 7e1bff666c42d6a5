# SPDX-License-Identifier: Apache-2.0
"""What hosts have said, in the shapes that people ask for it: `intent.render.States`.

Pure: rows of the south store go in, configurationState (MS-NCNBI section A.9) comes out. Stored
intent and what hosts report of it are two things: provisioningState is never touched here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import msgspec

from isthmus.controller.hearing import Hearing
from isthmus.intent.model import Json, JsonObject
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.host_problems import HostProblem, read, shown
from isthmus.policy.observed import believable
from isthmus.policy.placement import holder
from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    Port,
    PortStatus,
    Row,
)
from isthmus.policy.values import PortState

Observed = TypeVar("Observed", Claim, PortStatus)


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
"""Kinds of resources whose names a picture is told (`Picture.name`)."""


class Told:
    """What hosts have said of the ports in a virtual network, as far as its own state needs it."""

    def __init__(self) -> None:
        self.by: set[tuple[str, str]] = set()
        """Ports and hosts."""
        self.wrong: set[tuple[str, str]] = set()
        """Those of which the host says that they are in error."""
        self.latest_us = 0

    def learn(self, status: PortStatus) -> None:
        self.by.add((status.port, status.host))
        self.latest_us = max(self.latest_us, status.changed_us)
        if status.state is PortState.ERROR:
            self.wrong.add((status.port, status.host))

    def forget(self, status: PortStatus) -> None:
        self.by.discard((status.port, status.host))
        self.wrong.discard((status.port, status.host))


def network_of(segment: str) -> str:
    """The name of the virtual network that a segment is in."""
    return segment.partition("/")[0]


class Picture:
    """The south store's rows by what they are about. Look-ups are O(1) or O(result).

    What hosts say is believed as far as `policy.observed` has it; `now_s` is the time of day, which
    nothing that a host says is later than.
    """

    def __init__(self, now_s: Callable[[], float], hearing: Hearing) -> None:
        self._now_s = now_s
        self.hearing = hearing
        self.ports: dict[str, Port] = {}
        self.hosts: dict[str, Host] = {}
        self.host_statuses: dict[str, HostStatus] = {}
        self.heartbeats: dict[str, Heartbeat] = {}
        self.claims_by_port: defaultdict[str, dict[str, Claim]] = defaultdict(dict)
        self.statuses_by_port: defaultdict[str, dict[str, PortStatus]] = defaultdict(dict)
        self._ports_by_host: defaultdict[str, set[str]] = defaultdict(set)
        self._port_by_profile: dict[str, str] = {}
        self._named: dict[str, str] = {}
        """By instanceId: what policy calls what is of the kinds `NAMED`."""
        self._ports_by_rule_set: defaultdict[str, set[str]] = defaultdict(set)
        self._told_of: defaultdict[str, Told] = defaultdict(Told)
        """By virtual network."""

    def change(self, old: Row | None, new: Row | None) -> None:
        """Take in one changed row. A row that another of the same key replaces goes first."""
        old = None if old is None else believable(old)
        new = None if new is None else believable(new)
        if old is not None and (new is None or new.key != old.key):
            self._forget(old)
        if new is not None:
            self._learn(new)

    def _learn(self, row: Row) -> None:
        match row:
            case Port():
                before = self.ports.get(row.id)
                if before is not None:
                    self._forget_rule_sets(before)
                self.ports[row.id] = row
                self._port_by_profile[row.profile_id] = row.id
                for one in row.rule_sets:
                    self._ports_by_rule_set[one.rule_set].add(row.id)
            case Host():
                self.hosts[row.id] = row
            case HostStatus():
                self.host_statuses[row.host] = row
            case Heartbeat():
                self.heartbeats[row.host] = row
                self.hearing.heard(row.host)
            case Claim():
                self.claims_by_port[row.port][row.host] = row
                self._ports_by_host[row.host].add(row.port)
            case PortStatus():
                self._forget_told(row)
                row = msgspec.structs.replace(row, changed_us=min(row.changed_us, self._now_us()))
                self.statuses_by_port[row.port][row.host] = row
                self._told_of[network_of(row.segment)].learn(row)

    def _forget(self, row: Row) -> None:
        match row:
            case Port():
                self._forget_rule_sets(row)
                self.ports.pop(row.id, None)
                if self._port_by_profile.get(row.profile_id) == row.id:
                    del self._port_by_profile[row.profile_id]
            case Host():
                self.hosts.pop(row.id, None)
            case HostStatus():
                self.host_statuses.pop(row.host, None)
            case Heartbeat():
                self.heartbeats.pop(row.host, None)
                self.hearing.forget(row.host)
            case Claim():
                _drop(self.claims_by_port, row.port, row.host)
                _discard(self._ports_by_host, row.host, row.port)
            case PortStatus():
                self._forget_told(row)
                _drop(self.statuses_by_port, row.port, row.host)

    def _forget_rule_sets(self, row: Port) -> None:
        for one in row.rule_sets:
            _discard(self._ports_by_rule_set, one.rule_set, row.id)

    def _forget_told(self, row: PortStatus) -> None:
        before = self.statuses_by_port.get(row.port, {}).get(row.host)
        if before is not None:
            network = network_of(before.segment)
            self._told_of[network].forget(before)
            if not self._told_of[network].by:
                del self._told_of[network]

    # -- hosts -------------------------------------------------------------------------------------

    def host_views(self) -> list[HostView]:
        """Every host that is wanted or has been heard of, by name."""
        names = {*self.hosts, *self.host_statuses, *self.heartbeats, *self._claiming_hosts()}
        return [self.host_view(name) for name in sorted(names)]

    def _claiming_hosts(self) -> list[str]:
        return [host for host, ports in self._ports_by_host.items() if ports]

    def host_view(self, host: str) -> HostView:
        return HostView(
            host=host,
            known=host in self.hosts,
            alive=self.hearing.is_alive(host),
            age_s=self.hearing.age_s(host),
            status=self.host_statuses.get(host),
            heartbeat=self.heartbeats.get(host),
            claims=len(self._ports_by_host.get(host, ())),
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

    # -- ports -------------------------------------------------------------------------------------

    def claim_of(self, port: str) -> Claim | None:
        """The claim that has the port, by the rule that hosts follow too."""
        claims = self.claims_by_port.get(port, {})
        return holder(claims.values(), self.ports.get(port), self.hosts)

    def status_of(self, port: str) -> PortStatus | None:
        """What the host that has the port says of it."""
        claim = self.claim_of(port)
        return None if claim is None else self.statuses_by_port.get(port, {}).get(claim.host)

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
        if kind == "networkInterfaces":
            port = self._port_by_profile.get(instance_id.lower())
            claim = None if port is None else self.claim_of(port)
            host = None if claim is None else self.hosts.get(claim.host)
            return (host.origin,) if host is not None else ()
        host_id = self._host_by_instance(instance_id)
        if kind != "servers" or host_id is None:
            return ()
        return [
            self.ports[port].origin
            for port in sorted(self._ports_by_host.get(host_id, ()))
            if port in self.ports and (claim := self.claim_of(port)) and claim.host == host_id
        ]

    def _port_state(self, instance_id: str) -> JsonObject | None:
        port_id = self._port_by_profile.get(instance_id.lower())
        port = None if port_id is None else self.ports.get(port_id)
        claim = None if port is None else self.claim_of(port.id)
        status = None if port is None else self.status_of(port.id)
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
        under = sorted(self._ports_by_rule_set.get(name, ())) if name else ()
        statuses = [status for port in under if (status := self.status_of(port)) is not None]
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
        if told is None or not told.by:
            return None
        ports = sorted({port for port, _ in told.wrong})
        statuses = [status for port in ports if (status := self.status_of(port)) is not None]
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
        port = self.ports.get(status.port)
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


def _discard(sets: dict[str, set[str]], key: str, member: str) -> None:
    members = sets.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del sets[key]


def _drop(rows: dict[str, dict[str, Observed]], port: str, host: str) -> None:
    inner = rows.get(port)
    if inner is not None:
        inner.pop(host, None)
        if not inner:
            del rows[port]


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
