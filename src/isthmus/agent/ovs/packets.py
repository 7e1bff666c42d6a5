# SPDX-License-Identifier: Apache-2.0
"""What the switch sends up: guests' DHCP messages, the first frame behind a standby claim, and the
announcements of address pairs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.addresses import mac_text
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Unavailable
from isthmus.host.dhcp import answer_guest
from isthmus.host.solicitations import PairAsking
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
from isthmus.wire.neighbours import announced, is_answer
from isthmus.wire.openflow_packets import PacketIn

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counters:
    dhcp_answered: int = 0
    dhcp_ignored: int = 0
    malformed: int = 0
    first_frames: int = 0
    announcements: int = 0


class PacketAnswers:
    """Deals with packet-ins. Guests are hostile: whatever comes is answered or counted."""

    def __init__(self, state: OvsHost, tunnel_answer: Callable[[PacketIn], None]) -> None:
        """`tunnel_answer` takes what peers answer through tunnels, and raises Malformed."""
        self.counters = Counters()
        self._tunnel_answer = tunnel_answer
        self.watches = Watches(state)
        self.probing = Probing(state)
        self.asking = PairAsking(state)
        self._state = state

    def take(self, packet: PacketIn, connection: Connection) -> bool:
        """Answer one; True if a claim may have to change."""
        if packet.userdata == FIRST_FRAME:
            self.counters.first_frames += 1
            self._state.frame_seen(packet.in_port)
            return True
        if packet.userdata == DROPPED:
            # What guests answer to us goes nowhere else, and nobody misses it.
            if not self.asking.is_answered_by(packet.in_port, packet.packet):
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
            return self._hear(packet)
        if packet.userdata == DHCP_QUESTION:
            self._answer_dhcp(packet, connection)
        return False

    def _hear(self, packet: PacketIn) -> bool:
        self.counters.announcements += 1
        try:
            address, mac = announced(packet.packet)
            asked = is_answer(packet.packet)
        except Malformed as error:
            self.counters.malformed += 1
            log.debug("announcement=malformed error=%s", error)
            return False
        return self._state.pair_seen(packet.in_port, str(address), mac_text(mac), asked=asked)

    def _answer_dhcp(self, packet: PacketIn, connection: Connection) -> None:
        port = self._state.port_behind(packet.in_port)
        if port is None:
            self.counters.dhcp_ignored += 1
            return
        try:
            frame = answer_guest(packet.packet, port, self._state.engine)
        except Malformed as error:
            self.counters.malformed += 1
            log.debug("dhcp=malformed port=%s error=%s", port.id, error)
            return
        if frame is None:
            self.counters.dhcp_ignored += 1
            return
        try:
            connection.send_packet_out(frame, [act.output(packet.in_port)])
        except Unavailable:
            return  # the client asks again
        self.counters.dhcp_answered += 1
