# SPDX-License-Identifier: Apache-2.0
"""Asks the guests of this host which of their address pairs they hold now.

A guest that takes an address over says so once, in one frame; while the agent is away, or the
switch drops the frame, nobody hears it. So each guest that may have an address is asked for it
(ARP, RFC 826; neighbour solicitation, RFC 4861 section 7.2.2), as its gateway would ask, now and
again. An answer that was not given the last time counts as the announcement that was missed
(`host.address_pairs`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, ip_address
from typing import NamedTuple

from isthmus.addresses import Address, Mac, mac_bytes
from isthmus.host.facts import Plugged
from isthmus.host.gateways import SERVER_MAC, speaking_address, speaking_mac
from isthmus.host.state import HostState
from isthmus.policy.rows import LearnedAddress, Port
from isthmus.wire.malformed import Malformed
from isthmus.wire.neighbours import is_answer, solicitation, who_has

MOST_ADDRESSES = 8
"""Of one port in one round: what a guest announces and answers is limited by its switch."""


class Asked(NamedTuple):
    """A frame for the guest behind an OpenFlow port."""

    ofport: int
    frame: bytes


class PairAsking:
    """The rounds of one host: pure but for what `HostState` remembers."""

    def __init__(self, state: HostState) -> None:
        self._state = state
        self._round = 0

    def questions(self, plugged: Iterable[Plugged]) -> list[Asked]:
        """The next round, to those of the ports here that may send something. Costs one look at
        each of them and at each address pair in use."""
        in_use: defaultdict[str, set[str]] = defaultdict(set)
        for row in self._state.engine.rows(LearnedAddress).values():
            in_use[row.segment].add(row.address)
        found: list[Asked] = []
        for member in plugged:
            port = self._state.engine.rows(Port).get(member.port)
            if port is not None and port.pairs:
                addresses = self._turn(candidates(port, in_use[port.segment]))
                self._state.ask_pairs(port.id, map(str, addresses))
                found += self._frames(port, member.ofport, addresses)
        self._round += 1
        return found

    def _turn(self, addresses: list[Address]) -> list[Address]:
        """Those of this round; all have had a turn after some rounds."""
        if len(addresses) <= MOST_ADDRESSES:
            return addresses
        start = self._round * MOST_ADDRESSES % len(addresses)
        return (addresses[start:] + addresses[:start])[:MOST_ADDRESSES]

    def is_answered_by(self, ofport: int, frame: bytes) -> bool:
        """Whether a frame of a guest answers a question of ours, which nobody else asks: the router
        does not look for its neighbours."""
        port = self._state.port_behind(ofport)
        try:
            answers = is_answer(frame)
        except Malformed:
            return False
        return answers and port is not None and frame[:6] == mac_bytes(self._asker(port.segment))

    def _asker(self, segment: str) -> Mac:
        return speaking_mac(self._state.engine, segment) or SERVER_MAC

    def _frames(self, port: Port, ofport: int, addresses: list[Address]) -> Iterator[Asked]:
        mac = self._asker(port.segment)
        # Without a router the question comes from nobody, as a probe does (RFC 5227 section 2.1.1).
        gateway = speaking_address(self._state.engine, port.segment) or IPv4Address(0)
        for address in addresses:
            if isinstance(address, IPv4Address):
                yield Asked(ofport, who_has(address, gateway, mac))
            else:
                yield Asked(ofport, solicitation(address, mac))


def candidates(port: Port, in_use: set[str]) -> list[Address]:
    """Addresses that a port may have by its pairs: those that are one address, and those of
    `in_use` that a pair covers. Of IPv6 only the former can be announced (`address_pairs`)."""
    found: set[Address] = set()
    for pair in port.pairs:
        if pair.network.num_addresses == 1:
            found.add(pair.network.network_address)
        elif pair.network.version == 4:
            found |= {one for one in map(ip_address, in_use) if one in pair.network}
    own = set(port.addresses)
    return sorted(
        (one for one in found if str(one) not in own), key=lambda one: (one.version, int(one))
    )
