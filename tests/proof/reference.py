# SPDX-License-Identifier: Apache-2.0
"""Who gets a frame, from policy rows alone: the definition that the flows of all hosts are held to.

`layout` says where a frame would go; here both ends' rules must let it pass: the outbound rules of
who opened the connection, the inbound rules of whom it was opened to. Each end knows the
connections that its own rules have let begin; a packet that answers one passes as long as the rules
still let the connection be opened, in the direction in which it was. It goes to who has asked, and
to no other port under rules. At an end at which nothing is forbidden nobody looks, and nothing is
remembered; nor is, at either end, what passes the one and not the other on the same host.

An end that began to be followed a moment ago cannot know what was asked before. What it may not
open, it takes for an answer if it could have asked for it; on one host all ends that look do, or
none. The connection is then known in that order, but for TCP's, of which the acknowledgement says
the same.

Not said here: who answers ARP, neighbour discovery and DHCP, and limits of rates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from isthmus.addresses import MULTICAST_BIT
from isthmus.policy.rows import Port, Row
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.layout import Layout, Way
from tests.proof.network import Delivered
from tests.proof.verdicts import Domain, Rules, Verdict, numbered


class Reference:
    """Over the rows of a policy, in which each port has at most one claim."""

    def __init__(self, rows: Iterable[Row], begun: Collection[str] = ()) -> None:
        rows = list(rows)
        self._begun = begun
        self.layout = Layout(rows)
        self.ports = self.layout.ports
        self._rules = Rules(rows)
        self._domains: dict[str, Domain] = {}
        self._memory: dict[str, dict[Tuple, tuple[Tuple, bool]]] = {}

    def send(self, name: str, frame: Frame) -> tuple[Delivered, ...]:
        """Who gets what a guest sends, in order of names."""
        sender = self.ports[name]
        if not self.layout.may_send(sender, frame):
            return ()
        speaker = _address(sender, frame.tuple.family, frame.tuple.source)
        if self.layout.asks_router(sender, frame):
            echoed = Delivered(name, _echoed(frame))
            return (echoed,) if self._passes(sender, speaker, "out", frame) else ()
        ways = list(self.layout.ways(sender, frame))
        here = self.layout.host_of(name)
        if _goes_to_all_uninvited(frame):
            alone = self._rules.verdict(sender, speaker, "out", frame.tuple, self._domain(sender))
            is_free = alone is Verdict.ALLOW_PACKET or not self.is_watched(name, frame)
            if not is_free or self._has_rules(here, sender.segment):
                return ()
            ways = [
                way
                for way in ways
                if not self._has_rules(self.layout.host_of(way.port.id), way.port.segment)
            ]
        before = dict(self._memory.get(name, {}))
        passes = self._passes(sender, speaker, "out", frame) if ways else False
        is_here = any(self.layout.host_of(way.port.id) == here for way in ways)
        received = sorted(self._received(ways, frame, not is_here)) if passes else []
        if not received and is_here:
            self._memory[name] = before
            received = self._answered(
                [(sender, "out"), *((w.port, "in") for w in ways)], ways, frame
            )
        elif ways and not passes and not is_here and self._answered([(sender, "out")], ways, frame):
            received = sorted(self._received(ways, frame))
        return tuple(received)

    def inject(
        self, host: str, provider_address: str, vsid: int, frame: Frame
    ) -> tuple[Delivered, ...]:
        """Who on a host gets what comes to it in a tunnel, whoever sent it."""
        ways = list(self.layout.arrivals(host, provider_address, vsid, frame))
        if ways and _goes_to_all_uninvited(frame) and self._has_rules(host, ways[0].port.segment):
            return ()
        return tuple(sorted(self._received(ways, frame)))

    def _answered(
        self, ends: Iterable[tuple[Port, str]], ways: Iterable[Way], frame: Frame
    ) -> list[Delivered]:
        """Who gets a frame because all these ends take it for an answer."""
        turned = frame.tuple.turned()
        if turned is None or not turned.may_open or frame.eth_dst & MULTICAST_BIT:
            return []
        looking = [one for one in ends if self._looks(*one, frame)]
        if not looking or not all(self._could_ask(*one, frame.tuple, turned) for one in looking):
            return []
        if turned.protocol != 6:
            for port, _ in looking:
                self.remember(port.id, turned)
        return [
            Delivered(port.id, Frame(eth_src, eth_dst, frame.tuple, ttl))
            for port, eth_src, eth_dst, ttl in ways
        ]

    def _looks(self, port: Port, direction: str, frame: Frame) -> bool:
        """Whether an end follows what it sends or receives."""
        address = self._own(port, direction, frame.tuple)
        if not self._rules.forbids_something(port, address):
            return False
        alone = self._rules.verdict(port, address, direction, frame.tuple, self._domain(port))
        return alone is not Verdict.ALLOW_PACKET

    def _could_ask(self, port: Port, direction: str, packet: Tuple, turned: Tuple) -> bool:
        """Whether it would let begin, in the other direction, what a packet answers."""
        # Of a packet to where it comes from, nobody can tell the direction.
        is_known = packet in self._memory.get(port.id, {}) and packet != turned
        if port.id not in self._begun or is_known:
            return False
        is_own = self.layout.is_at(port, packet.family, packet.destination)
        if direction == "in" and not is_own:
            return False
        address = self._own(port, direction, packet)
        role = "in" if direction == "out" else "out"
        found = self._rules.verdict(port, address, role, turned, self._domain(port))
        return found is Verdict.ALLOW

    @staticmethod
    def _own(port: Port, direction: str, packet: Tuple) -> str:
        number = packet.source if direction == "out" else packet.destination
        return _address(port, packet.family, number)

    def take_over(self, other: Reference) -> None:
        """Remember what another, of an earlier policy, has seen. A host knows no connections of a
        port that comes from another host."""
        for name, known in other._memory.items():
            if other.layout.host_of(name) == self.layout.host_of(name):
                self._memory[name] = known

    def forget(self) -> None:
        """All connections."""
        self._memory.clear()

    def remember(self, name: str, packet: Tuple) -> None:
        """That a connection was let begin at a port's end."""
        known = self._memory.setdefault(name, {})
        known[packet] = packet, False
        turned = packet.turned()
        if turned is not None:
            known.setdefault(turned, (packet, True))

    def is_watched(self, name: str, frame: Frame) -> bool:
        """Whether rules forbid anything at the end that sends a frame."""
        port = self.ports.get(name)
        if port is None:
            return False
        speaker = _address(port, frame.tuple.family, frame.tuple.source)
        return self._rules.forbids_something(port, speaker)

    def _has_rules(self, host: str | None, segment: str) -> bool:
        """Whether anything is forbidden at a port of a segment on a host."""
        for port in self.layout.by_domain[self.layout.domain(segment)]:
            if port.segment == segment and self.layout.host_of(port.id) == host:
                families = {numbered(text)[0] for text in port.addresses}
                addresses = port.addresses if len(families) == 2 else (*port.addresses, "")
                if any(self._rules.forbids_something(port, address) for address in addresses):
                    return True
        return False

    def leads_nowhere(self, name: str, frame: Frame) -> bool:
        """Whether a frame goes to nobody, whatever the rules are."""
        sender = self.ports[name]
        if not self.layout.may_send(sender, frame):
            return True
        is_answered = self.layout.asks_router(sender, frame)
        return not is_answered and not any(self.layout.ways(sender, frame))

    def _received(
        self, ways: Iterable[Way], frame: Frame, other_host: bool = True
    ) -> Iterator[Delivered]:
        for port, eth_src, eth_dst, ttl in ways:
            seen = Frame(eth_src, eth_dst, frame.tuple, ttl)
            listener = _address(port, frame.tuple.family, frame.tuple.destination)
            if self._passes(port, listener, "in", seen):
                yield Delivered(port.id, seen)
            elif other_host:
                way = Way(port, eth_src, eth_dst, ttl)
                yield from self._answered([(port, "in")], [way], frame)

    def _passes(self, port: Port, address: str, direction: str, frame: Frame) -> bool:
        """What one end says."""
        if not self._rules.forbids_something(port, address):
            return True
        packet, domain = frame.tuple, self._domain(port)
        alone = self._rules.verdict(port, address, direction, packet, domain)
        if alone is Verdict.ALLOW_PACKET:
            return True
        if direction == "in" and self._is_led_astray(port, packet):
            return False
        known = self._memory.setdefault(port.id, {})
        original, is_reply = known.get(packet, (packet, False))
        if is_reply:
            role = "in" if direction == "out" else "out"
            return self._rules.verdict(port, address, role, original, domain) is Verdict.ALLOW
        if alone is Verdict.DENY or not packet.may_open:
            return False
        if not frame.eth_dst & MULTICAST_BIT:
            self.remember(port.id, packet)
        return True

    def _is_led_astray(self, port: Port, packet: Tuple) -> bool:
        """Whether another port of its host has asked for what comes, and only its MAC address says
        that it is for this one."""
        if self.layout.is_at(port, packet.family, packet.destination):
            return False
        host = self.layout.host_of(port.id)
        return any(
            self._memory.get(one.id, {}).get(packet, (packet, False))[1]
            for one in self.layout.by_domain[self.layout.domain(port.segment)]
            if self.layout.host_of(one.id) == host
        )

    def _domain(self, port: Port) -> Domain:
        name = self.layout.domain(port.segment)
        found = self._domains.get(name)
        if found is None:
            routers, ports = self.layout.routers_in(name), self.layout.by_domain[name]
            names = {router.id for router in routers}
            legs = [leg for leg in self.layout.legs if leg.router in names]
            found = self._domains[name] = Domain(routers, legs, ports)
        return found


def _address(port: Port, family: int, number: int) -> str:
    """Whose rules hold: those of the port's own address, else of the first of its family."""
    own = sorted(text for text in port.addresses if numbered(text)[0] == family)
    for text in own:
        if numbered(text)[1] == number:
            return text
    return port.dhcp_address if port.dhcp_address in own else next(iter(own), "")


def _goes_to_all_uninvited(frame: Frame) -> bool:
    """Of ICMP, what neither asks nor errs goes to all only where no port has rules."""
    return bool(frame.eth_dst & MULTICAST_BIT) and not frame.tuple.may_open


def _echoed(frame: Frame) -> Frame:
    turned = frame.tuple.turned()
    assert turned is not None
    return Frame(frame.eth_dst, frame.eth_src, turned, 64)
