# SPDX-License-Identifier: Apache-2.0
"""The network as one value: the rows of the south store, by what one asks of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_interface
from typing import TypeVar, cast

from isthmus.addresses import Address, parse_prefix
from isthmus.policy.observed import believable
from isthmus.policy.placement import holder
from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.policy.topology import gateways, router_of

R = TypeVar("R", bound=Row)
K = TypeVar("K", bound=Hashable)


class World:
    """Made from rows in one pass; 10,000 ports take some tens of milliseconds. Not changed later:
    `changed` gives another one. What hosts say is believed as far as `policy.observed` has it."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.tables: dict[type[Row], dict[str | tuple[str, ...], Row]] = defaultdict(dict)
        for said in rows:
            row = believable(said)
            if row is not None:
                self.tables[type(row)][row.key] = row
        self.ports: Mapping[str, Port] = self.table(Port)
        self.segments: Mapping[str, Segment] = self.table(Segment)
        self.routers: Mapping[str, Router] = self.table(Router)
        self.rule_sets: Mapping[str, RuleSet] = self.table(RuleSet)
        self.hosts: Mapping[str, Host] = self.table(Host)
        self.host_statuses: Mapping[str, HostStatus] = self.table(HostStatus)
        self.heartbeats: Mapping[str, Heartbeat] = self.table(Heartbeat)
        self.legs_by_segment = _by(self._rows(RouterPort), lambda leg: leg.segment)
        self.legs_by_router = _by(self._rows(RouterPort), lambda leg: leg.router)
        self.subnets_by_segment = _by(self._rows(Subnet), lambda subnet: subnet.segment)
        self.rules_by_set = _by(self._rows(Rule), lambda rule: rule.rule_set)
        self.claims_by_port = _by(self._rows(Claim), lambda claim: claim.port)
        self.statuses_by_port = _by(self._rows(PortStatus), lambda status: status.port)
        self.learned = _by(self._rows(LearnedAddress), lambda row: (row.segment, row.address))
        self.domains = {name: self._domain(name) for name in self.segments}
        self.at_address: dict[tuple[str, str], Port] = {}
        """By routing domain and address."""
        self.members: dict[tuple[str, str], set[str]] = defaultdict(set)
        """By routing domain and group: addresses."""
        for port in self.ports.values():
            domain = self.domains.get(port.segment, "")
            for address in port.addresses:
                self.at_address[domain, address] = port
                for group in port.groups:
                    self.members[domain, group].add(address)

    def changed(self, changes: Iterable[tuple[Row | None, Row | None]]) -> World:
        """Another world, in which these rows are others: (old, new) each."""
        tables = {table: dict(rows) for table, rows in self.tables.items()}
        for old, new in changes:
            if old is not None:
                tables.get(type(old), {}).pop(old.key, None)
            if new is not None:
                tables.setdefault(type(new), {})[new.key] = new
        return World(row for rows in tables.values() for row in rows.values())

    def table(self, table: type[R]) -> Mapping[str, R]:
        """The rows of a table by their key, a tuple of texts where that is several columns."""
        return cast("Mapping[str, R]", self.tables[table])

    def _rows(self, table: type[R]) -> Iterable[R]:
        return cast("Iterable[R]", self.tables[table].values())

    def _domain(self, segment: str) -> str:
        router = router_of(self.legs_by_segment.get(segment, ()))
        if router is None or router not in self.routers:
            return f"segment {segment}"
        return router

    # -- look-ups ----------------------------------------------------------------------------------

    def router_of(self, segment: str) -> Router | None:
        return self.routers.get(self.domains.get(segment, ""))

    def subnet_of(self, segment: str, address: Address) -> Subnet | None:
        """The subnet of the segment that the address is in."""
        for subnet in self.subnets_by_segment.get(segment, ()):
            if address in parse_prefix(subnet.prefix):
                return subnet
        return None

    def segment_of(self, domain: str, address: Address) -> str | None:
        """The segment of a routing domain that the address is in."""
        for leg in self.legs_by_router.get(domain, ()):
            for text in leg.addresses:
                if address in ip_interface(text).network:
                    return leg.segment
        return None

    def gateways(self, domain: str) -> list[str]:
        """The router's addresses."""
        return gateways(self.legs_by_router.get(domain, ()))

    def holder(self, segment: str, address: Address) -> Port | None:
        """The port that has an address: as its own, or as one of its address pairs, announced."""
        domain = self.domains.get(segment, "")
        found = self.at_address.get((domain, str(address)))
        if found is not None:
            return found
        rows: Sequence[LearnedAddress] = self.learned.get((segment, str(address)), ())
        for row in sorted(rows, key=lambda row: (-row.sequence, row.port)):
            port, claim = self.ports.get(row.port), self.claim_of(row.port)
            if port is not None and claim is not None and claim.host == row.host:
                return port
        return None

    def claim_of(self, port_id: str) -> Claim | None:
        """The believed claim that has the port, by the rule that hosts follow."""
        return holder(self.claims_by_port.get(port_id, ()), self.ports.get(port_id), self.hosts)

    def status_of(self, port_id: str) -> PortStatus | None:
        """What the host that has the port says of it."""
        claim = self.claim_of(port_id)
        if claim is None:
            return None
        statuses: Sequence[PortStatus] = self.statuses_by_port.get(port_id, ())
        return next((status for status in statuses if status.host == claim.host), None)

    def owner_of(self, address: str, domain: str) -> str:
        """Whose an address is, for people: a port's, or the router's."""
        port = self.at_address.get((domain, address))
        if port is not None:
            return spoken(port.id)
        return "the router" if address in self.gateways(domain) else ""


def spoken(name: str) -> str:
    """A name in a sentence: in quotes, which no name holds, where it could be read otherwise."""
    return f'"{name}"' if " " in name or name == "any" else name


def _by(rows: Iterable[R], key: Callable[[R], K]) -> dict[K, list[R]]:
    found: dict[K, list[R]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def parse(text: str) -> Address | None:
    """An address, or None for what is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None
