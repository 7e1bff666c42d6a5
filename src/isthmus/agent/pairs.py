# SPDX-License-Identifier: Apache-2.0
"""Which address pairs the ports of this host use: pure, so that every race has a test.

What a guest announces is its own from then on, with a sequence above all that others have said;
nothing but an announcement takes it back. An announcement may be missed, so guests are asked as
well (`agent.pair_asking`): one that answers and did not the last time, or was not asked yet, has
taken the address meanwhile. One that goes on answering takes nothing back: of two that both believe
to have an address, the last one keeps it.
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
        self._holding: dict[str, set[str]] = {}
        """By port, the addresses that its guest has shown to hold,"""
        self._unanswered: dict[str, set[str]] = {}
        """and those that it was asked for and has not answered for yet."""

    def ask(self, port_id: str, addresses: Iterable[str]) -> None:
        """A guest is asked anew: what it has not answered since the last time, it does not hold."""
        unanswered = self._unanswered.pop(port_id, set())
        self._holding[port_id] = self._holding.get(port_id, set()) - unanswered
        self._unanswered[port_id] = set(addresses)

    def announce(
        self,
        port: Port,
        host: str,
        address: str,
        mac: str,
        stored: LearnedAddress | None,
        others: Iterable[LearnedAddress],
        *,
        asked: bool = False,
    ) -> bool:
        """`stored` is what the store has of this port and address; `asked`: it is an answer. True
        if the store must hear more."""
        if not allows(port, address, mac):
            return False
        holding = self._holding.setdefault(port.id, set())
        if asked and address in holding:
            self._unanswered.get(port.id, set()).discard(address)
            return False
        holding.add(address)
        self._unanswered.get(port.id, set()).discard(address)
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
        self._holding.pop(port_id, None)
        self._unanswered.pop(port_id, None)
