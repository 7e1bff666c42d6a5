# SPDX-License-Identifier: Apache-2.0
"""Which DHCP messages a port's host answers: decided here for the switch, which takes them out, the
agent, which answers them, and those who ask where a packet goes.

RFC 2131 section 4.1: a client sends to port 67, by broadcast to 255.255.255.255 from whatever
address it has or had, and to its server's own address when it renews or gives up its lease. What a
guest sends from its own MAC address to these, and from port 68, is for its host; whatever else it
sends to port 67 is for somebody else, as is what comes in fragments: no message of a client is
larger than what every link carries whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network

from isthmus.policy.rows import Port, Subnet
from isthmus.policy.topology import lowest_address

SERVER_PORT, CLIENT_PORT = 67, 68
LIMITED_BROADCAST = IPv4Address("255.255.255.255")


def subnet_of(port: Port, subnets: Iterable[Subnet]) -> Subnet | None:
    """The subnet of the address that DHCP gives a port, of those of its segment; None where nobody
    serves it."""
    if not port.dhcp_address:
        return None
    address = ip_address(port.dhcp_address)
    inside = (one for one in subnets if address in ip_network(one.prefix))
    return next((one for one in inside if one.dhcp), None)


def server_address(subnet: Subnet) -> IPv4Address:
    """What the server calls itself: the gateway, or where there is none the lowest address."""
    return IPv4Address(subnet.gateway or lowest_address(subnet.prefix))
