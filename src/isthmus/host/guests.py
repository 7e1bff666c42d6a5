# SPDX-License-Identifier: Apache-2.0
"""What the guests of one host send to it, and what they are told: their first frames, announcements
of address pairs, and DHCP messages. Guests are hostile: whatever comes is answered or counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.addresses import mac_text
from isthmus.host.dhcp import answer_guest
from isthmus.host.solicitations import PairAsking
from isthmus.host.state import HostState
from isthmus.wire.malformed import Malformed
from isthmus.wire.neighbours import announced, is_answer


@dataclass(slots=True)
class Counters:
    dhcp_answered: int = 0
    dhcp_ignored: int = 0
    malformed: int = 0
    first_frames: int = 0
    announcements: int = 0


class Guests:
    """Those of one host. Each is named by the number that the switch has for its interface."""

    def __init__(self, state: HostState) -> None:
        self.counters = Counters()
        self.asking = PairAsking(state)
        self._state = state

    def spoke(self, ofport: int) -> None:
        """The guest has sent something, which shows that it has arrived here."""
        self.counters.first_frames += 1
        self._state.frame_seen(ofport)

    def announced(self, ofport: int, frame: bytes) -> bool:
        """The guest says that an address pair is its own; True if that is news."""
        self.counters.announcements += 1
        try:
            address, mac = announced(frame)
            asked = is_answer(frame)
        except Malformed:
            self.counters.malformed += 1
            return False
        return self._state.pair_seen(ofport, str(address), mac_text(mac), asked=asked)

    def asked_dhcp(self, ofport: int, frame: bytes) -> bytes | None:
        """The frame that answers a DHCP message; None for none. Whoever sends it counts it."""
        port = self._state.port_behind(ofport)
        try:
            found = None if port is None else answer_guest(frame, port, self._state.engine)
        except Malformed:
            self.counters.malformed += 1
            return None
        if found is None:
            self.counters.dhcp_ignored += 1
        return found
