# SPDX-License-Identifier: Apache-2.0
"""Sends a real packet from a port, as if its guest had, and waits for what answers it.

``probe`` and a JSON object: `port`, `target` address, `eth_dst`, `protocol` (icmp or tcp), and of
TCP the `destination_port`. The packet goes as the guest's own would: rules, routing, tunnels. The
guest sees the answer too, which is none of its own, and passes it over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated

import msgspec

from isthmus.addresses import Address, parse_mac
from isthmus.agent.host import HostState
from isthmus.errors import Invalid
from isthmus.policy.rows import Port, Segment
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.apply import apply
from isthmus.switches.ovs.bands import Deliver
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.pipeline import PROBED, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm, probes
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_packets import PacketIn

WAIT_S, ATTEMPTS = 0.4, 4
"""Open vSwitch forwards by what it has cached until a moment after a flow has changed: an answer
may go to the guest alone before the flow that shows it to us holds. So each silence is followed
by another packet.
"""

MOST_BYTES = 65_000
"""What an OpenFlow message (of 64 KiB) can carry beside its own fields and the packet's headers."""


class ProbeQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller asks."""

    port: str
    target: str
    eth_dst: str
    source: str = ""
    """Which of the port's addresses; the first of the target's family if it is empty."""
    protocol: str = "icmp"
    destination_port: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)] = 0
    length: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 0
    """Bytes of an echo request's data."""


DEFAULT = Segment(id="", physical_network="")
"""Until the port's own has come."""

Expected = Callable[[PacketIn], None]


class Probing:
    """The probes of one host that are on their way."""

    def __init__(self, state: HostState) -> None:
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

    async def probe(self, text: str, connection: Connection) -> dict[str, object]:
        """The answer, as a JSON object. Raises Invalid, Unavailable."""
        try:
            question = msgspec.json.decode(text, type=ProbeQuestion)
        except msgspec.DecodeError as error:
            raise Invalid(f"the question cannot be read: {error}") from error
        port = self._state.engine.rows(Port).get(question.port)
        local = self._state.local_port(port) if port is not None else None
        if port is None or local is None:
            raise Invalid(f"{self._state.identity.host} has no interface of {question.port}")
        try:
            target, eth_dst = ip_address(question.target), parse_mac(question.eth_dst)
        except ValueError as error:
            raise Invalid(f"the question cannot be read: {error}") from error
        source = _source(port, question.source, target)
        segment = self._state.engine.rows(Segment).get(port.segment)
        # What DHCP tells the guest: what is longer leaves it in fragments.
        mtu_bytes = (segment or DEFAULT).mtu_bytes
        ends = probes.Ends(parse_mac(port.mac), eth_dst, source, target)
        place, listening = (local.ofport, target), _listening(local.ofport, target)
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
                    return {"answered": True, "milliseconds": _ms(at - sent[identifier])}
            return {"answered": False}
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


def _listening(ofport: int, target: Address) -> Flow:
    """What comes back from the target goes to the guest, and is shown to us."""
    if isinstance(target, IPv4Address):
        source = (oxm.eth_type(0x0800), oxm.ipv4_src(target))
    else:
        source = (oxm.eth_type(0x86DD), oxm.ipv6_src(target))
    actions = (
        act.controller(PROBED, max_len=128),
        reg.OUT.output(),
    )
    match = oxm.match(reg.OUT.match(ofport), *source)
    return Flow(Stage.DELIVER, Deliver.PROBED, match, act.instructions(apply=actions), 0)
