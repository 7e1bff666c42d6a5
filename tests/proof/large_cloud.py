# SPDX-License-Identifier: Apache-2.0
"""A cloud of many networks that are all alike, to measure with, and one change of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from msgspec.structs import replace as changed

from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet, Segment, Subnet
from tests.proof.clouds import HOSTS, ROUTER_MAC, Deployment, Place, address, allow, port
from tests.switches.policy_rows import host_rows


def large_cloud(n_networks: int = 100, n_ports: int = 10) -> Deployment:
    """Every network has two segments, the same addresses, and rules of its own; all its ports are
    in one group, on three hosts in turn."""
    ports: list[Port] = []
    places: list[Place] = []
    rules: list[RuleSet | Rule] = []
    for network in range(n_networks):
        name = f"web{network}"
        rules += (
            RuleSet(id=name, in_default="deny"),
            allow(name, "in", 100, protocol=6, destination_ports="80-80"),
            allow(name, "in", 110, protocol=17, source_groups=("web",)),
            allow(name, "in", 120, protocol=1, family=4, icmp_type=8),
        )
        for number in range(n_ports):
            segment = f"t{network}/{'ab'[number % 2]}"
            one = port(segment, 10 + number, rule_sets=(f"interface * {name}",), groups=("web",))
            ports.append(one)
            places.append(Place(one.id, HOSTS[number % len(HOSTS)], 1000 + len(places)))
    return Deployment(tuple(ports), tuple(rules), tuple(places), tuple(_base(n_networks)))


def _base(n_networks: int) -> Iterator[Row]:
    yield from host_rows()
    for number in range(n_networks):
        name = f"t{number}"
        prefixes = ("10.0.0.0/16", "fd00::/48")
        yield Router(id=name, rdid=number + 1, mac=ROUTER_MAC, prefixes=prefixes)
        for which, letter in enumerate("ab"):
            segment = f"{name}/{letter}"
            vsid = 10000 + 2 * number + which
            yield Segment(id=segment, physical_network="underlay", vsid=vsid)
            ends = address(segment, 1), address(segment, 1, 6)
            yield Subnet(segment=segment, prefix=f"{ends[0][:-1]}0/24", gateway=ends[0])
            legs = f"{ends[0]}/24", f"{ends[1]}/64"
            yield RouterPort(router=name, segment=segment, addresses=legs)


def changes(cloud: Deployment) -> Iterator[tuple[str, Deployment, Deployment]]:
    """One resource each, of the network t1: the cloud before and after. Each way is a change."""
    for name, back, after in _changes(cloud):
        yield name, cloud, after
        yield back, after, cloud


def _changes(cloud: Deployment) -> Iterator[tuple[str, str, Deployment]]:
    member = next(one for one in cloud.ports if one.id == "t1/a-12")
    out, bare = changed(member, groups=()), changed(member, rule_sets=())
    yield "a member leaves its group", "a member joins a group", cloud.with_port(out)
    yield "a port has no rules any more", "a port gets rules", cloud.with_port(bare)
    yield "a port goes", "a port comes", cloud.without_port(member.id)
    yield "a port moves", "a port moves back", cloud.moved(member.id, HOSTS[0])
    rule = next(row for row in cloud.rules if isinstance(row, Rule) and row.rule_set == "web1")
    wider = changed(rule, destination_ports="80-90")
    rules = tuple(wider if row is rule else row for row in cloud.rules)
    yield "a rule goes", "a rule comes", cloud.without(rule)
    yield "a rule allows more", "a rule allows less", replace(cloud, rules=rules)
    legs = "10.0.1.1/28", "fd00:0:0:1::1/124"
    yield "a subnet shrinks", "a subnet grows", with_leg(cloud, "t1/a", legs)


def with_leg(cloud: Deployment, segment: str, addresses: tuple[str, ...]) -> Deployment:
    """The router has these addresses there."""
    base = tuple(
        changed(row, addresses=addresses)
        if isinstance(row, RouterPort) and row.segment == segment
        else row
        for row in cloud.base
    )
    return replace(cloud, base=base)
