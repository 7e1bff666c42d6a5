# SPDX-License-Identifier: Apache-2.0
"""What the switch sends up, each packet to the feature that has asked for it by its userdata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import Unavailable
from isthmus.host.guests import Guests
from isthmus.switches.ovs.feature import PacketHandler
from isthmus.wire import openflow_actions as act
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_packets import PacketIn


class PacketOut(Protocol):
    """What sends packets out of the switch (`switches.ovs.connection`)."""

    def send_packet_out(self, packet: bytes, actions: Iterable[bytes]) -> None:
        """Raises Unavailable while the switch is away."""


class PacketAnswers:
    """Deals with packet-ins, and is the `Hands` of those that do. Guests are hostile: whatever
    comes is answered or counted."""

    def __init__(
        self,
        state: OvsHost,
        connection: PacketOut,
        halves: Mapping[str, Callable[[PacketIn], None]],
    ) -> None:
        """`halves`: what takes the packets of features that have a half in the agent, by name."""
        self.engine = state.engine
        self.guests = Guests(state)
        self.counters = self.guests.counters
        self._connection = connection
        self._halves = halves
        self._handlers: dict[bytes, PacketHandler] = {}
        for feature in state.features:
            assert not self._handlers.keys() & feature.packets.keys(), feature.name
            self._handlers.update(feature.packets)

    def take(self, packet: PacketIn) -> bool:
        """Deal with one; True if a claim may have to change."""
        handler = self._handlers.get(packet.userdata)
        if handler is None:
            return False
        try:
            return handler(packet, self)
        except Malformed:
            self.counters.malformed += 1
            return False

    def send(self, frame: bytes, ofport: int) -> bool:
        """As `feature.Hands` has it."""
        try:
            self._connection.send_packet_out(frame, [act.output(ofport)])
        except Unavailable:
            return False
        return True

    def give(self, feature: str, packet: PacketIn) -> None:
        """As `feature.Hands` has it."""
        self._halves[feature](packet)
