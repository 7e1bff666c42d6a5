# SPDX-License-Identifier: Apache-2.0
"""Who gives a port its address by DHCP, and what its server calls itself."""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.policy.dhcp import CLIENT_PORT, SERVER_PORT, server_address, subnet_of
from isthmus.policy.rows import Port, Subnet

SERVED = Subnet(segment="s", prefix="10.0.1.0/24", gateway="10.0.1.254", dhcp=True)
OTHER = Subnet(segment="s", prefix="10.0.2.0/24", gateway="10.0.2.1", dhcp=True)
SIX = Subnet(segment="s", prefix="fd00::/64", gateway="fd00::1")


def port(address: str) -> Port:
    return Port(id="p", segment="s", mac="02:00:00:00:00:01", dhcp_address=address)


def test_a_port_is_served_from_the_subnet_that_its_address_is_of() -> None:
    assert subnet_of(port("10.0.1.9"), (SIX, OTHER, SERVED)) == SERVED
    assert subnet_of(port("10.0.2.9"), (SIX, OTHER, SERVED)) == OTHER


def test_nobody_serves_a_port_without_an_address_or_in_no_subnet_or_without_dhcp() -> None:
    still = Subnet(segment="s", prefix="10.0.1.0/24", gateway="10.0.1.1", dhcp=False)
    assert subnet_of(port(""), (SERVED, OTHER)) is None
    assert subnet_of(port("10.0.3.9"), (SERVED, OTHER)) is None
    assert subnet_of(port("10.0.1.9"), (still, OTHER)) is None


def test_the_server_is_the_gateway_or_the_lowest_address() -> None:
    assert server_address(SERVED) == IPv4Address("10.0.1.254")
    without = Subnet(segment="s", prefix="10.0.1.0/24", dhcp=True)
    assert server_address(without) == IPv4Address("10.0.1.1")


def test_servers_and_clients_have_the_ports_of_rfc_2131() -> None:
    assert (SERVER_PORT, CLIENT_PORT) == (67, 68)
