# SPDX-License-Identifier: Apache-2.0
"""Sends a real packet from a port, as if its guest had, and waits for what answers it.

The packet (`policy.questions.SendProbe`) goes as the guest's own would: rules, routing, tunnels.
The guest sees the answer too, which is none of its own, and passes it over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address

from isthmus.addresses import Address, parse_mac
from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import Invalid
from isthmus.policy.answers import ProbeAnswer
from isthmus.policy.questions import SendProbe
from isthmus.policy.rows import Port, Segment
from isthmus.switches.ovs.apply import apply
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.probed import shown_answers
from isthmus.wire import openflow_actions as act
from isthmus.wire import probes
from isthmus.wire.openflow_packets import PacketIn

WAIT_S, ATTEMPTS = 0.4, 4
"""Open vSwitch forwards by what it has cached until a moment after a flow has changed: an answer
may go to the guest alone before the flow that shows it to us holds. So each silence is followed
by another packet.
"""


DEFAULT = Segment(id="", physical_network="")
"""Until the port's own has come."""


class Probing:
    """The probes of one host that are on their way."""

    def __init__(self, state: OvsHost) -> None:
        self._state = state
        self._waiting: dict[int, asyncio.Future[tuple[int, float]]] = {}
        self._listening: Counter[tuple[int, Address]] = Counter()
        """How many probes share a flow that shows answers: by OpenFlow port and target."""

    def take(self, packet: PacketIn) -> None:
        """An answer that may be one of ours."""
        identifier = probes.identifier(packet.packet)
        waiting = self._waiting.get(identifier) if identifier is not None else None
        if identifier is not None and waiting is not None and not waiting.done():
            waiting.set_result((identifier, time.perf_counter()))

    async def probe(self, question: SendProbe, connection: Connection) -> ProbeAnswer:
        """Raises Invalid, Unavailable."""
        port = self._state.engine.rows(Port).get(question.port)
        local = self._state.local_port(port) if port is not None else None
        if port is None or local is None:
            raise Invalid(f"{self._state.identity.host} has no interface of {question.port}")
        target, next_hop_mac = ip_address(question.target), parse_mac(question.next_hop_mac)
        source = _source(port, question.source, target)
        segment = self._state.engine.rows(Segment).get(port.segment)
        # What DHCP tells the guest: what is longer leaves it in fragments.
        mtu_bytes = (segment or DEFAULT).mtu_bytes
        ends = probes.Ends(parse_mac(port.mac), next_hop_mac, source, target)
        place, listening = (local.ofport, target), shown_answers(local.ofport, target)
        answered: asyncio.Future[tuple[int, float]] = asyncio.get_running_loop().create_future()
        sent: dict[int, float] = {}
        self._listening[place] += 1
        if self._listening[place] == 1:
            self._state.tally.lend(listening.table, 1)
        try:
            await apply(connection, (listening,), ())
            for _ in range(ATTEMPTS):
                identifier = random.randrange(32768, 65536)
                frames = probes.build(
                    *(ends, question.protocol, identifier),
                    *(question.destination_port, question.length, mtu_bytes),
                )
                self._waiting[identifier], sent[identifier] = answered, time.perf_counter()
                for frame in frames:
                    connection.send_packet_out(frame, [act.to_table()], in_port=local.ofport)
                await asyncio.wait((answered,), timeout=WAIT_S)
                if answered.done():
                    identifier, at = answered.result()
                    taken_ms = _ms(at - sent[identifier])
                    return ProbeAnswer(answered=True, milliseconds=taken_ms)
            return ProbeAnswer(answered=False)
        finally:
            for identifier in sent:
                self._waiting.pop(identifier, None)
            self._listening[place] -= 1
            if not self._listening[place]:
                del self._listening[place]
                try:
                    await apply(connection, (), (listening,))
                finally:
                    self._state.tally.lend(listening.table, -1)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _source(port: Port, wanted: str, target: Address) -> Address:
    found = [ip_address(text) for text in port.addresses]
    matching = [address for address in found if address.version == target.version]
    if not matching:
        raise Invalid(f"{port.id} has no IPv{target.version} address")
    preferred = wanted or port.dhcp_address
    first = next((a for a in matching if str(a) == preferred), matching[0])
    assert isinstance(first, IPv4Address | IPv6Address)
    return first
