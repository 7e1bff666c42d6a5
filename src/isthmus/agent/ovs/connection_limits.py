# SPDX-License-Identifier: Apache-2.0
"""How many connections a host follows, and how many fragments wait for each other: tells its switch
the limits, and says who is at one.

Open vSwitch has limits by zone of connection tracking, of which each routing domain has one, and
each pair of peered ones. They are in the memory of ovs-vswitchd (or of the kernel), so they are set
again when another forwards, and whenever a look finds others. Ports have meters (`switches/ovs/
opening.py`, `switches/ovs/fragments.py`), which keep the room for fragments, that of the host, from
being filled by one. Where the kernel forwards, that is a setting of the host.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import IsthmusError
from isthmus.host.facts import THIS
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Router
from isthmus.switches.ovs import control
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import DomainFacts, Limits, SegmentFacts, ThisBridge
from isthmus.switches.ovs.pipeline import (
    ARRIVING_METERS,
    FRAGMENT_METERS,
    OPENED_METERS,
    OPENING_METERS,
)
from isthmus.wire.openflow_replies import MeterStats

log = logging.getLogger(__name__)

TOLD_S = 60.0
"""For how long it is said of somebody that it was at a limit."""
NEAR = 0.8
"""The share of a network's limit from which on it is said."""
MOST_TOLD = 8
"""Ports; of more it is said how many."""
ZONES_AT_ONCE = 500
MOST_FRAGMENTS = 5000
"""That wait for each other; more cannot be set. Unset, 1000 do."""

_ZONE = re.compile(r"^zone=(\d+),limit=(\d+),count=(\d+)$", re.MULTILINE)
_STATUS = re.compile(r"^\s*max num frags \(v4/v6\): (\d+)\n\s*num frag: (\d+)$", re.MULTILINE)
OPENINGS: Mapping[int, str] = {OPENING_METERS: "out", OPENED_METERS: "in"}
FRAGMENTS: Mapping[int, str] = {FRAGMENT_METERS: "out", ARRIVING_METERS: "in"}
_OFPORT = 0xFFFF


class Zone(NamedTuple):
    """What the switch says of one."""

    limit: int
    n_connections: int


class Waiting(NamedTuple):
    """What the switch says of fragments: how many may wait for others of their packets, and do."""

    limit: int
    n_fragments: int


class Counted(NamedTuple):
    """What was found at the last look: networks by name, and packets that a port's meter has
    dropped, by port and direction (`out` or `in`): of what opens connections, and fragments."""

    networks: Mapping[str, Zone] = {}
    dropped: Mapping[tuple[str, str], int] = {}
    fragments: Mapping[tuple[str, str], int] = {}
    waiting: Waiting | None = None
    """None where the kernel forwards."""


