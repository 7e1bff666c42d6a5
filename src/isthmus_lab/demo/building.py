# SPDX-License-Identifier: Apache-2.0
"""The cloud comes into being by REST alone, and its guests find their addresses by DHCP."""

from __future__ import annotations

import time
from ipaddress import IPv4Network

from isthmus_lab import processes, resources
from isthmus_lab.demo.check import Check, expect
from isthmus_lab.demo.cloud import (
    ADDRESS_SPACE,
    DNS,
    HOSTS,
    MTU_BYTES,
    PLACES,
    ROUTERS,
    SUBNETS,
    TENANTS,
    Cloud,
)
from isthmus_lab.guest import Guest
from isthmus_lab.northbound import Northbound, Resource

_REPORT_S = 60.0


def checks() -> list[Check]:
    section = "A cloud on one machine"
    return [
        Check(section, "three hosts with a switch each are up", start_hosts, essential=True),
        Check(section, "a controller serves REST, and agents run", start_isthmus, essential=True),
        Check(
            section, "REST takes two tenants with the same addresses", put_tenants, essential=True
        ),
        Check(section, "14 guests get all by DHCP that REST says", plug_guests, essential=True),
        Check(section, "hosts report every port as configured", see_reports),
    ]


def start_hosts(cloud: Cloud) -> str:
    start = time.monotonic()
    cloud.lab.up(HOSTS)
    return f"{len(HOSTS)} hosts in {time.monotonic() - start:.1f} s; {cloud.lab.run_directory}"


def start_isthmus(cloud: Cloud) -> str:
    controller = cloud.lab.start_controller()
    cloud.north = Northbound(processes.rest_socket(cloud.lab.run_directory))
    seconds = cloud.rest.wait_until_ready(controller)
    for reference, body in resources.fabric("172.31.0.0/24", HOSTS):
        cloud.rest.put(reference, body)
    for host in cloud.lab.hosts.values():
        cloud.lab.start_agent(host)
    return f"answered after {seconds:.1f} s"


def put_tenants(cloud: Cloud) -> str:
    """The first tenant's interfaces by one PUT each, the second's in one batch; MACs are the
    controller's.
    """
    for tenant in TENANTS:
        body = resources.virtual_network(ADDRESS_SPACE, list(SUBNETS.items()), DNS)
        cloud.rest.put(f"/virtualNetworks/{tenant}", body)
    first, second = (interfaces(tenant) for tenant in TENANTS)
    for reference, body in first:
        cloud.rest.put(reference, body)
    cloud.rest.put_all(second)
    for tenant in TENANTS:
        for name in PLACES:
            _add_guest(cloud, f"{tenant}-{name}")
    expected = {place.address for place in PLACES.values()}
    for tenant in TENANTS:
        given = {cloud.address(guest) for guest in cloud.guests(tenant)}
        expect(given == expected, f"{tenant}'s addresses {sorted(expected)}", sorted(given))
    return f"{len(first)} interfaces by PUT, {len(second)} in one batch"


def plug_guests(cloud: Cloud) -> str:
    start = time.monotonic()
    guests = [guest for tenant in TENANTS for guest in cloud.guests(tenant)]
    for guest in guests:
        cloud.lab.plug(guest, cloud.lab.host(PLACES[short_name(guest)].host))
    exchanges = [guest.start_dhcp() for guest in guests]
    for guest, exchange in zip(guests, exchanges, strict=True):
        place = PLACES[short_name(guest)]
        lease = exchange.finish()
        saw = (lease.address, lease.prefix_length, lease.routers, lease.dns, lease.mtu_bytes)
        length = IPv4Network(SUBNETS[place.subnet]).prefixlen
        expected = (place.address, length, (ROUTERS[place.subnet],), DNS, MTU_BYTES)
        log = cloud.lab.agent(cloud.host_of(guest)).log
        expect(saw == expected, f"{guest.name} to lease {expected}", f"{saw}; agent's log: {log}")
    return f"address, mask, router, DNS, MTU; {time.monotonic() - start:.1f} s with plugging"


def see_reports(cloud: Cloud) -> str:
    start = time.monotonic()
    waiting = {guest.name: "" for tenant in TENANTS for guest in cloud.guests(tenant)}
    count = len(waiting)
    while waiting and time.monotonic() < start + _REPORT_S:
        for name in list(waiting):
            waiting[name] = resources.configuration_of(cloud.rest.get(f"/networkInterfaces/{name}"))
            if waiting[name].startswith("Success"):
                del waiting[name]
        time.sleep(0.05)
    expect(not waiting, f"configurationState Success of all within {_REPORT_S:g} s", waiting)
    return f"configurationState of {count} interfaces is Success"


def interfaces(tenant: str) -> list[tuple[str, Resource]]:
    """A networkInterface for each guest of the tenant, with its address; the MAC is not said."""
    return [
        (
            f"/networkInterfaces/{tenant}-{name}",
            resources.network_interface(_subnet(f"{tenant}-{name}", place.subnet), place.address),
        )
        for name, place in PLACES.items()
    ]


def short_name(guest: Guest) -> str:
    """``web1`` of ``red-web1``."""
    return guest.name.partition("-")[2]


def new_guest(cloud: Cloud, name: str, subnet: str, host: str) -> Guest:
    """One more guest, everything of it chosen by the controller, with an address by DHCP."""
    cloud.rest.put(f"/networkInterfaces/{name}", resources.network_interface(_subnet(name, subnet)))
    guest = _add_guest(cloud, name)
    cloud.lab.plug(guest, cloud.lab.host(host))
    lease = guest.dhcp()
    expect(lease.address == cloud.address(guest), f"{name} to lease what REST says", lease)
    return guest


def _subnet(guest: str, subnet: str) -> str:
    return f"/virtualNetworks/{guest.partition('-')[0]}/subnets/{subnet}"


def _add_guest(cloud: Cloud, name: str) -> Guest:
    interface = cloud.rest.get(f"/networkInterfaces/{name}")
    cloud.addresses[name] = resources.address_of(interface)
    return cloud.lab.add_guest(name, resources.mac_of(interface), name)
