# SPDX-License-Identifier: Apache-2.0
"""What one host has observed: rows of the south store, what is plugged into its switch, and what
its guests have sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from isthmus.host.address_pairs import Pairs, others_of
from isthmus.host.arrivals import Arrivals
from isthmus.host.facts import THIS, Identity, LocalPort, ThisHost
from isthmus.host.interfaces import interface_in, port_named
from isthmus.host.location import believed_claims
from isthmus.host.namesake import second_name
from isthmus.host.ours import OUR_ROWS, Ours, SouthChange
from isthmus.host.program import Program, engine_of
from isthmus.host.reporting import ToReport
from isthmus.policy.observed import believable
from isthmus.policy.rows import (
    DESIRED,
    Claim,
    Heartbeat,
    LearnedAddress,
    Port,
    PortStatus,
    Probe,
    Query,
    Row,
)
from isthmus.wire.ovsdb import RowId


class Observed:
    """Rows and interfaces go in by `south_changed` and `switch_changed`, what guests send by
    `frame_seen` and `pair_seen`; `take_reports` says of which ports there is news."""

    def __init__(self, identity: Identity, program: Program) -> None:
        self.identity = identity
        self.engine = engine_of(program)
        self.second_name = second_name(identity.provider_address)
        """What the agent is called if its own name is another agent's."""
        self.ours = Ours(identity.host, self.second_name)
        self.queries: dict[RowId, Query] = {}
        self.unreadable: set[tuple[str, object]] = set()
        """Desired rows with something in them that nobody can compute with, by table and key."""
        self.probe = 0
        self._ports_by_ofport: dict[int, str] = {}
        self.pairs = Pairs()
        self._arrivals = Arrivals()
        self._has_read_all = False
        self._to_report = ToReport(self._is_ours)

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
        is_mine = isinstance(row, OUR_ROWS) and self.ours.note(row_id, row, gone=new is None)
        match row:
            case Heartbeat():
                return
            case PortStatus():
                self._to_report.add(row.port)
                return
            case Probe():
                self.probe = 0 if new is None or believable(row) is None else row.number
                return
            case Query():
                if new is None or believable(row) is None:
                    self.queries.pop(row_id, None)
                else:
                    self.queries[row_id] = row
                return
        if isinstance(row, Claim):
            self._to_report.add(row.port)
            if is_mine:
                self._arrivals.claimed(row.port)
        elif isinstance(row, LearnedAddress) and is_mine:
            self._to_report.add(row.port)
        # Our own rows are kept as they are, to be mended; what they say is believed as little as
        # what any host says.
        found = None if new is None else believable(new)
        self._note_unreadable(row, unreadable=found is not new)
        self.engine.put(type(row), row.key, found)

    def _note_unreadable(self, row: Row, *, unreadable: bool) -> None:
        if unreadable and isinstance(row, DESIRED):
            self.unreadable.add((row.TABLE, row.key))
        elif self.unreadable:
            self.unreadable.discard((row.TABLE, row.key))

    def switch_changed(self, ports: Mapping[str, LocalPort]) -> None:
        """What is plugged, by interface id."""
        host, address, encapsulations = self.identity
        self.engine.put(ThisHost, THIS, ThisHost(host, int(address), encapsulations))
        was = {str(name): port for name, port in self.engine.rows(LocalPort).items()}
        for name in was.keys() - ports.keys():
            self._unplugged(name)
            self.engine.put(LocalPort, name, None)
        for name, port in ports.items():
            if was.get(name) != port:
                if name in was:
                    self._unplugged(name)
                self.engine.put(LocalPort, name, port)
                self._note_claims_before(name)
                self._report_interface(name)
        self._ports_by_ofport = {port.ofport: name for name, port in ports.items()}

    def _unplugged(self, name: str) -> None:
        """What was known of the guest behind an interface is over, even if it is back at once."""
        self._report_interface(name)
        self._arrivals.unplugged(name)
        port = port_named(name, self.engine)
        if port is not None:
            self.pairs.forget(port.id)
            self._arrivals.left(port.id, has_claim=port.id in self.ours.claims)

    def _note_claims_before(self, name: str) -> None:
        port = port_named(name, self.engine)
        if port is not None:
            self._arrivals.plugged(port.id, self._claims_of_others(port))

    def frame_seen(self, ofport: int) -> None:
        """The guest behind an interface has sent something."""
        name = self._ports_by_ofport.get(ofport)
        if name is not None and self._arrivals.spoke(name):
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

    def report(self, ports: Iterable[str]) -> None:
        """These ports are to be looked at again."""
        self._to_report.add(*ports)

    def report_all(self) -> None:
        """Everything of ours in the store is to be looked at again."""
        self._to_report.add(*self.ours.claims, *self.ours.statuses)
        for name in self.engine.rows(LocalPort):
            self._report_interface(str(name))

    # -- reports -----------------------------------------------------------------------------------

    def take_reports(self) -> list[str]:
        """Ports whose claim or status may have to be written, and forget them."""
        return self._to_report.take()

    def put_back(self, ports: Iterable[str]) -> None:
        """The switch does not have yet what was to be reported of these ports."""
        self._to_report.put_back(ports)

    def _is_ours(self, port_id: str) -> bool:
        """Whether a port is plugged here, or the store has anything that we have said of it."""
        if self.ours.has(port_id):
            return True
        port = self.engine.rows(Port).get(port_id)
        return port is not None and self.local_port(port) is not None

    @property
    def has_reports(self) -> bool:
        return bool(self._to_report)

    # -- look-ups ----------------------------------------------------------------------------------

    def local_port(self, port: Port) -> LocalPort | None:
        """The interface that names the port."""
        return interface_in(self.engine, port)

    def port_behind(self, ofport: int) -> Port | None:
        """The port that an interface is, by its number on the switch."""
        name = self._ports_by_ofport.get(ofport)
        return None if name is None else port_named(name, self.engine)

    def _report_interface(self, name: str) -> None:
        port = port_named(name, self.engine)
        if port is not None:
            self._to_report.add(port.id)

    def _claims_of_others(self, port: Port) -> list[Claim]:
        mine = self.identity.host
        return [claim for claim in believed_claims(port, self.engine) if claim.host != mine]

    def _stored_learned(self, port_id: str) -> dict[str, LearnedAddress]:
        """By address, what the store has of a port of ours, as far as it can be believed."""
        of_port = self.ours.learned.get(port_id, {})
        return {a: row for a, stored in of_port.items() if (row := believable(stored.row))}
