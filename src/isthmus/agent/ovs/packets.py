# SPDX-License-Identifier: Apache-2.0
"""What the switch sends up: guests' DHCP messages, the first frame behind a standby claim, and the
announcements of address pairs."""

from __future__ import annotations

import time
from collections.abc import Callable

from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Unavailable
from isthmus.host.guests import Guests
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.pipeline import (
    ALLOWED,
    DHCP_QUESTION,
    DROPPED,
    FIRST_FRAME,
    PAIR_SEEN,
    PASSED,
    PROBED,
    TUNNEL_ANSWER,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_packets import PacketIn


class PacketAnswers:
    """Deals with packet-ins. Guests are hostile: whatever comes is answered or counted."""

    def __init__(self, state: OvsHost, tunnel_answer: Callable[[PacketIn], None]) -> None:
        """`tunnel_answer` takes what peers answer through tunnels, and raises Malformed."""
        self.guests = Guests(state)
        self.counters = self.guests.counters
        self.watches = Watches(state)
        self.probing = Probing(state)
        self._tunnel_answer = tunnel_answer

    def take(self, packet: PacketIn, connection: Connection) -> bool:
        """Answer one; True if a claim may have to change."""
        if packet.userdata == FIRST_FRAME:
            self.guests.spoke(packet.in_port)
            return True
        if packet.userdata == DROPPED:
            # What guests answer to us goes nowhere else, and nobody misses it.
            if not self.guests.asking.is_answered_by(packet.in_port, packet.packet):
                self.watches.take(packet, time.time_ns() // 1000)
            return False
        if packet.userdata in (ALLOWED, PASSED):
            self.watches.take(packet, time.time_ns() // 1000)
            return False
        if packet.userdata == PROBED:
            self.probing.take(packet)
            return False
        if packet.userdata == TUNNEL_ANSWER:
            try:
                self._tunnel_answer(packet)
            except Malformed:
                self.counters.malformed += 1
            return False
        if packet.userdata == PAIR_SEEN:
            return self.guests.announced(packet.in_port, packet.packet)
        if packet.userdata == DHCP_QUESTION:
            self._answer_dhcp(packet, connection)
        return False

    def _answer_dhcp(self, packet: PacketIn, connection: Connection) -> None:
        frame = self.guests.asked_dhcp(packet.in_port, packet.packet)
        if frame is None:
            return
        try:
            connection.send_packet_out(frame, [act.output(packet.in_port)])
        except Unavailable:
            return  # the client asks again
        self.counters.dhcp_answered += 1
