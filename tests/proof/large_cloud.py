# SPDX-License-Identifier: Apache-2.0
"""A cloud of many networks that are all alike, to measure with."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet, Segment
from tests.proof.clouds import HOSTS, ROUTER_MAC, Cloud, Place, port
from tests.proof.rich_cloud import allow
from tests.switches.policy_rows import host_rows


def large_cloud(n_networks: int = 100, n_ports: int = 10) -> Cloud:
    """Every network has one segment, the same addresses, and rules of its own; all its ports are in
    one group, on three hosts in turn."""
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
            segment = f"t{network}/a"
            one = port(segment, 10 + number, rule_sets=(f"interface * {name}",), groups=("web",))
            ports.append(one)
            places.append(Place(one.id, HOSTS[number % len(HOSTS)], 1000 + len(places)))
    return Cloud(tuple(ports), tuple(rules), tuple(places), tuple(_base(n_networks)))


def _base(n_networks: int) -> Iterator[Row]:
    yield from host_rows()
    for number in range(n_networks):
        name = f"t{number}"
        prefixes = ("10.0.0.0/16", "fd00::/48")
        yield Router(id=name, rdid=number + 1, mac=ROUTER_MAC, prefixes=prefixes)
        yield Segment(id=f"{name}/a", physical_network="underlay", vsid=10000 + number)
        gateways = ("10.0.1.1/24", "fd00:0:0:1::1/64")
        yield RouterPort(router=name, segment=f"{name}/a", addresses=gateways)
