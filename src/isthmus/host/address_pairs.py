# SPDX-License-Identifier: Apache-2.0
"""Which address pairs the ports of this host use: pure, so that every race has a test.

What a guest announces is its own from then on, with a sequence above all that others have said;
nothing but an announcement takes it back. An announcement may be missed, so guests are asked as
well (`host.solicitations`): one that answers and did not the last time, or was not asked yet, has
taken the address meanwhile. One that goes on answering takes nothing back: of two that both believe
to have an address, the last one keeps it. One that has answered before and is silent now gives the
address up to another that has announced it too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from isthmus.derive.engine import Engine
from isthmus.host.indexes import LEARNED_BY_ADDRESS
from isthmus.policy.addresses import allows
from isthmus.policy.rows import LearnedAddress, Port

SILENCES = 2
"""How often a guest that has answered before may be silent: one packet may be lost."""


class Pairs:
    """What the guests of one host have announced and the store does not have yet."""

    def __init__(self) -> None:
        self._announced: dict[str, dict[str, LearnedAddress]] = {}
        """By port, then by address."""
        self._holding: dict[str, set[str]] = {}
        """By port, the addresses that its guest has shown to hold,"""
        self._unanswered: dict[str, set[str]] = {}
        """and those that it was asked for and has not answered for yet."""
        self._silences: dict[str, dict[str, int]] = {}
        """By port, of addresses that its guest has answered for: how often it has not, since."""

    def ask(self, port_id: str, addresses: Iterable[str]) -> bool:
        """A guest is asked anew: what it has not answered since the last time, it does not hold.
        True if it gives an address up for that."""
        unanswered = self._unanswered.pop(port_id, set())
        self._holding[port_id] = self._holding.get(port_id, set()) - unanswered
        self._unanswered[port_id] = set(addresses)
        silences = self._silences.get(port_id, {})
        for address in unanswered & silences.keys():
            silences[address] += 1
        return any(silences[address] == SILENCES for address in unanswered & silences.keys())

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
        silences = self._silences.setdefault(port.id, {})
        if asked or address in silences:
            silences[address] = 0
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

    def wanted(
        self,
        port: Port,
        stored: Mapping[str, LearnedAddress],
        contested: Collection[str] = (),
    ) -> dict[str, LearnedAddress]:
        """By address, what the store should have of a port that is on this host's switch;
        `contested` are addresses that other ports have announced as well."""
        silences = self._silences.get(port.id, {})
        announced = self._announced.get(port.id, {})
        for address, row in stored.items():
            if address in announced and row.sequence >= announced[address].sequence:
                del announced[address]
        rows = {**stored, **announced}
        return {
            address: row
            for address, row in rows.items()
            if row.segment == port.segment
            and allows(port, address, row.mac)
            and not (address in contested and silences.get(address, 0) >= SILENCES)
        }

    def forget(self, port_id: str) -> None:
        """The port has left the switch."""
        self._announced.pop(port_id, None)
        self._holding.pop(port_id, None)
        self._unanswered.pop(port_id, None)
        self._silences.pop(port_id, None)


def others_of(engine: Engine, port: Port, address: str) -> list[LearnedAddress]:
    """What is said of an address and other ports of the segment."""
    keys = engine.entry(LEARNED_BY_ADDRESS, (port.segment, address))
    rows = [engine.rows(LearnedAddress)[key] for key in keys]
    return [row for row in rows if row.port != port.id]
