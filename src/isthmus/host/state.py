# SPDX-License-Identifier: Apache-2.0
"""One host as a value that changes: what it has read, and what follows for its switch and its rows.

No I/O and no clock. Rows and interfaces go in by `south_changed` and `switch_changed`; `settle`
derives; the program of the switch is in the engine then, and conditions and reports come out. The
process around it only carries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from isthmus.derive.engine import Change
from isthmus.host import scope
from isthmus.host.address_pairs import others_of
from isthmus.host.claims import wanted_claim
from isthmus.host.facts import Identity, LocalPort, Location, Problem
from isthmus.host.indexes import PROBLEMS_BY_PORT
from isthmus.host.observed import Observed
from isthmus.host.program import Program
from isthmus.host.scope import Conditions
from isthmus.host.statuses import wanted_status
from isthmus.policy.observed import believable
from isthmus.policy.rows import (
    Claim,
    LearnedAddress,
    Port,
    PortStatus,
)


class HostState(Observed):
    """What a host has observed, and its conclusions.

    A kind of switch that remembers something of its own, or has to do more than derive, adds it in
    a class of its own: `derive`, `ports_changed`, `refusals_of` and `contradictions` are for that.
    """

    def __init__(self, identity: Identity, program: Program) -> None:
        super().__init__(identity, program)
        self._conditions: Conditions | None = None

    def derive(self, *, whole: bool) -> None:
        """Bring the engine to rest. `whole`: all that is in scope has been read, so that what
        nobody wants may be given up."""
        self.engine.settle()

    def ports_changed(self, changes: Sequence[Change]) -> None:
        """Ports that have changed, on whatever host."""

    def settle(self, *, whole: bool = False) -> None:
        """Derive. `whole`: all that is in scope has been read."""
        if whole and not self._has_read_all:
            self._has_read_all = True
            for name in self.engine.rows(LocalPort):
                self._note_claims_before(str(name))
        self.derive(whole=whole)
        changes = self.engine.changes(Port)
        self.ports_changed(changes)
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

    def wanted_claim(self, port_id: str) -> Claim | None:
        port = self.engine.rows(Port).get(port_id)
        stored = self.ours.claims.get(port_id)
        local = None if port is None else self.local_port(port)
        return wanted_claim(
            port,
            host=self.identity.host,
            provider_address=self.identity.provider_address,
            plugged=local is not None,
            own=believable(stored.row) if stored and not self._arrivals.is_over(port_id) else None,
            others=() if port is None else self._claims_of_others(port),
            frame_seen=local is not None and self._arrivals.has_spoken(local.iface_id),
            before_plugged=self._arrivals.before_plugged(port_id),
        )

    def wanted_learned(self, port_id: str) -> dict[str, LearnedAddress]:
        """By address, what to say of the address pairs that a local port uses."""
        port = self.engine.rows(Port).get(port_id)
        if port is None or self.local_port(port) is None:
            return {}
        stored = self._stored_learned(port_id)
        contested = [address for address in stored if others_of(self.engine, port, address)]
        return self.pairs.wanted(port, stored, contested)

    def wanted_status(self, port_id: str, now_us: int) -> PortStatus | None:
        """What to say of a port on our switch; what is stored already stands, with its time."""
        port = self.engine.rows(Port).get(port_id)
        if port is None or self.local_port(port) is None:
            return None
        location = self.engine.rows(Location).get(port_id)
        elsewhere = location is not None and location.host != self.identity.host
        stored = self.ours.statuses.get(port_id)
        return wanted_status(
            port,
            host=self.identity.host,
            problems=sorted(set(self._problems(port_id))),
            elsewhere=elsewhere,
            stored=None if stored is None else stored.row,
            now_us=now_us,
        )

    def _problems(self, port_id: str) -> Iterator[Problem]:
        rows = self.engine.rows(Problem)
        yield from (rows[key] for key in self.engine.entry(PROBLEMS_BY_PORT, port_id))
        yield from self.refusals_of(port_id)

    def refusals_of(self, port_id: str) -> Iterable[Problem]:
        """What the switch itself refuses to do of what was derived for a port."""
        return ()

    @property
    def contradictions(self) -> Sequence[str]:
        """What parts of the policy say differently, for the operator."""
        return ()
