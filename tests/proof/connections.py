# SPDX-License-Identifier: Apache-2.0
"""A model of connection tracking: zones, connections by their tuples, the state of a packet.

Only a committed connection is known. A packet in its original direction is new until a reply was
seen, and established from then on; one in the other direction is a reply. An ICMP message is part
of a connection with type and code in the place of ports, and its identifier is one for all. One
that can open none (a reply without a request; any other type) is invalid, as it is in Linux and in
Open vSwitch's own tracker. Nothing ages.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.wire import oxm

ICMP_REPLY_OF = {(1, 8): 0, (1, 13): 14, (1, 15): 16, (1, 17): 18, (58, 128): 129}
"""By protocol and type of the request (RFC 792, RFC 4443)."""
_REQUEST_OF = {(protocol, reply): ask for (protocol, ask), reply in ICMP_REPLY_OF.items()}


class Tuple(NamedTuple):
    """Who speaks to whom. Of ICMP, the ports are type and code."""

    family: int
    source: int
    destination: int
    protocol: int
    source_port: int
    destination_port: int

    def turned(self) -> Tuple | None:
        """Of the reply; None where there can be none."""
        ports = self.destination_port, self.source_port
        if self.protocol in (1, 58):
            kind = self.protocol, self.source_port
            other = ICMP_REPLY_OF.get(kind, _REQUEST_OF.get(kind))
            if other is None:
                return None
            ports = other, self.destination_port
        return Tuple(self.family, self.destination, self.source, self.protocol, *ports)

    @property
    def may_open(self) -> bool:
        """Whether a connection may begin with it."""
        return self.protocol not in (1, 58) or (self.protocol, self.source_port) in ICMP_REPLY_OF


class Seen(NamedTuple):
    """What tracking says of a packet. `original` is None where it is invalid."""

    state: int
    original: Tuple | None
    mark: int = 0


class Connections:
    """Those of one host."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Tuple], tuple[Tuple, bool]] = {}
        self._answered: set[tuple[int, Tuple]] = set()
        self._marks: dict[tuple[int, Tuple], int] = {}

    def look(self, zone: int, packet: Tuple) -> Seen:
        known = self._known.get((zone, packet))
        if known is not None:
            original, is_reply = known
            if is_reply:
                self._answered.add((zone, original))
            settled = is_reply or (zone, original) in self._answered
            state = oxm.CT_TRK | (oxm.CT_EST if settled else oxm.CT_NEW)
            mark = self._marks.get((zone, original), 0)
            return Seen(state | (oxm.CT_RPL if is_reply else 0), original, mark)
        if not packet.may_open:
            return Seen(oxm.CT_TRK | oxm.CT_INV, None)
        return Seen(oxm.CT_TRK | oxm.CT_NEW, packet)

    def commit(self, zone: int, packet: Tuple, mark: int) -> None:
        """Keep a new connection; either way it has this mark from now on."""
        if not packet.may_open:
            return
        original, _ = self._known.get((zone, packet), (packet, False))
        self._marks[zone, original] = mark
        if (zone, packet) in self._known:
            return
        reply = packet.turned()
        self._known[zone, packet] = packet, False
        if reply is not None:
            self._known.setdefault((zone, reply), (packet, True))

    def clear(self) -> None:
        self._known.clear()
        self._answered.clear()
        self._marks.clear()

    def __len__(self) -> int:
        return len(self._known)