class Findings:
    """Who was at a limit a moment ago. Pure."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._before: Counted | None = None
        """What meters had dropped at the look before; None before the first."""
        self._last_s: dict[HostProblem, float] = {}

    def look(self, counted: Counted, now_s: float) -> None:
        for name, zone in counted.networks.items():
            problem = self._of_network(name, zone)
            if problem is not None:
                self._last_s[problem] = now_s
        if counted.waiting is not None and counted.waiting.n_fragments >= NEAR * MOST_FRAGMENTS:
            self._last_s[_FULL_OF_FRAGMENTS] = now_s
        before, self._before = self._before, counted
        if before is not None:
            for port, direction in _more(counted.dropped, before.dropped):
                self._last_s[self._of_port(port, direction)] = now_s
            for port, direction in _more(counted.fragments, before.fragments):
                self._last_s[self._of_fragments(port, direction)] = now_s
        over = [one for one, last_s in self._last_s.items() if now_s - last_s > TOLD_S]
        for one in over:
            del self._last_s[one]

    @property
    def problems(self) -> tuple[HostProblem, ...]:
        found = sorted(self._last_s)
        full = {one.about for one in found if one.code == FULL}
        networks = [
            one for one in found if one.code == FULL or (one.code == MANY and one.about not in full)
        ]
        return (
            *networks,
            *(one for one in found if one.code == FRAGMENTS_MANY),
            *_some(found, FAST, _REPAIR_PORT, "open connections faster than this host lets them"),
            *_some(found, FRAGMENTS_FAST, _REPAIR_FRAGMENTS, "have more fragments than they may"),
        )

    def _of_network(self, name: str, zone: Zone) -> HostProblem | None:
        if not zone.limit or zone.n_connections < NEAR * zone.limit:
            return None
        if zone.n_connections < zone.limit:
            text = f"network {name} comes near to its limit of {zone.limit} connections here"
            return HostProblem(MANY, name, text, _REPAIR_NETWORK)
        text = (
            f"network {name} has the {zone.limit} connections that it may have here: no new one"
            " works under rules"
        )
        return HostProblem(FULL, name, text, _REPAIR_NETWORK)

    def _of_port(self, port: str, direction: str) -> HostProblem:
        rate = f"{self._limits.opened_pps} a second"
        text = (
            f"port {port} opens more connections than {rate}"
            if direction == "out"
            else f"more connections than {rate} are opened to port {port} from other hosts"
        )
        return HostProblem(FAST, port, f"{text}: what is above that is dropped", _REPAIR_PORT)

    def _of_fragments(self, port: str, direction: str) -> HostProblem:
        rate = f"{self._limits.fragments_pps} fragments a second"
        text = (
            f"port {port} sends more than {rate}"
            if direction == "out"
            else f"more than {rate} come to port {port} from other hosts"
        )
        text += " under rules: what is above that is dropped"
        return HostProblem(FRAGMENTS_FAST, port, text, _REPAIR_FRAGMENTS)


def _more(
    now: Mapping[tuple[str, str], int], before: Mapping[tuple[str, str], int]
) -> Iterator[tuple[str, str]]:
    """A meter that was made anew counts from 0."""
    return (one for one, number in now.items() if number > before.get(one, 0))


def _some(found: Iterable[HostProblem], code: str, repair: str, what: str) -> list[HostProblem]:
    """Those of a code, or some of them and how many more."""
    ports = [one for one in found if one.code == code]
    more = len(ports) - MOST_TOLD
    if more <= 0:
        return ports
    return [*ports[:MOST_TOLD], HostProblem(code, "", f"{more} more ports {what}", repair)]


FULL, MANY, FAST = "connections-full", "connections-many", "connections-fast"
_REPAIR_NETWORK = (
    "see which of its ports opens them (isthmus counters, ovs-appctl dpctl/dump-conntrack); or set"
    " connections_per_network under [agent] of the configuration"
)
_REPAIR_PORT = (
    "see what its guest does; stateless rules need no connections; or set"
    " new_connections_per_port under [agent] of the configuration"
)
FRAGMENTS_MANY, FRAGMENTS_FAST = "fragments-many", "fragments-fast"
_REPAIR_FRAGMENTS = (
    "let its guest send packets that fit its MTU; fragments under stateless rules have no limit; or"
    " set fragments_per_port under [agent] of the configuration"
)
_FULL_OF_FRAGMENTS = HostProblem(
    FRAGMENTS_MANY,
    "",
    f"of the {MOST_FRAGMENTS} fragments that may wait here for the others of their packets, nearly"
    " all do: more, of whatever port, are lost under rules",
    "see whose they are (isthmus counters, ovs-appctl dpctl/ipf-get-status -m); or set"
    " fragments_per_port lower under [agent] of the configuration",
)


def zones_from(text: str) -> dict[int, Zone]:
    """What ``dpctl/ct-get-limits`` prints: zones that have a limit."""
    return {
        int(number): Zone(int(limit), int(count)) for number, limit, count in _ZONE.findall(text)
    }


def dropped_by_port(
    stats: Iterable[MeterStats], state: OvsHost, meters: Mapping[int, str]
) -> dict[tuple[str, str], int]:
    """What the meters of ports have dropped, as in `Counted`: those of OPENINGS or FRAGMENTS."""
    found = {}
    for one in stats:
        direction = meters.get(one.id & ~_OFPORT)
        port = state.port_behind(one.id & _OFPORT) if direction else None
        if direction and port is not None:
            found[port.id, direction] = one.n_dropped
    return found


class Meters(Protocol):
    """The switch, as far as it is asked what its meters have counted."""

    async def dump_meter_stats(self) -> list[MeterStats]: ...


class ConnectionLimits:
    """Of one host. `datapath_type` tells that of its bridge now."""

    def __init__(
        self,
        state: OvsHost,
        connection: Meters,
        run_directory: Path,
        datapath_type: Callable[[], str],
    ) -> None:
        self.counted = Counted()
        self._state, self._connection = state, connection
        self._run_directory, self._datapath_type = run_directory, datapath_type
        self._findings = Findings(state.limits)
        self._set: set[int] = set()
        self._has_room = False
        self._forwarding = ""
        self._failure: HostProblem | None = None

    @property
    def problems(self) -> tuple[HostProblem, ...]:
        return (*([self._failure] if self._failure else []), *self._findings.problems)

    async def settle(self) -> None:
        """Before there are flows of a zone. What fails is said, and done at the next look: ports
        do not wait for it."""
        this = self._state.engine.rows(ThisBridge).get(THIS)
        forwarding = this.forwarding if isinstance(this, ThisBridge) else ""
        if forwarding != self._forwarding:
            self._forwarding = forwarding
            self._set.clear()
            self._has_room = False
        wanted = set(self._state.numbers.of(ZONES).values())
        new, gone = wanted - self._set, self._set - wanted
        makes_room = self._in_userspace and not self._has_room
        if not new and not gone and not makes_room:
            return
        limit = self._state.limits.connections
        try:
            if makes_room:
                await self._ask(_MAKE_ROOM, [str(MOST_FRAGMENTS)])
                self._has_room = True
            if new and limit:
                await self._ask("dpctl/ct-set-limits", (f"zone={z},limit={limit}" for z in new))
            unlimited = gone if limit else {*gone, *new}
            if unlimited:
                zones = ",".join(map(str, sorted(unlimited)))
                await self._ask("dpctl/ct-del-limits", [f"zone={zones}"])
        except IsthmusError as error:
            log.warning("work=limits error=%s", error)
            self._failure = HostProblem(
                *("connection-limits", ""),
                f"the switch takes no limits of connections: {error.message}",
                "is ovs-vswitchd running, and of version 2.10 or newer?",
            )
            return
        self._failure = None
        self._set = wanted

    async def look(self, now_s: float) -> None:
        """Count, and set again what is not as it was set. Raises Unavailable."""
        found = zones_from(await control.ask(self._run_directory, _GET, [self._datapath]))
        limit = self._state.limits.connections
        if limit and any(zone not in found or found[zone].limit != limit for zone in self._set):
            self._set.clear()
        waiting = await self._waiting()
        if waiting is not None and waiting.limit != MOST_FRAGMENTS:
            self._has_room = False
        await self.settle()
        stats = await self._connection.dump_meter_stats()
        names = dict(self._names())
        networks = {names[zone]: one for zone, one in found.items() if zone in names}
        self.counted = Counted(
            networks,
            dropped_by_port(stats, self._state, OPENINGS),
            dropped_by_port(stats, self._state, FRAGMENTS),
            waiting,
        )
        self._findings.look(self.counted, now_s)

    async def _waiting(self) -> Waiting | None:
        if not self._in_userspace:
            return None
        text = await control.ask(self._run_directory, _GET_FRAGMENTS, [self._datapath])
        found = _STATUS.search(text)
        return found and Waiting(*map(int, found.groups()))

    @property
    def _in_userspace(self) -> bool:
        return self._datapath_type() == "netdev"

    @property
    def _datapath(self) -> str:
        kind = self._datapath_type()
        return f"{kind}@ovs-{kind}"

    async def _ask(self, command: str, arguments: Iterable[str]) -> None:
        rest = list(arguments)
        while rest:
            some, rest = rest[:ZONES_AT_ONCE], rest[ZONES_AT_ONCE:]
            await control.ask(self._run_directory, command, [self._datapath, *some])

    def _names(self) -> Iterator[tuple[int, str]]:
        """Zones by the names of their networks."""
        rows = self._state.engine.rows
        of_domain = {one.domain: one.segment for one in rows(SegmentFacts).values()}
        of_domain |= {router.rdid: router.id for router in rows(Router).values()}
        of_domain |= {
            one.domain: ", ".join(one.routers) for one in rows(DomainFacts).values() if one.routers
        }
        for name, zone in self._state.numbers.of(ZONES).items():
            domains = [int(part) for part in name.split() if part.isdecimal()]
            known = [of_domain[domain] for domain in domains if domain in of_domain]
            if known and len(known) == len(domains):
                yield zone, " and ".join(known)


_GET, _GET_FRAGMENTS = "dpctl/ct-get-limits", "dpctl/ipf-get-status"
_MAKE_ROOM = "dpctl/ipf-set-max-nfrags"
