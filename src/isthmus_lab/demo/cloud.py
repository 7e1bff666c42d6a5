# SPDX-License-Identifier: Apache-2.0
"""The demonstration's cloud: two tenants with the same addresses on three hosts.

h1 and h2 speak VXLAN and NVGRE and prefer VXLAN; h3 speaks NVGRE only, as a Hyper-V host does. Each
tenant has two subnets and seven guests, so that every kind of path has a pair::

            h1            h2      h3
    web   web1, web4     web2    web3
    db    db1            db2     db3
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from isthmus_lab.guest import Guest
from isthmus_lab.host import Host
from isthmus_lab.lab import Lab
from isthmus_lab.northbound import Northbound
from isthmus_lab.state import HostSpec
from isthmus_lab.underlay import Stranger

HOSTS = (
    HostSpec("h1", "172.31.0.1", ("vxlan", "nvgre")),
    HostSpec("h2", "172.31.0.2", ("vxlan", "nvgre")),
    HostSpec("h3", "172.31.0.3", ("nvgre",)),
)
TENANTS = ("red", "blue")
ADDRESS_SPACE = "10.1.0.0/16"
SUBNETS = {"web": "10.1.1.0/24", "db": "10.1.2.0/24"}
ROUTERS = {"web": "10.1.1.1", "db": "10.1.2.1"}
BROADCASTS = ("10.1.1.255", "255.255.255.255")
DNS = ("192.0.2.53", "192.0.2.54")
MTU_BYTES = 1450
"""Of a segment that VXLAN carries over an underlay of 1500 bytes."""


class Place(NamedTuple):
    subnet: str
    host: str
    address: str


PLACES = {
    "web1": Place("web", "h1", "10.1.1.11"),
    "web2": Place("web", "h2", "10.1.1.12"),
    "web3": Place("web", "h3", "10.1.1.13"),
    "web4": Place("web", "h1", "10.1.1.14"),
    "db1": Place("db", "h1", "10.1.2.11"),
    "db2": Place("db", "h2", "10.1.2.12"),
    "db3": Place("db", "h3", "10.1.2.13"),
}
"""What each tenant has."""


class PathKind(NamedTuple):
    """How packets get from one guest to another."""

    subnets: str
    carriage: str

    def __str__(self) -> str:
        return f"{self.subnets}, {self.carriage}"


SUBNET_KINDS = ("same subnet", "across subnets")
CARRIAGES = ("on one host", "by VXLAN", "by NVGRE")


def path_kind(sender: str, receiver: str) -> PathKind:
    """Between two guests of one tenant, by their names in `PLACES`, where they were plugged
    first.
    """
    here, there = PLACES[sender], PLACES[receiver]
    if here.host == there.host:
        carriage = "on one host"
    else:
        carriage = "by NVGRE" if "h3" in (here.host, there.host) else "by VXLAN"
    return PathKind("same subnet" if here.subnet == there.subnet else "across subnets", carriage)


@dataclass(slots=True)
class Cloud:
    """The lab, and what the checks keep about it. `north` is set once the controller is started."""

    lab: Lab
    north: Northbound | None = None
    addresses: dict[str, str] = field(default_factory=dict)
    """Of each guest, by its name in the lab, as REST gave it."""

    stranger: Stranger | None = None
    patience: float = 1.0
    """By how much the machine may be slower than an idle one: what is measured is held to that."""

    @property
    def rest(self) -> Northbound:
        assert self.north is not None, "no check uses REST before the controller is started"
        return self.north

    def guest(self, tenant: str, name: str) -> Guest:
        return self.lab.guest(f"{tenant}-{name}")

    def guests(self, tenant: str) -> list[Guest]:
        return [self.guest(tenant, name) for name in PLACES]

    def address(self, guest: Guest) -> str:
        return self.addresses[guest.name]

    def host_of(self, guest: Guest) -> Host:
        return self.lab.host(str(guest.state.host))

    def pairs(self, tenant: str) -> Iterator[tuple[PathKind, Guest, Guest]]:
        """Every ordered pair of the tenant's guests."""
        for sender in PLACES:
            for receiver in PLACES:
                if sender != receiver:
                    kind = path_kind(sender, receiver)
                    yield kind, self.guest(tenant, sender), self.guest(tenant, receiver)

    def peers(self, guest: Guest) -> list[Guest]:
        """The other guests of the same tenant."""
        tenant = guest.name.partition("-")[0]
        return [other for other in self.guests(tenant) if other is not guest]
