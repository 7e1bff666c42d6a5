# SPDX-License-Identifier: Apache-2.0
"""The host answers DHCPv4 of its own guests from policy (RFC 2131): pure, frame in, frame out.

Addresses are given by the intent and never expire while the port exists, so the server keeps no
state: any host gives a guest the same answer.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from isthmus.addresses import Mac, parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.gateways import speaking_mac
from isthmus.host.indexes import SUBNETS_BY_SEGMENT
from isthmus.policy.dhcp import LIMITED_BROADCAST, server_address, subnet_of
from isthmus.policy.rows import Port, Segment, Subnet
from isthmus.wire import dhcp
from isthmus.wire.dhcp import Kind, Reply, Request, Route
from isthmus.wire.ethernet import (
    BROADCAST,
    ETHERTYPE_IPV4,
    PROTOCOL_UDP,
    Ethernet,
    IPv4,
    Udp,
    build_ethernet,
    build_ipv4,
    build_udp,
    parse_ethernet,
    parse_ipv4,
    parse_udp,
)

_DEFAULT = IPv4Network("0.0.0.0/0")


def answer_guest(frame: bytes, port: Port, engine: Engine) -> bytes | None:
    """The frame that answers a guest's, as `answer_frame`; None as well where nobody serves the
    port."""
    around = surroundings(engine, port)
    return None if around is None else answer_frame(frame, port, *around)


def surroundings(engine: Engine, port: Port) -> tuple[Segment, Subnet, Mac] | None:
    """The segment of a port, the subnet that it is served in, and the MAC address of who serves it,
    if they are known."""
    segment = engine.rows(Segment).get(port.segment)
    mac = speaking_mac(engine, port.segment)
    keys = sorted(engine.entry(SUBNETS_BY_SEGMENT, port.segment), key=repr)
    subnet = subnet_of(port, (engine.rows(Subnet)[key] for key in keys))
    if segment is None or mac is None or subnet is None:
        return None
    return segment, subnet, mac


def answer_frame(
    frame: bytes, port: Port, segment: Segment, subnet: Subnet, server_mac: Mac
) -> bytes | None:
    """The frame that answers a guest's, or None where the standard wants silence.

    Raises `wire.malformed.Malformed` for what is no DHCP message of a client.
    """
    ethernet = parse_ethernet(frame)
    datagram = parse_udp(parse_ipv4(ethernet.payload).payload)
    request = dhcp.parse(datagram.payload)
    # The switch has checked that the frame is the guest's; a message for somebody else is a forged
    # one, or a relay's, and guests are no relays.
    if request.chaddr != parse_mac(port.mac) or request.giaddr is not None:
        return None
    reply = answer(request, port, segment, subnet)
    return None if reply is None else _frame(reply, server_mac)


def answer(request: Request, port: Port, segment: Segment, subnet: Subnet) -> Reply | None:
    """RFC 2131 section 4.3, for a server that holds one address for each client."""
    address = IPv4Address(port.dhcp_address)
    server = server_address(subnet)
    if request.server_id not in (None, server):
        return None  # it has chosen another server's offer (section 4.3.2)
    match request.kind:
        case Kind.DISCOVER:
            return _grant(Kind.OFFER, request, address, port, segment, subnet)
        case Kind.REQUEST:
            wanted = request.requested_address or request.ciaddr
            if wanted != address:
                return Reply(
                    Kind.NAK,
                    request.xid,
                    request.chaddr,
                    server,
                    broadcast=True,
                    message=f"the address of this interface is {address}",
                    client_id=request.client_id,
                )
            return _grant(Kind.ACK, request, address, port, segment, subnet)
        case Kind.INFORM:
            # Section 4.3.5: no lease, no "your address".
            return _grant(Kind.ACK, request, None, port, segment, subnet)
        case _:
            return None


def _grant(
    kind: Kind,
    request: Request,
    address: IPv4Address | None,
    port: Port,
    segment: Segment,
    subnet: Subnet,
) -> Reply:
    gateway = IPv4Address(subnet.gateway) if subnet.gateway is not None else None
    dns = port.dns or subnet.dns
    routes = tuple(
        Route(route.network, route.next_hop)
        for route in subnet.host_routes
        if isinstance(route.network, IPv4Network) and isinstance(route.next_hop, IPv4Address)
    )
    if routes and gateway is not None:
        # RFC 3442: clients that take these routes ignore the router option.
        routes = (*routes, Route(_DEFAULT, gateway))
    return Reply(
        kind,
        request.xid,
        request.chaddr,
        server_address(subnet),
        broadcast=request.broadcast,
        ciaddr=request.ciaddr if kind is Kind.ACK else None,
        yiaddr=address,
        lease_s=subnet.lease_s if address is not None else None,
        subnet_mask=IPv4Network(subnet.prefix).netmask,
        routers=(gateway,) if gateway is not None else (),
        dns_servers=tuple(IPv4Address(text) for text in dns if ":" not in text),
        mtu_bytes=segment.mtu_bytes,
        routes=routes,
        client_id=request.client_id,
    )


def _frame(reply: Reply, server_mac: Mac) -> bytes:
    """Section 4.1: to the client's address if it has one, else to the one it will have, unless it
    asks for broadcast.
    """
    to = reply.ciaddr or reply.yiaddr
    destination, mac = (to, reply.chaddr) if to is not None else (LIMITED_BROADCAST, BROADCAST)
    if reply.broadcast:
        destination, mac = LIMITED_BROADCAST, BROADCAST
    payload = Udp(dhcp.SERVER_PORT, dhcp.CLIENT_PORT, dhcp.build(reply))
    udp = build_udp(payload, reply.server_id, destination)
    packet = IPv4(reply.server_id, destination, PROTOCOL_UDP, udp)
    return build_ethernet(Ethernet(mac, server_mac, ETHERTYPE_IPV4, build_ipv4(packet)))
