# SPDX-License-Identifier: Apache-2.0
"""Clouds to prove things about: rows of policy, and on which host each port is plugged.

Two tenants, red and blue, have the same addresses and the same router MAC address, and two segments
each; a third, lone, has the addresses of segment a and no router. All addresses are of both
families.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from isthmus.derive.engine import Change
from isthmus.policy.rows import Claim, Port, Router, RouterPort, Row, Rule, RuleSet, Segment, Subnet
from tests.proof.network import Host, Network
from tests.proof.reference import Reference
from tests.switches.policy_rows import SPEAKS, host_rows, provider_address

ROUTER_MAC = "12:34:56:78:9a:bc"
TENANTS = ("red", "blue", "lone")
SEGMENTS = {
    "red/a": 5001,
    "red/b": 5002,
    "blue/a": 5011,
    "blue/b": 5012,
    "lone/a": 5021,
}
"""By name: the VSID."""
HOSTS = tuple(SPEAKS)


def address(segment: str, number: int, family: int = 4) -> str:
    """The same for the same segment of every tenant."""
    subnet = 1 + "ab".index(segment[-1])
    return f"10.0.{subnet}.{number}" if family == 4 else f"fd00:0:0:{subnet}::{number:x}"


def port(segment: str, number: int, *more: str, families: str = "46", **others: object) -> Port:
    """The port ``red/a-4`` of 10.0.1.4 and fd00:0:0:1::4; `more` are further addresses. Its MAC
    address is that of every port 4, for it need only be one on a segment."""
    name = f"{segment}-{number}"
    own = tuple(address(segment, number, family) for family in (4, 6) if str(family) in families)
    mac = f"02:00:00:00:00:{number:02x}"
    values = {"id": name, "segment": segment, "mac": mac, "addresses": tuple(sorted(own + more))}
    return Port(**{**values, "dhcp_address": own[0] if own else "", **others})  # type: ignore[arg-type]  # columns by name


def ground() -> Iterator[Row]:
    """Hosts, segments, routers."""
    yield from host_rows()
    for number, tenant in enumerate(TENANTS[:2], 1):
        spaces = ("10.0.0.0/16", "fd00::/48")
        yield Router(id=tenant, rdid=number, mac=ROUTER_MAC, prefixes=spaces)
    for name, vsid in SEGMENTS.items():
        yield Segment(id=name, physical_network="underlay", vsid=vsid)
        gateways = (f"{address(name, 1)}/24", f"{address(name, 1, 6)}/64")
        has_router = not name.startswith("lone")
        gateway = address(name, 1) if has_router else None
        yield Subnet(segment=name, prefix=f"{address(name, 0)}/24", gateway=gateway)
        if has_router:
            yield RouterPort(router=name[:-2], segment=name, addresses=gateways)


class Place(NamedTuple):
    """Where a port is plugged."""

    port: str
    host: str
    ofport: int


@dataclass(frozen=True)
class Deployment:
    """Each port is plugged in one place, or in none."""

    ports: tuple[Port, ...]
    rules: tuple[RuleSet | Rule, ...]
    places: tuple[Place, ...]
    base: tuple[Row, ...] = ()
    """Hosts, segments and routers, if they are not those of `ground`."""

    def rows(self) -> list[Row]:
        return [*(self.base or ground()), *self.ports, *self.rules, *self.claims()]

    def claims(self) -> Iterator[Claim]:
        by_id = {one.id: one for one in self.ports}
        for name, host, _ in self.places:
            segment, at = by_id[name].segment, provider_address(host)
            yield Claim(port=name, host=host, segment=segment, provider_address=at, sequence=1)

    def plugged(self, host: str) -> dict[str, int]:
        """OpenFlow ports of a host's ports."""
        return {place.port: place.ofport for place in self.places if place.host == host}

    def change(self, network: Network, after: Deployment) -> dict[str, list[Change]]:
        """Make of the network of this cloud that of another; gives what changed, by host."""
        before = {(type(row), row.key): row for row in self.rows()}
        now = {(type(row), row.key): row for row in after.rows()}
        changed: dict[str, list[Change]] = {}
        for host in network.hosts.values():
            for key, row in before.items():
                if key not in now:
                    host.put(row, present=False)
            for key, row in now.items():
                if before.get(key) != row:
                    host.put(row)
            host.plug(after.plugged(host.name))
            changed[host.name] = host.settle()
        network.plugged()
        return changed

    def network(self, begun: Collection[str] = ()) -> Network:
        """`begun`: ports that began to be followed a moment ago."""
        rows = self.rows()
        return Network(Host(name, rows, self.plugged(name), begun) for name in HOSTS)

    def reference(self, begun: Collection[str] = ()) -> Reference:
        return Reference(self.rows(), begun)

    def with_port(self, changed: Port) -> Deployment:
        ports = tuple(changed if one.id == changed.id else one for one in self.ports)
        return replace(self, ports=ports)

    def without_port(self, name: str) -> Deployment:
        """It is unplugged, too."""
        ports = tuple(one for one in self.ports if one.id != name)
        places = tuple(place for place in self.places if place.port != name)
        return replace(self, ports=ports, places=places)

    def moved(self, name: str, host: str) -> Deployment:
        places = tuple(
            place._replace(host=host) if place.port == name else place for place in self.places
        )
        return replace(self, places=places)

    def without(self, *rows: RuleSet | Rule) -> Deployment:
        return replace(self, rules=tuple(row for row in self.rules if row not in rows))


def cloud(
    ports: Iterable[Port], rules: Iterable[RuleSet | Rule] = (), hosts: Iterable[str] = HOSTS
) -> Deployment:
    """Ports are put on `hosts` in turn."""
    ports, hosts = tuple(ports), tuple(hosts)
    places = tuple(
        Place(one.id, hosts[number % len(hosts)], number + 1) for number, one in enumerate(ports)
    )
    return Deployment(ports, tuple(rules), places)


def _rule(rule_set: str, direction: str, priority: int, action: str, **others: object) -> Rule:
    named = sorted(f"{column}={value}" for column, value in others.items())
    name = f"{direction} {priority} {action} {' '.join(named)}"
    values: dict[str, object] = {
        **others,
        "rule_set": rule_set,
        "id": name,
        "direction": direction,
        "priority": priority,
        "action": action,
    }
    return Rule(**values)  # type: ignore[arg-type]  # columns by name


def allow(rule_set: str, direction: str, priority: int, **others: object) -> Rule:
    """A rule whose name says what it is."""
    return _rule(rule_set, direction, priority, "allow", **others)


def deny(rule_set: str, direction: str, priority: int, **others: object) -> Rule:
    """Likewise."""
    return _rule(rule_set, direction, priority, "deny", **others)
