# SPDX-License-Identifier: Apache-2.0
"""Where ports are and how frames find them, from policy rows alone, without asking rules.

A guest speaks from its own addresses (and its pairs) only. Within its segment a frame goes to the
port with its destination MAC, or to all; one to the MAC of a router there goes to the port that has
its destination address, in any segment that this router has a leg in. What routers join is one
routing domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import NamedTuple, TypeVar

from isthmus.addresses import MULTICAST_BIT, Address
from isthmus.policy.rows import Claim, Port, Router, RouterPort, Row, Segment, Subnet
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.verdicts import holds, mac_number, numbered

Interface = IPv4Interface | IPv6Interface
_Row = TypeVar("_Row", bound=Row)

_ECHO = {(4, 1, 8, 0), (6, 58, 128, 0)}
_DHCP_CLIENT, _ALL = (4, 17, 68, 67), 0xFFFFFFFF
_DHCP_SERVER = {(4, 17, 67), (6, 17, 547)}
_NEIGHBOUR_DISCOVERY = range(133, 138)


class Way(NamedTuple):
    """To a port, with the Ethernet addresses that it sees."""

    port: Port
    eth_src: int
    eth_dst: int
    ttl: int


class Layout:
    """Over the rows of a policy, in which each port has at most one claim."""

    def __init__(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.ports = {port.id: port for port in rows_of(Port, rows)}
        self.routers = {router.id: router for router in rows_of(Router, rows)}
        self.legs = rows_of(RouterPort, rows)
        self._subnets = rows_of(Subnet, rows)
        self._segments = {segment.vsid: segment.id for segment in rows_of(Segment, rows)}
        self._routers_of = self._by_segment()
        self._domain_of = self._joined()
        self._gateways_of: dict[str, list[tuple[RouterPort, Interface]]] = {}
        for leg in filter(self._routes, self.legs):
            own = [(leg, ip_interface(text)) for text in leg.addresses]
            self._gateways_of.setdefault(leg.router, []).extend(own)
        self._claims = {
            claim.port: claim for claim in rows_of(Claim, rows) if self._is_believed(claim)
        }
        self.by_domain: dict[str, list[Port]] = {}
        for port in self.ports.values():
            self.by_domain.setdefault(self.domain(port.segment), []).append(port)

    def _is_believed(self, claim: Claim) -> bool:
        port = self.ports.get(claim.port)
        return port is not None and (not port.hosts or claim.host in port.hosts)

    def _by_segment(self) -> dict[str, list[Router]]:
        """The routers of each segment, in the order of their numbers."""
        found: dict[str, list[Router]] = {}
        for leg in self.legs:
            if leg.router in self.routers:
                found.setdefault(leg.segment, []).append(self.routers[leg.router])
        return {name: sorted(here, key=_by_number) for name, here in found.items()}

    def _joined(self) -> dict[str, str]:
        """By router: the first one of those that it comes to by segments."""
        found = dict(self.routers)
        is_done = False
        while not is_done:
            is_done = True
            for here in self._routers_of.values():
                first = min((found[one.id] for one in here), key=_by_number)
                is_done &= all(found[one.id] is first for one in here)
                found.update((one.id, first) for one in here)
        return {name: first.id for name, first in found.items()}

    def _routes(self, leg: RouterPort) -> bool:
        """Whether a router is the one there that its MAC address leads to."""
        router = self.routers.get(leg.router)
        return router is not None and self._asked(leg.segment, mac_number(router.mac)) is router

    def domain(self, segment: str) -> str:
        """The first router that the segment's come to, else the segment itself."""
        here = self._routers_of.get(segment)
        return self._domain_of[here[0].id] if here else segment

    def routers_in(self, domain: str) -> list[Router]:
        """The routers of a routing domain."""
        return [self.routers[name] for name, first in self._domain_of.items() if first == domain]

    def tenant(self, port: str) -> list[Port]:
        """All ports of the domain of a port."""
        return self.by_domain[self.domain(self.ports[port].segment)]

    def host_of(self, port: str) -> str | None:
        """Where a port is, if it is anywhere."""
        claim = self._claims.get(port)
        return claim.host if claim is not None else None

    @staticmethod
    def is_at(port: Port, family: int, address: int) -> bool:
        """Whether an address is one of a port, or in one of its pairs."""
        if holds(port, family, address):
            return True
        return any(_is_inside(family, address, str(pair.network)) for pair in port.pairs)

    def _asked(self, segment: str, mac: int) -> Router | None:
        """The router of a segment that has a MAC address; the first, if others have it too."""
        here = self._routers_of.get(segment, ())
        return next((one for one in here if mac_number(one.mac) == mac), None)

    # -- from a guest ------------------------------------------------------------------------------

    def may_send(self, port: Port, frame: Frame) -> bool:
        """Port security: whether a guest speaks from what is its own."""
        its = frame.tuple
        if frame.eth_src & MULTICAST_BIT:
            return False  # a group is nobody's source: IEEE 802.3 section 3.2.3
        if (its.family, its.protocol) == (6, 58) and its.source_port in _NEIGHBOUR_DISCOVERY:
            return False
        service = its.family, its.protocol, its.source_port
        if "dhcp-guard" in port.guards and service in _DHCP_SERVER:
            return False
        if self.host_of(port.id) is None or self._is_for_host(port, frame):
            return False
        own_mac = frame.eth_src == mac_number(port.mac) or "mac-spoofing" in port.guards
        if own_mac and holds(port, its.family, its.source):
            return True
        return any(
            frame.eth_src == pair.mac and _is_inside(its.family, its.source, str(pair.network))
            for pair in port.pairs
        )

    def _is_for_host(self, port: Port, frame: Frame) -> bool:
        """Whether the host answers it by DHCP, so that it goes nowhere: RFC 2131 section 4.1."""
        its = frame.tuple
        service = its.family, its.protocol, its.source_port, its.destination_port
        if service != _DHCP_CLIENT or frame.eth_src != mac_number(port.mac):
            return False
        servers = {_ALL}
        for subnet in self._subnets:
            if subnet.segment == port.segment and port.dhcp_address:
                network = ip_network(subnet.prefix)
                if subnet.dhcp and ip_address(port.dhcp_address) in network:
                    servers.add(numbered(subnet.gateway or str(network[1]))[1])
        return len(servers) > 1 and its.destination in servers

    def asks_router(self, sender: Port, frame: Frame) -> bool:
        """Whether it is an echo request to an address of the router."""
        its = frame.tuple
        router = self._asked(sender.segment, frame.eth_dst)
        return (
            router is not None
            and (its.family, its.protocol, its.source_port, its.destination_port) in _ECHO
            and any(one.ip == _destination(its) for _, one in self._gateways(router.id))
        )

    def ways(self, sender: Port, frame: Frame) -> Iterator[Way]:
        """To all who would get it if no rule forbade it."""
        router = self._asked(sender.segment, frame.eth_dst)
        if router is not None:
            yield from self._routed(sender, router, frame)
            return
        for port in self._placed(sender.segment):
            if port.id != sender.id and _is_meant(port, frame):
                eth_src = self._shown(sender, port, frame)
                if eth_src is not None:
                    yield Way(port, eth_src, frame.eth_dst, frame.ttl)

    def _placed(self, segment: str) -> Iterator[Port]:
        for port in self.by_domain.get(self.domain(segment), ()):
            if port.segment == segment and port.id in self._claims:
                yield port

    def _gateways(self, router: str) -> list[tuple[RouterPort, Interface]]:
        return self._gateways_of.get(router, [])

    def _routed(self, sender: Port, router: Router, frame: Frame) -> Iterator[Way]:
        addresses = self._gateways(router.id)
        destination = _destination(frame.tuple)
        if any(interface.ip == destination for _, interface in addresses):
            return  # nothing but echo is answered there
        inside = [pair for pair in addresses if destination in pair[1].network]
        if not inside or frame.ttl <= 1:
            return
        leg, _ = max(inside, key=lambda pair: pair[1].network.prefixlen)
        for port in self._placed(leg.segment):
            if port.id != sender.id and str(destination) in port.addresses:
                routed = frame._replace(eth_src=mac_number(router.mac))
                eth_src = self._shown(sender, port, routed)
                if eth_src is not None:
                    yield Way(port, eth_src, mac_number(port.mac), frame.ttl - 1)

    def _shown(self, sender: Port, receiver: Port, frame: Frame) -> int | None:
        """The source MAC address with which a frame arrives; None where another host does not
        believe it."""
        here = self._claims[sender.id].host
        if here == self.host_of(receiver.id):
            return frame.eth_src
        claims = [claim for claim in self._claims.values() if claim.host == here]
        return self._believed(receiver.segment, claims, frame)

    # -- from a tunnel -----------------------------------------------------------------------------

    def arrivals(self, host: str, provider_address: str, vsid: int, frame: Frame) -> Iterator[Way]:
        """To the ports of a host that would get what comes to it in a tunnel, whoever sent it."""
        segment = self._segments.get(vsid) if not frame.eth_src & MULTICAST_BIT else None
        # What a host's own ports send comes in no tunnel, whoever says so.
        claimed = [
            claim
            for claim in self._claims.values()
            if str(claim.provider_address) == provider_address and claim.host != host
        ]
        shown = self._believed(segment, claimed, frame) if segment else None
        if segment is None or shown is None:
            return
        for port in self._placed(segment):
            if self.host_of(port.id) == host and _is_meant(port, frame):
                yield Way(port, shown, frame.eth_dst, frame.ttl)

    def _believed(self, segment: str, claims: Iterable[Claim], frame: Frame) -> int | None:
        """The source MAC address of what comes in a tunnel: within a segment that of the port whose
        source it has, else a router's: the one that it shows, or the first of the segment. So a
        forged one reaches nobody."""
        source = self._source(segment, claims, frame)
        if source is None:
            return None
        own, mac = source
        here = self._routers_of.get(segment)
        if own == segment or not here:
            return mac
        return mac_number((self._asked(segment, frame.eth_src) or here[0]).mac)

    def _source(
        self, segment: str, claims: Iterable[Claim], frame: Frame
    ) -> tuple[str, int] | None:
        """The segment and the MAC address that a tunnel's packet comes from, if a port that has its
        source is claimed there."""
        its = frame.tuple
        names = {claim.port for claim in claims}
        ports = [port for port in self.by_domain.get(self.domain(segment), ()) if port.id in names]
        for port in ports:
            if holds(port, its.family, its.source):
                return port.segment, mac_number(port.mac)
        for port in ports:
            routers = self._routers_of.get(port.segment, ())
            for network, mac in port.pairs:
                senders = {mac_number(router.mac) for router in routers}
                if port.segment == segment:
                    senders.add(mac)
                if _is_inside(its.family, its.source, str(network)) and frame.eth_src in senders:
                    return port.segment, frame.eth_src
        return None


def rows_of(table: type[_Row], rows: Iterable[Row]) -> list[_Row]:
    return [row for row in rows if isinstance(row, table)]


def _by_number(router: Router) -> tuple[int, str]:
    return router.rdid, router.id


def _is_meant(port: Port, frame: Frame) -> bool:
    return bool(frame.eth_dst & MULTICAST_BIT) or frame.eth_dst == mac_number(port.mac)


def _destination(its: Tuple) -> Address:
    return ip_address(its.destination.to_bytes(4 if its.family == 4 else 16, "big"))


def _is_inside(family: int, address: int, prefix: str) -> bool:
    version, first, last = _span(prefix)
    return version == family and first <= address <= last


@cache
def _span(prefix: str) -> tuple[int, int, int]:
    network = ip_network(prefix)
    return network.version, int(network.network_address), int(network.broadcast_address)
