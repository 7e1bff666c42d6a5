# SPDX-License-Identifier: Apache-2.0
"""The network as one value: the rows of the south store, by what one asks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from ipaddress import ip_address
from operator import attrgetter
from typing import Self

from isthmus.addresses import Address
from isthmus.policy.observed import believable
from isthmus.policy.placement import holder
from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    PhysicalNetwork,
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
from isthmus.policy.values import PortState
from isthmus.reach.indexes import Grouped, Layer, Names
from isthmus.reach.topology import Topology

RowPair = tuple[Row | None, Row | None]
"""A row before and after; None is absent."""

_PLAIN: dict[type[Row], str] = {
    PhysicalNetwork: "physical_networks",
    Segment: "segments",
    Router: "routers",
    RuleSet: "rule_sets",
    Host: "hosts",
    Heartbeat: "heartbeats",
}
"""Rows that nothing finds but their key, and the mapping that holds them."""
_FOUND_OTHERWISE = (Port, Rule, HostStatus, LearnedAddress)
"""Rows that are found by what may change of them; all others are found by columns of their key, so
that a new one takes the place of the old."""


class World(Topology):
    """Kept row by row (`change`, O(1) each). Every look-up is O(1) or O(result).

    What hosts say is believed as far as `policy.observed` has it. Which rows it was given decides
    what it is, and not their order; but where two rows of one key are given, the last one holds.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        super().__init__()
        self.physical_networks: MutableMapping[str, PhysicalNetwork] = {}
        self.rule_sets: MutableMapping[str, RuleSet] = {}
        self.hosts: MutableMapping[str, Host] = {}
        self.host_statuses: MutableMapping[str, HostStatus] = {}
        self.heartbeats: MutableMapping[str, Heartbeat] = {}
        self.ports: MutableMapping[str, Port] = {}
        self.learned_rows: MutableMapping[tuple[str, str], LearnedAddress] = {}
        """By address and port."""
        self.wrong: MutableMapping[tuple[str, str], PortStatus] = {}
        """By port and host: the statuses that say that a port is in error."""

        self.rules_by_set: Grouped[str, Rule] = Grouped(attrgetter("id"))
        self.rules_by_group: Grouped[str, Rule] = Grouped(attrgetter("rule_set", "id"))
        self.claims_by_port: Grouped[str, Claim] = Grouped(attrgetter("host"))
        self.statuses_by_port: Grouped[str, PortStatus] = Grouped(attrgetter("host"))
        self.learned: Grouped[tuple[str, str], LearnedAddress] = Grouped(attrgetter("port"))
        """By segment and address."""

        self.ports_by_place: Grouped[tuple[str, str], Port] = Grouped(attrgetter("id"))
        """By segment and address."""
        self.ports_by_segment: Names[str] = Names()
        self.ports_by_group: Names[tuple[str, str]] = Names()
        """By segment and group."""
        self.ports_by_rule_set: Names[str] = Names()
        self.ports_by_profile: Names[str] = Names()
        self.ports_by_host: Names[str] = Names()
        """That it claims, believed or not."""
        self.hosts_by_address: Names[str] = Names()
        """By provider address."""
        for row in rows:
            self.change(None, row)

    def changed(self, changes: Iterable[RowPair]) -> Self:
        """Another world, in which these rows are others; it costs what they are. It is laid over
        this one, which must not change as long as it is used."""
        other = type(self).__new__(type(self))
        for name, value in vars(self).items():
            laid = value.over() if isinstance(value, Grouped | Names) else Layer(value)
            setattr(other, name, laid)
        for old, new in changes:
            other.change(old, new)
        return other

    # -- changes -----------------------------------------------------------------------------------

    def change(self, old: Row | None, new: Row | None) -> None:
        """Take in one changed row. A row that another of the same key replaces goes first."""
        if old is not None and (new is None or new.key != old.key):
            self._forget(old)
        if new is None:
            return
        row = believable(new)
        if row is None or isinstance(row, _FOUND_OTHERWISE):
            self._forget(new)
        if row is not None:
            self._learn(row)

    def _learn(self, row: Row) -> None:
        match row:
            case Port():
                self._learn_port(row)
            case Claim():
                self.claims_by_port.add(row.port, row)
                self.ports_by_host.add(row.host, row.port)
            case PortStatus():
                self.statuses_by_port.add(row.port, row)
                if row.state is PortState.ERROR:
                    self.wrong[row.port, row.host] = row
                elif self.wrong:
                    self.wrong.pop((row.port, row.host), None)
            case HostStatus():
                self.host_statuses[row.host] = row
                for address in row.provider_addresses:
                    self.hosts_by_address.add(str(address), row.host)
            case LearnedAddress():
                self.learned_rows[row.address, row.port] = row
                self.learned.add((row.segment, row.address), row)
            case RouterPort():
                self.add_leg(row)
            case Subnet():
                self.subnets_by_segment.add(row.segment, row)
            case Rule():
                self.rules_by_set.add(row.rule_set, row)
                for group in _groups(row):
                    self.rules_by_group.add(group, row)
            case _ if (name := _PLAIN.get(type(row))) is not None:
                getattr(self, name)[row.key] = row

    def _forget(self, row: Row) -> None:
        """Forget what is held of the key of a row."""
        match row:
            case Port():
                port = self.ports.pop(row.id, None)
                if port is not None:
                    self._forget_port(port)
            case Claim():
                if self.claims_by_port.remove(row.port, row.host) is not None:
                    self.ports_by_host.remove(row.host, row.port)
            case PortStatus():
                self.statuses_by_port.remove(row.port, row.host)
                self.wrong.pop((row.port, row.host), None)
            case HostStatus():
                status = self.host_statuses.pop(row.host, None)
                for address in status.provider_addresses if status is not None else ():
                    self.hosts_by_address.remove(str(address), row.host)
            case LearnedAddress():
                learned = self.learned_rows.pop((row.address, row.port), None)
                if learned is not None:
                    self.learned.remove((learned.segment, learned.address), learned.port)
            case RouterPort():
                self.remove_leg(row)
            case Subnet():
                self.subnets_by_segment.remove(row.segment, row.prefix)
            case Rule():
                rule = self.rules_by_set.remove(row.rule_set, row.id)
                for group in _groups(rule) if rule is not None else ():
                    self.rules_by_group.remove(group, (row.rule_set, row.id))
            case _ if (name := _PLAIN.get(type(row))) is not None:
                getattr(self, name).pop(row.key, None)

    def _learn_port(self, port: Port) -> None:
        self.ports[port.id] = port
        for address in port.addresses:
            self.ports_by_place.add((port.segment, address), port)
        self.ports_by_segment.add(port.segment, port.id)
        for group in port.groups:
            self.ports_by_group.add((port.segment, group), port.id)
        for name in _rule_sets(port):
            self.ports_by_rule_set.add(name, port.id)
        if port.profile_id:
            self.ports_by_profile.add(port.profile_id, port.id)

    def _forget_port(self, port: Port) -> None:
        for address in port.addresses:
            self.ports_by_place.remove((port.segment, address), port.id)
        self.ports_by_segment.remove(port.segment, port.id)
        for group in port.groups:
            self.ports_by_group.remove((port.segment, group), port.id)
        for name in _rule_sets(port):
            self.ports_by_rule_set.remove(name, port.id)
        self.ports_by_profile.remove(port.profile_id, port.id)

    # -- ports and addresses -----------------------------------------------------------------------

    def port_at(self, domain: str, address: str) -> Port | None:
        """The port of a routing domain that an address is one of."""
        found = (
            port
            for segment in self.segments_of(domain)
            for port in self.ports_by_place.get((segment, address))
        )
        return min(found, key=lambda port: port.id, default=None)

    def ports_at(self, address: str) -> list[Port]:
        """The ports that an address is one of, whatever their segment. O(segments)."""
        return [
            port
            for segment in self.ports_by_segment
            for port in self.ports_by_place.get((segment, address))
        ]

    def has_member(self, domain: str, group: str, address: str) -> bool:
        """Whether an address is one of a member of a group within a routing domain."""
        return any(
            group in port.groups
            for segment in self.segments_of(domain)
            for port in self.ports_by_place.get((segment, address))
        )

    def members(self, domain: str, group: str) -> set[str]:
        """The addresses of the members of a group within a routing domain."""
        return {
            address
            for segment in self.segments_of(domain)
            for name in self.ports_by_group.get((segment, group))
            for address in self.ports[name].addresses
        }

    def holder(self, segment: str, address: Address) -> Port | None:
        """The port that has an address: as its own, or as one of its address pairs, announced."""
        found = self.port_at(self.domain_of(segment), str(address))
        if found is not None:
            return found
        rows = self.learned.get((segment, str(address)))
        for row in sorted(rows, key=lambda row: (-row.sequence, row.port)):
            port, claim = self.ports.get(row.port), self.claim_of(row.port)
            if port is not None and claim is not None and claim.host == row.host:
                return port
        return None

    def owner_of(self, address: str, domain: str) -> str:
        """Whose an address is, for people: a port's, or the router's."""
        port = self.port_at(domain, address)
        if port is not None:
            return spoken(port.id)
        return "the router" if address in self.gateways(domain) else ""

    def port_of_profile(self, profile_id: str) -> Port | None:
        """The port of a port profile."""
        name = min(self.ports_by_profile.get(profile_id), default=None)
        return None if name is None else self.ports[name]

    # -- hosts -------------------------------------------------------------------------------------

    def claim_of(self, port_id: str) -> Claim | None:
        """The believed claim that has the port, by the rule that hosts follow."""
        return holder(self.claims_by_port.get(port_id), self.ports.get(port_id), self.hosts)

    def status_of(self, port_id: str) -> PortStatus | None:
        """What the host that has the port says of it."""
        claim = self.claim_of(port_id)
        return None if claim is None else self.statuses_by_port.one(port_id, claim.host)

    def host_kinds(self) -> set[str]:
        """The kinds of hosts there are. O(hosts)."""
        return {host.kind for host in self.hosts.values()}

    def unknown_claims(self) -> list[tuple[str, str]]:
        """Ports and hosts, which no server is called, that claim them."""
        return sorted(
            (port, host)
            for host in self.ports_by_host
            if host not in self.hosts
            for port in self.ports_by_host.get(host)
        )

    def host_at(self, address: str) -> HostStatus | None:
        """The host that says that a provider address is its own; of several the first by name."""
        name = min(self.hosts_by_address.get(address), default=None)
        return None if name is None else self.host_statuses[name]


def _groups(rule: Rule) -> set[str]:
    return {*rule.source_groups, *rule.destination_groups}


def _rule_sets(port: Port) -> Iterator[str]:
    return (one.rule_set for one in port.rule_sets)


def spoken(name: str) -> str:
    """A name in a sentence: in quotes, which no name holds, where it could be read otherwise."""
    return f'"{name}"' if " " in name or name == "any" else name


def parse(text: str) -> Address | None:
    """An address, or None for what is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None
