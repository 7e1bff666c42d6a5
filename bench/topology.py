# SPDX-License-Identifier: Apache-2.0
"""Where the ports are: the same for both.

N ports in networks of 100, each network with a router and two subnets of 50. 300 of the ports (all,
where there are fewer) are plugged into the three hosts in turn, spread evenly over all networks, so
that each host has peers in every network (up to 10,000 ports: beyond, there are more networks than
ports of a host); the rest are on simulated hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

HOSTS = ("h1", "h2", "h3")
PLUGGED = 300
PORTS_A_NETWORK = 100
SIMULATED_HOSTS = 20


class Place(NamedTuple):
    """A port and what it is told."""

    name: str
    network: str
    subnet: str
    address: str
    mac: str
    host: str
    plugged: bool


def networks(n_ports: int) -> list[str]:
    return [f"net{number}" for number in range(-(-n_ports // PORTS_A_NETWORK))]


def places(n_ports: int) -> Iterator[Place]:
    most = min(PLUGGED, n_ports)
    n_plugged = 0
    for number in range(n_ports):
        network, within = divmod(number, PORTS_A_NETWORK)
        subnet = within % 2
        # Of the first ports, as large a share as of all; in whole numbers, so that none is lost.
        plugged = (number + 1) * most // n_ports > n_plugged
        host = HOSTS[n_plugged % 3] if plugged else f"s{number % SIMULATED_HOSTS}"
        n_plugged += plugged
        yield Place(
            name=f"p{number}",
            network=f"net{network}",
            subnet=f"s{subnet}",
            address=f"10.1.{subnet}.{within + 10}",
            mac=f"02:00:01:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            host=host,
            plugged=plugged,
        )


def described() -> str:
    """For people, above the table."""
    return (
        f"networks of {PORTS_A_NETWORK} ports, each with a router and two subnets;"
        f" up to {PLUGGED} ports plugged into {len(HOSTS)} hosts, spread over all networks;"
        f" the rest on {SIMULATED_HOSTS} simulated hosts; everything on this machine"
    )


def subnet_prefix(subnet: str) -> str:
    return f"10.1.{subnet[1:]}.0/24"
