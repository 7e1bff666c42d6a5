# SPDX-License-Identifier: Apache-2.0
"""One host as a value that changes: what it has read, and what follows for its switch and its rows.

No I/O and no clock. Rows and interfaces go in by `south_changed` and `switch_changed`; `settle`
derives; flows, conditions and reports come out. The process around it only carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from isthmus.agent.ovs.comparing import Tally
from isthmus.agent.ovs.forgetting import Forgetting, zones_of
from isthmus.agent.ovs.refusals import MAY_MEND, Refusals
from isthmus.derive.engine import Engine
from isthmus.host import scope
from isthmus.host.address_pairs import Pairs, others_of
from isthmus.host.claims import wanted_claim
from isthmus.host.namesake import second_name
from isthmus.host.scope import PORTS_BY_PROFILE, Conditions
from isthmus.host.statuses import PROBLEMS_BY_PORT, wanted_status
from isthmus.host.stored import SouthChange, Stored, keep
from isthmus.policy.observed import believable
from isthmus.policy.rows import (
    DESIRED,
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    Probe,
    Query,
    Row,
)
from isthmus.switches.ovs import program
from isthmus.switches.ovs.facts import (
    THIS,
    Ground,
    Limits,
    LocalPort,
    Location,
    Meter,
    Problem,
    ThisHost,
    TrackedAddress,
)
from isthmus.switches.ovs.ground import ZONES
from isthmus.switches.ovs.location import CLAIMS_BY_PORT, is_believed
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow
from isthmus.switches.ovs.resync import added, openflow_meter
from isthmus.wire import openflow as of
from isthmus.wire.openflow import Flow
from isthmus.wire.ovsdb import RowId


class Identity(NamedTuple):
    """Who the host is, and how much it follows. `encapsulations` in order of preference."""

    host: str
    provider_address: IPv4Address
    encapsulations: tuple[str, ...]
    limits: Limits = Limits()


class Changes(NamedTuple):
    """What the switch needs next."""

    adds: tuple[Flow, ...]
    deletes: tuple[Flow, ...]
    meters: tuple[of.Meter, ...]
    deleted_meters: tuple[of.Meter, ...]


class HostState:
    """The agent's picture, and its conclusions."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.engine = Engine(
            (*scope.UNITS, *program.UNITS),
            (*scope.INDEXES, *program.INDEXES, PROBLEMS_BY_PORT),
            (*scope.TABLES, *program.TABLES),
        )
        self.claims: dict[str, Stored[Claim]] = {}
        """Our claims as the store has them, by port; and so on."""
        self.statuses: dict[str, Stored[PortStatus]] = {}
        self.learned: dict[str, dict[str, Stored[LearnedAddress]]] = {}
        """By port, then by address."""
        self.heartbeat: Stored[Heartbeat] | None = None
        self.second_name = second_name(identity.provider_address)
        self.second_beat: Stored[Heartbeat] | None = None
        """What is said under that name, if its own is another agent's."""
        self.host_status: Stored[HostStatus] | None = None
        self.queries: dict[RowId, Query] = {}
        self.unreadable: set[tuple[str, object]] = set()
        """Desired rows with something in them that nobody can compute with, by table and key."""
        self.probe = 0
        self.numbers = Numbers()
        """What this host has numbered; kept on the bridge."""
        self.refusals = Refusals(self.engine)
        self.tally = Tally()
        self._ports_by_ofport: dict[int, str] = {}
        self._frames_seen: set[str] = set()
        self.pairs = Pairs()
        self.forgetting = Forgetting()
        self._claims_over: set[str] = set()
        """Ports that were unplugged since their claim was written."""
        self._conditions: Conditions | None = None
        self._to_report: set[str] = set()
        self._reported: set[str] = set()
        """Ports that were ours when they were last reported."""

    # -- input -------------------------------------------------------------------------------------

    def south_changed(self, changes: Sequence[SouthChange]) -> None:
        """Rows of the south store. A row that is replaced by one of the same key goes first."""
        for change in changes:
            if change.old is not None and (change.new is None or change.new.key != change.old.key):
                self._south(change.row_id, change.old, None)
        for change in changes:
            if change.new is not None:
                self._south(change.row_id, change.new, change.new)

    def _south(self, row_id: RowId, row: Row, new: Row | None) -> None:
        mine = self.identity.host
        match row:
            case PortStatus():
                keep(self.statuses, row.port, row_id, row, gone=new is None)
                self._to_report.add(row.port)
            case Heartbeat() if row.host == mine:
                self.heartbeat = None if new is None else Stored(row_id, row)
            case Heartbeat():
                # A scope that was remembered under another name reads that host's heartbeat too.
                if row.host == self.second_name:
                    self.second_beat = None if new is None else Stored(row_id, row)
            case Probe():
                self.probe = 0 if new is None or believable(row) is None else row.number
            case Query():
                if new is None or believable(row) is None:
                    self.queries.pop(row_id, None)
                else:
                    self.queries[row_id] = row
            case _:
                if isinstance(row, Claim):
                    self._to_report.add(row.port)
                    if row.host == mine:
                        keep(self.claims, row.port, row_id, row, gone=new is None)
                        self._claims_over.discard(row.port)
                elif isinstance(row, LearnedAddress) and row.host == mine:
                    of_port = self.learned.setdefault(row.port, {})
                    keep(of_port, row.address, row_id, row, gone=new is None)
                    if not of_port:
                        del self.learned[row.port]
                    self._to_report.add(row.port)
                elif isinstance(row, HostStatus) and row.host == mine:
                    self.host_status = None if new is None else Stored(row_id, row)
                elif isinstance(row, MAY_MEND):
                    self.refusals.try_again()
                # Our own rows are kept as they are, to be mended; what they say is believed as
                # little as what any host says.
                found = None if new is None else believable(new)
                self._note_unreadable(row, unreadable=found is not new)
                self.engine.put(type(row), row.key, found)

    def _note_unreadable(self, row: Row, *, unreadable: bool) -> None:
        if unreadable and isinstance(row, DESIRED):
            self.unreadable.add((row.TABLE, row.key))
        elif self.unreadable:
            self.unreadable.discard((row.TABLE, row.key))

    def switch_changed(
        self,
        ports: Mapping[str, LocalPort],
        tunnel_ports: Mapping[str, int],
        forwarding: str = "",
    ) -> None:
        """What is plugged, by interface id, the OpenFlow ports of the tunnels, and who forwards."""
        host, address, encapsulations, limits = self.identity
        tunnels = tuple(sorted(tunnel_ports.items()))
        this = ThisHost(host, int(address), encapsulations, tunnels, forwarding, limits)
        self.engine.put(ThisHost, THIS, this)
        known = self.engine.rows(LocalPort)
        was = {str(name): port for name, port in known.items()}
        for name in was.keys() - ports.keys():
            self._unplugged(name)
            self.engine.put(LocalPort, name, None)
        for name, port in ports.items():
            if was.get(name) != port:
                if name in was:
                    self._unplugged(name)
                self.engine.put(LocalPort, name, port)
                self._report_interface(name)
        self._ports_by_ofport = {port.ofport: name for name, port in ports.items()}

    def _unplugged(self, name: str) -> None:
        """What was known of the guest behind an interface is over, even if it is back at once."""
        self._report_interface(name)
        self._frames_seen.discard(name)
        port = self._port_named(name)
        if port is not None and port.id in self.claims:
            self._claims_over.add(port.id)
        if port is not None:
            self.pairs.forget(port.id)

    def frame_seen(self, ofport: int) -> None:
        """The guest behind an interface has sent something."""
        name = self._ports_by_ofport.get(ofport)
        if name is not None and name not in self._frames_seen:
            self._frames_seen.add(name)
            self._report_interface(name)

    def pair_seen(self, ofport: int, address: str, mac: str, *, asked: bool = False) -> bool:
        """A guest announces an address pair, or answers for it. True if that is news."""
        port = self.port_behind(ofport)
        if port is None:
            return False
        stored = self._stored_learned(port.id).get(address)
        others = others_of(self.engine, port, address)
        is_news = self.pairs.announce(
            port, self.identity.host, address, mac, stored, others, asked=asked
        )
        if is_news:
            self._to_report.add(port.id)
        return is_news

    def ask_pairs(self, port_id: str, addresses: Iterable[str]) -> None:
        """The guest of a port is asked for these address pairs now."""
        if self.pairs.ask(port_id, addresses):
            self._to_report.add(port_id)

    def report_all(self) -> None:
        """Everything of ours in the store is to be looked at again."""
        self._to_report |= self.claims.keys() | self.statuses.keys()
        for name in self.engine.rows(LocalPort):
            self._report_interface(str(name))

    # -- conclusions -------------------------------------------------------------------------------

    def remember(self, numbers: str) -> None:
        """What the bridge says was numbered before; once, before anything is derived."""
        self.numbers = Numbers(numbers)
        self.numbers.load(self.engine)

    def settle(self, *, whole: bool = False) -> None:
        """Derive. `whole`: all that is in scope has been read, so that numbers nobody wants may be
        given up."""
        self.numbers.follow(self.engine, release=whole)
        while self.refusals.contradictions():
            self.numbers.follow(self.engine, release=whole)
        changes = self.engine.changes(Port)
        zones = zones_of(self.engine, self.numbers.of(ZONES))
        self.forgetting.ports_changed(changes, zones)
        for table in (Location, Problem):
            changes += self.engine.changes(table)
        for change in changes:
            row = change.new or change.old
            if isinstance(row, Port):
                self._to_report.add(row.id)
            elif isinstance(row, Location | Problem):
                self._to_report.add(row.port)

    def conditions(self) -> Conditions:
        """What to ask the south store for; the same object for as long as that is the same."""
        changed = [table for table in scope.TABLES if self.engine.changes(table)]
        if changed or self._conditions is None:
            names = self.identity.host, self.second_name
            self._conditions = scope.conditions(self.engine, *names)
        return self._conditions

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
        rows = self.engine.rows
        gone = self.forgetting.step(self.engine.changes(TrackedAddress), rows(Port), rows(Ground))
        return [n for kind, n in self.numbers.given_up if kind == ZONES], gone

    def refused(self, refusals: Iterable[tuple[Flow, str]]) -> bool:
        """Flows that the switch did not take: the port that each belongs to shows it. True if
        something is closed for it, and the program another."""
        closed, ports = self.refusals.take(refusals)
        self._to_report |= ports
        return closed

    def take_reports(self) -> list[str]:
        """Ports whose claim or status may have to be written, and forget them. Of peers' ports,
        which are many, there is nothing to say."""
        asked, self._to_report = self._to_report, set()
        ours = {port for port in asked if self._is_ours(port)}
        # One that has been ours is reported once more: what was to be said of it may be under way.
        ports, self._reported = sorted(ours | asked & self._reported), self._reported - asked | ours
        return ports

    def _is_ours(self, port_id: str) -> bool:
        """Whether a port is plugged here, or the store has anything that we have said of it."""
        if port_id in self.claims or port_id in self.statuses or self.learned.get(port_id):
            return True
        port = self.engine.rows(Port).get(port_id)
        return port is not None and self.local_port(port) is not None

    @property
    def has_reports(self) -> bool:
        return bool(self._to_report)

    def wanted_claim(self, port_id: str) -> Claim | None:
        port = self.engine.rows(Port).get(port_id)
        others = []
        for key in self.engine.entry(CLAIMS_BY_PORT, port_id):
            claim = self.engine.rows(Claim).get(key)
            if claim is None or claim.host == self.identity.host or port is None:
                continue
            if is_believed(claim, port, self.engine.rows(Host).get(claim.host)):
                others.append(claim)
        stored = self.claims.get(port_id)
        local = None if port is None else self.local_port(port)
        return wanted_claim(
            port,
            host=self.identity.host,
            provider_address=str(self.identity.provider_address),
            plugged=local is not None,
            own=None if stored is None or port_id in self._claims_over else believable(stored.row),
            others=others,
            frame_seen=local is not None and local.iface_id in self._frames_seen,
        )

    def wanted_learned(self, port_id: str) -> dict[str, LearnedAddress]:
        """By address, what to say of the address pairs that a local port uses."""
        port = self.engine.rows(Port).get(port_id)
        if port is None or self.local_port(port) is None:
            return {}
        stored = self._stored_learned(port_id)
        contested = [address for address in stored if others_of(self.engine, port, address)]
        return self.pairs.wanted(port, stored, contested)

    def _stored_learned(self, port_id: str) -> dict[str, LearnedAddress]:
        """By address, what the store has of a port of ours, as far as it can be believed."""
        of_port = self.learned.get(port_id, {})
        return {a: row for a, stored in of_port.items() if (row := believable(stored.row))}

    def wanted_status(self, port_id: str, now_us: int) -> PortStatus | None:
        """What to say of a port on our switch; what is stored already stands, with its time."""
        port = self.engine.rows(Port).get(port_id)
        if port is None or self.local_port(port) is None:
            return None
        problems = sorted(set(self._problems(port_id)))
        location = self.engine.rows(Location).get(port_id)
        elsewhere = location is not None and location.host != self.identity.host
        stored = self.statuses.get(port_id)
        return wanted_status(
            port,
            host=self.identity.host,
            problems=problems,
            elsewhere=elsewhere,
            stored=None if stored is None else stored.row,
            now_us=now_us,
        )

    def _problems(self, port_id: str) -> Iterator[Problem]:
        for key in self.engine.entry(PROBLEMS_BY_PORT, port_id):
            problem = self.engine.rows(Problem).get(key)
            if problem is not None:
                yield problem
        for error in self.refusals.of_port(port_id):
            detail = f"the switch refuses a flow: {error}"
            yield Problem(port_id, "PolicyConfigurationFailure", detail)

    # -- look-ups ----------------------------------------------------------------------------------

    def local_port(self, port: Port) -> LocalPort | None:
        """The interface that names the port, as `location` has it."""
        rows = self.engine.rows(LocalPort)
        found = rows.get(port.id)
        if found is None and port.profile_id not in self.engine.rows(Port):
            found = rows.get(port.profile_id)
        return found

    def port_behind(self, ofport: int) -> Port | None:
        """The port that an OpenFlow port is."""
        name = self._ports_by_ofport.get(ofport)
        return None if name is None else self._port_named(name)

    def _port_named(self, name: str) -> Port | None:
        ports = self.engine.rows(Port)
        if name in ports:
            return ports[name]
        keys = sorted(self.engine.entry(PORTS_BY_PROFILE, name), key=repr)
        return ports.get(keys[0]) if keys else None

    def _report_interface(self, name: str) -> None:
        port = self._port_named(name)
        if port is not None:
            self._to_report.add(port.id)
