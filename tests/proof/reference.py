# SPDX-License-Identifier: Apache-2.0
"""Who gets a frame, from policy rows alone: the definition that the flows of all hosts are held to.

A guest speaks from its own addresses (and its pairs) only. Within its segment a frame goes to the
port with its destination MAC, or to all; one to the router's MAC goes to the port that has its
destination address, in any segment of the routing domain. Both ends' rules must let it pass: the
outbound rules of who opened the connection, the inbound rules of whom it was opened to. Each end
knows the connections that its own rules have let begin; a packet that answers one passes as long as
the rules still let the connection be opened, in the direction in which it was. At an end at which
nothing is forbidden nobody looks, and nothing is remembered.

Not said here: who answers ARP, neighbour discovery and DHCP, and limits of rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import NamedTuple, TypeVar

from isthmus.addresses import MULTICAST_BIT, Address, parse_mac
from isthmus.policy.rows import Claim, Port, Router, RouterPort, Row, Segment
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.network import Delivered
from tests.proof.verdicts import Domain, Rules, Verdict, numbered

_Row = TypeVar("_Row", bound=Row)

Interface = IPv4Interface | IPv6Interface

_ECHO = {(4, 1, 8, 0), (6, 58, 128, 0)}
_DHCP_CLIENT = (4, 17, 68, 67)
_DHCP_SERVER = {(4, 17, 67), (6, 17, 547)}
_NEIGHBOUR_DISCOVERY = range(133, 138)


class _Way(NamedTuple):
    """To a port, with the Ethernet addresses that it sees."""

    port: Port
    eth_src: int
    eth_dst: int
    ttl: int


class Reference:
    """Over the rows of a policy, in which each port has one claim that all believe."""

    def __init__(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.rules = Rules(rows)
        self.ports = {port.id: port for port in _of(Port, rows)}
        self._segments = {segment.id: segment for segment in _of(Segment, rows)}
        self._routers = {router.id: router for router in _of(Router, rows)}
        self._legs = _of(RouterPort, rows)
        self._claims = {claim.port: claim for claim in _of(Claim, rows)}
        self._router_of = {leg.segment: leg.router for leg in self._legs}
        self._by_domain: dict[str, list[Port]] = {}
        for port in self.ports.values():
            self._by_domain.setdefault(self.domain_name(port.segment), []).append(port)
        self._domains: dict[str, Domain] = {}
        self._memory: dict[str, dict[Tuple, tuple[Tuple, bool]]] = {}

    def domain_name(self, segment: str) -> str:
        """The router of a segment, else the segment itself."""
        return self._router_of.get(segment, segment)

    def take_over(self, other: Reference) -> None:
        """Remember what another, of an earlier policy, has seen. A host knows no connections of a
        port that comes from another host."""
        for name, known in other._memory.items():
            if other.host_of(name) == self.host_of(name):
                self._memory[name] = known

    def forget(self) -> None:
        """All connections."""
        self._memory.clear()

    def host_of(self, port: str) -> str | None:
        """Where a port is, if it is anywhere."""
        claim = self._claims.get(port)
        return claim.host if claim is not None else None

    def is_watched(self, name: str, frame: Frame) -> bool:
        """Whether rules forbid anything at the end that sends a frame."""
        port = self.ports.get(name)
        if port is None:
            return False
        speaker = self._address(port, frame.tuple.family, frame.tuple.source)
        return self.rules.forbids_something(port, speaker)

    # -- who gets it -------------------------------------------------------------------------------

    def send(self, name: str, frame: Frame) -> tuple[Delivered, ...]:
        """Who gets what a guest sends, in order of names."""
        sender = self.ports[name]
        if name not in self._claims or not self._may_send(sender, frame):
            return ()
        speaker = self._address(sender, frame.tuple.family, frame.tuple.source)
        if self._asks_router(sender, frame):
            echoed = Delivered(name, _echoed(frame))
            return (echoed,) if self._passes(sender, speaker, "out", frame) else ()
        ways = list(self._ways(sender, frame))
        passes = self._passes(sender, speaker, "out", frame) if ways else False
        return tuple(sorted(self._received(ways, frame))) if passes else ()

    def inject(
        self, host: str, provider_address: str, vsid: int, frame: Frame
    ) -> tuple[Delivered, ...]:
        """Who on a host gets what comes to it in a tunnel, whoever sent it."""
        segments = [one for one in self._segments.values() if one.vsid == vsid]
        if not segments:
            return ()
        domain = self.domain_name(segments[0].id)
        source = self._source(domain, provider_address, frame)
        if source is None:
            return ()
        here = [
            port
            for port in self._by_domain[domain]
            if port.segment == segments[0].id
            and port.id in self._claims
            and self._claims[port.id].host == host
        ]
        ways = []
        for port in here:
            if frame.eth_dst & MULTICAST_BIT or frame.eth_dst == parse_mac(port.mac):
                ways.append(_Way(port, source[port.segment], frame.eth_dst, frame.ttl))
        return tuple(sorted(self._received(ways, frame)))

    def _source(
        self, domain: str, provider_address: str, frame: Frame
    ) -> dict[str, int] | None:
        """From which MAC address a tunnel's packet comes, by segment; None if not from there."""
        its = frame.tuple
        router = self._routers.get(domain)
        for port in self._by_domain.get(domain, ()):
            claim = self._claims.get(port.id)
            if claim is None or claim.provider_address != provider_address:
                continue
            if (its.family, its.source) in map(numbered, port.addresses):
                mac = parse_mac(port.mac)
            elif router is not None and frame.eth_src == parse_mac(router.mac) and any(
                _inside(its, pair.split(" ")[0]) for pair in port.pairs
            ):
                mac = frame.eth_src
            elif any(
                _inside(its, text) and frame.eth_src == parse_mac(own)
                for text, own in (pair.split(" ") for pair in port.pairs)
            ):
                mac = frame.eth_src
            else:
                continue
            macs = {name: parse_mac(router.mac) if router else 0 for name in self._segments}
            return {**macs, port.segment: mac}
        return None

    def _received(self, ways: Iterable[_Way], frame: Frame) -> Iterator[Delivered]:
        for port, eth_src, eth_dst, ttl in ways:
            seen = Frame(eth_src, eth_dst, frame.tuple, ttl)
            listener = self._address(port, frame.tuple.family, frame.tuple.destination)
            if self._passes(port, listener, "in", seen):
                yield Delivered(port.id, seen)

    # -- what a guest may say, and to whom ---------------------------------------------------------

    def _may_send(self, port: Port, frame: Frame) -> bool:
        its = frame.tuple
        if (its.family, its.protocol) == (6, 58) and its.source_port in _NEIGHBOUR_DISCOVERY:
            return False
        service = its.family, its.protocol, its.source_port
        if "dhcp-guard" in port.guards and service in _DHCP_SERVER:
            return False
        if (*service, its.destination_port) == _DHCP_CLIENT:
            return False
        own_mac = frame.eth_src == parse_mac(port.mac) or "mac-spoofing" in port.guards
        if own_mac and (its.family, its.source) in map(numbered, port.addresses):
            return True
        pairs = (pair.split(" ") for pair in port.pairs)
        return any(
            frame.eth_src == parse_mac(mac) and _inside(its, prefix) for prefix, mac in pairs
        )

    def _ways(self, sender: Port, frame: Frame) -> Iterator[_Way]:
        router = self._routers.get(self.domain_name(sender.segment))
        if router is not None and frame.eth_dst == parse_mac(router.mac):
            yield from self._routed(sender, router, frame)
            return
        for port in self._by_domain[self.domain_name(sender.segment)]:
            is_placed = port.id in self._claims and port.id != sender.id
            if is_placed and port.segment == sender.segment:
                if frame.eth_dst & MULTICAST_BIT or frame.eth_dst == parse_mac(port.mac):
                    eth_src = self._shown(sender, port, frame, frame.eth_src)
                    yield _Way(port, eth_src, frame.eth_dst, frame.ttl)

    def _asks_router(self, sender: Port, frame: Frame) -> bool:
        """Whether it is an echo request to an address of the router."""
        its = frame.tuple
        router = self._routers.get(self.domain_name(sender.segment))
        return (
            router is not None
            and frame.eth_dst == parse_mac(router.mac)
            and (its.family, its.protocol, its.source_port, its.destination_port) in _ECHO
            and any(one.ip == _destination(its) for _, one in self._gateways(router.id))
        )

    def _gateways(self, router: str) -> list[tuple[RouterPort, Interface]]:
        legs = [leg for leg in self._legs if leg.router == router]
        return [(leg, ip_interface(text)) for leg in legs for text in leg.addresses]

    def _routed(self, sender: Port, router: Router, frame: Frame) -> Iterator[_Way]:
        its = frame.tuple
        addresses = self._gateways(router.id)
        destination = _destination(its)
        if any(interface.ip == destination for _, interface in addresses):
            return  # nothing but echo is answered there
        inside = [pair for pair in addresses if destination in pair[1].network]
        if not inside or frame.ttl <= 1:
            return
        leg, _ = max(inside, key=lambda pair: pair[1].network.prefixlen)
        for port in self._by_domain[router.id]:
            if port.segment == leg.segment and port.id != sender.id:
                known = (its.family, its.destination) in map(numbered, port.addresses)
                if known and port.id in self._claims:
                    eth_src = self._shown(sender, port, frame, parse_mac(router.mac))
                    yield _Way(port, eth_src, parse_mac(port.mac), frame.ttl - 1)

    def _shown(self, sender: Port, receiver: Port, frame: Frame, eth_src: int) -> int:
        """The source MAC address that arrives: within a segment another host puts the port's own in
        place of what came, so that a forged one reaches nobody."""
        own = (frame.tuple.family, frame.tuple.source) in map(numbered, sender.addresses)
        hosts = {self._claims[one.id].host for one in (sender, receiver)}
        if sender.segment == receiver.segment and len(hosts) > 1 and own:
            return parse_mac(sender.mac)
        return eth_src

    def _address(self, port: Port, family: int, number: int) -> str:
        """Whose rules hold: those of the port's own address, else of the first of its family."""
        own = sorted(text for text in port.addresses if numbered(text)[0] == family)
        for text in own:
            if numbered(text)[1] == number:
                return text
        return port.dhcp_address if port.dhcp_address in own else next(iter(own), "")

    # -- what an end says --------------------------------------------------------------------------

    def _passes(self, port: Port, address: str, direction: str, frame: Frame) -> bool:
        if not self.rules.forbids_something(port, address):
            return True
        packet, domain = frame.tuple, self._domain(port)
        alone = self.rules.verdict(port, address, direction, packet, domain)
        if alone is Verdict.ALLOW_PACKET:
            return True
        known = self._memory.setdefault(port.id, {})
        original, is_reply = known.get(packet, (packet, False))
        if is_reply:
            role = "in" if direction == "out" else "out"
            return self.rules.verdict(port, address, role, original, domain) is Verdict.ALLOW
        if alone is Verdict.DENY or not packet.may_open:
            return False
        if not frame.eth_dst & MULTICAST_BIT:
            known[packet] = packet, False
            turned = packet.turned()
            if turned is not None:
                known.setdefault(turned, (packet, True))
        return True

    def _domain(self, port: Port) -> Domain:
        name = self.domain_name(port.segment)
        found = self._domains.get(name)
        if found is None:
            legs = [leg for leg in self._legs if leg.router == name]
            found = Domain(self._routers.get(name), legs, self._by_domain[name])
            self._domains[name] = found
        return found


def _of(table: type[_Row], rows: Iterable[Row]) -> list[_Row]:
    return [row for row in rows if isinstance(row, table)]


def _destination(its: Tuple) -> Address:
    return ip_address(its.destination.to_bytes(4 if its.family == 4 else 16, "big"))


def _inside(its: Tuple, prefix: str) -> bool:
    network = ip_network(prefix)
    first, last = int(network.network_address), int(network.broadcast_address)
    return network.version == its.family and first <= its.source <= last


def _echoed(frame: Frame) -> Frame:
    its = frame.tuple
    turned = its.turned()
    assert turned is not None
    return Frame(frame.eth_dst, frame.eth_src, turned, 64)
