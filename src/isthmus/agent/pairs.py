# SPDX-License-Identifier: Apache-2.0
"""Which address pairs the ports of this host use: pure, so that every race has a test.

What a guest announces is its own from then on, with a sequence above all that others have said;
nothing but an announcement takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isthmus.policy.rows import LearnedAddress, Port
from isthmus.switches.ovs.learned import allows


class Pairs:
    """What the guests of one host have announced and the store does not have yet."""

    def __init__(self) -> None:
        self._announced: dict[str, dict[str, LearnedAddress]] = {}
        """By port, then by address."""

    def announce(
        self,
        port: Port,
        host: str,
        address: str,
        mac: str,
        stored: LearnedAddress | None,
        others: Iterable[LearnedAddress],
    ) -> bool:
        """`stored` is what the store has of this port and address; True if it must hear more."""
        if not allows(port, address, mac):
            return False
        highest = max((other.sequence for other in others), default=0)
        if stored is not None and stored.mac == mac and stored.sequence > highest:
            return False
        sequence = max(highest, stored.sequence if stored else 0) + 1
        self._announced.setdefault(port.id, {})[address] = LearnedAddress(
            address=address,
            port=port.id,
            host=host,
            segment=port.segment,
            mac=mac,
            sequence=sequence,
        )
        return True

    def wanted(self, port: Port, stored: Mapping[str, LearnedAddress]) -> dict[str, LearnedAddress]:
        """By address, what the store should have of a port that is on this host's switch."""
        announced = self._announced.get(port.id, {})
        for address, row in stored.items():
            if address in announced and row.sequence >= announced[address].sequence:
                del announced[address]
        rows = {**stored, **announced}
        return {
            address: row
            for address, row in rows.items()
            if row.segment == port.segment and allows(port, address, row.mac)
        }

    def forget(self, port_id: str) -> None:
        """The port has left the switch."""
        self._announced.pop(port_id, None)
