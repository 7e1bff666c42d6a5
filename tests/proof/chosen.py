# SPDX-License-Identifier: Apache-2.0
"""Probes of the ports that a change can matter to.

Each of these ports speaks with every port of its tenant, both ways; and once for all of them, with
one port on each host: it lies, it asks its router, it speaks to many, and hosts say in
tunnels that it does. It is spoken to by ports of other tenants that have its addresses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface
from itertools import product
from random import Random

from isthmus.policy.rows import Port, RouterPort, Rule, Segment
from tests.proof.clouds import HOSTS, ROUTER_MAC, Deployment
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.layout import rows_of
from tests.proof.probes import (
    BROADCAST_MAC,
    STRANGER,
    Probe,
    between,
    lies,
    services,
)
from tests.proof.scope import Ports
from tests.proof.touched import tenants
from tests.proof.verdicts import mac_number, numbered
from tests.switches.policy_rows import SPEAKS, provider_address

_MOST_FRAMES, _STRANGERS = 800, 3
"""How many frames are chosen between ports of a tenant, in all, if each pair is to have one; and
how many ports of others each port is tried with."""
_PLAIN, _ECHO = (6, 40000, 80), {4: (1, 8, 0), 6: (58, 128, 0)}
_NO_VSID = 5999


class Chosen:
    """Of a cloud as it is after a change; `of_each` pair of ports so many frames, if it is not to
    be measured out."""

    def __init__(
        self, before: Deployment, after: Deployment, random: Random, of_each: int = 0
    ) -> None:
        self._random = random
        self._of_each = of_each
        self._ports = after.ports
        rows = after.rows()
        self._legs = rows_of(RouterPort, rows)
        self._vsids = {one.id: one.vsid for one in rows_of(Segment, rows)}
        self._host_of = {place.port: place.host for place in after.places}
        self._last_host_of = {place.port: place.host for place in before.places} | self._host_of
        self._tenant_of = tenants(rows)
        self._by_tenant: dict[str, list[Port]] = {}
        for port in after.ports:
            self._by_tenant.setdefault(self._tenant_of[port.segment], []).append(port)
        there = {port.id for port in after.ports}
        self._gone = [port for port in before.ports if port.id not in there]
        self._rules: dict[str, list[Rule]] = {}
        for rule in rows_of(Rule, [*before.rules, *after.rules]):
            self._rules.setdefault(rule.rule_set, []).append(rule)

    def probes(self, concerned: Ports | None) -> Iterator[Probe]:
        """Of all ports, for None."""
        ports = [one for one in self._ports if concerned is None or one.id in concerned]
        yield from self._spoken(ports)
        for port in self._gone:
            yield from self._tunneled(port)
        for port in ports:
            yield from self._lied(port)
            yield from self._routed(port)
            yield from self._tunneled(port)
            strangers = self._random.sample(self._ports, min(_STRANGERS, len(self._ports)))
            for other in (*self._gone, *strangers):
                if other is not port:
                    yield from self._between(port, other, 1)
                    yield from self._between(other, port, 1)

    def _tenant(self, port: Port) -> list[Port]:
        """All but the port itself."""
        found = self._by_tenant.get(self._tenant_of.get(port.segment, ""), ())
        return [other for other in found if other is not port]

    def _near(self, port: Port) -> list[Port]:
        """One of its tenant on each host."""
        found = self._tenant(port)
        self._random.shuffle(found)
        return list({self._host_of.get(one.id): one for one in found}.values())

    def _spoken(self, ports: Iterable[Port]) -> Iterator[Probe]:
        pairs = {
            (source.id, target.id): (source, target)
            for port in ports
            for other in self._tenant(port)
            for source, target in ((port, other), (other, port))
        }
        of_each = self._of_each or max(1, _MOST_FRAMES // max(1, len(pairs)))
        for source, target in pairs.values():
            yield from self._between(source, target, of_each)

    def _between(self, source: Port, target: Port, count: int) -> Iterator[Probe]:
        if source.id not in self._host_of:
            return
        names = {entry.split(" ")[2] for one in (source, target) for entry in one.rule_sets}
        written = [rule for name in sorted(names) for rule in self._rules.get(name, ())]
        honest = [
            frame
            for family in (4, 6)
            for service in services(written, family)
            for frame in between(source, target, service, ROUTER_MAC)
            if frame.tuple.family == family
        ]
        for frame in self._random.sample(honest, min(count, len(honest))):
            yield Probe(frame, port=source.id)

    def _plain(self, source: Port, target: Port) -> Iterator[Frame]:
        """One of each family that both have, and of each address of the source."""
        seen: set[tuple[int, int]] = set()
        for frame in between(source, target, _PLAIN, ROUTER_MAC):
            kind = frame.tuple.family, frame.tuple.source
            if kind not in seen:
                seen.add(kind)
                yield frame

    def _lied(self, port: Port) -> Iterator[Probe]:
        if port.id not in self._host_of:
            return
        for other in self._near(port):
            for frame in self._plain(port, other):
                for lie in lies(port, other, frame):
                    yield Probe(lie, port=port.id)
                yield Probe(self._turned(frame), port=port.id)

    def _turned(self, frame: Frame) -> Frame:
        """One bit of who it says it is is another."""
        its = frame.tuple
        bit = self._random.randrange(48 + (32 if its.family == 4 else 128))
        if bit < 48:
            return frame._replace(eth_src=frame.eth_src ^ 1 << bit)
        return frame._replace(tuple=its._replace(source=its.source ^ 1 << bit - 48))

    def _routed(self, port: Port) -> Iterator[Probe]:
        """To the addresses of its router, and beside them."""
        if port.id not in self._host_of:
            return
        texts = [
            text
            for leg in self._legs
            if leg.router == self._tenant_of[port.segment]
            for text in leg.addresses
        ]
        for text, own in product(texts, port.addresses):
            (family, source), gateway = numbered(own), ip_interface(text)
            if gateway.version != family:
                continue
            for service, beside in product((_ECHO[family], _PLAIN), (0, 1)):
                its = Tuple(family, source, int(gateway) ^ beside, *service)
                yield Probe(Frame(mac_number(port.mac), mac_number(ROUTER_MAC), its), port=port.id)

    def _tunneled(self, port: Port) -> Iterator[Probe]:
        """From it, as hosts say truly or not, and to it."""
        here = self._host_of.get(port.id)
        for other in self._near(port):
            there = self._host_of.get(other.id)
            if there is not None and there != here:
                for frame in self._plain(port, other):
                    yield from self._claimed(frame, port, other, there)
            if here is not None and there is not None and there != here:
                for frame in self._plain(other, port):
                    sent = frame._replace(eth_dst=mac_number(port.mac))
                    at, vsid = provider_address(there), self._vsids[port.segment]
                    yield self._injected(sent, here, at, vsid)
                    yield self._injected(sent, here, at, self._other_vsid(vsid))

    def _claimed(self, frame: Frame, port: Port, other: Port, there: str) -> Iterator[Probe]:
        """A frame from a port that comes in tunnels to the host of another."""
        vsid = self._vsids[other.segment]
        sent = frame._replace(eth_dst=mac_number(other.mac))
        for came_from in (*map(provider_address, HOSTS), STRANGER):
            if came_from != provider_address(there):
                yield self._injected(sent, there, came_from, vsid)
        true = provider_address(self._last_host_of.get(port.id, there))
        if true != provider_address(there):
            yield self._injected(sent, there, true, self._other_vsid(vsid))
            yield self._injected(sent, there, true, _NO_VSID)
            yield self._injected(frame._replace(eth_dst=BROADCAST_MAC), there, true, vsid)
            yield self._injected(self._turned(sent), there, true, vsid)

    def _other_vsid(self, vsid: int) -> int:
        return self._random.choice([one for one in self._vsids.values() if one != vsid])

    def _injected(self, frame: Frame, host: str, came_from: str, vsid: int) -> Probe:
        encapsulation = self._random.choice(SPEAKS[host])
        flow_id = self._random.randrange(256) if encapsulation == "nvgre" else 0
        return Probe(frame, "", host, came_from, vsid, encapsulation, flow_id)
