# SPDX-License-Identifier: Apache-2.0
"""A switch that is a dictionary: another kind of switch than Open vSwitch, as small as one can be.

It holds for each port where its frames go: to an interface here, or to the provider address of the
host that has it. What it derives and how it is written is all here; the rest is `isthmus.host`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple, Never

import msgspec

from isthmus.derive.engine import Item, Read, unit
from isthmus.errors import Unavailable
from isthmus.host.facts import LocalPort, Location, Plugged, Problem
from isthmus.host.guests import Guests
from isthmus.host.indexes import PROBLEMS_BY_PORT
from isthmus.host.program import Program
from isthmus.host.state import HostState
from isthmus.host.switch import HostAgent, SwitchStatus
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Answer, Port, Query, Segment
from isthmus.wire.ethernet import ETHERTYPE_ARP, parse_ethernet


class Entry(NamedTuple):
    """Where frames for a MAC address in a segment go: to the interface of that number, or to the
    host with that provider address."""

    vsid: int
    mac: str
    interface: int = 0
    provider_address: int = 0


def unknown(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: why a port whose segment is not known does not work."""
    port = read.get(Port, local.port)
    if port is not None and read.get(Segment, port.segment) is None:
        code, detail = "PolicyConfigurationFailure", f"segment {port.segment} is not known here"
        yield Item(Problem, (port.id, code, detail), Problem(port.id, code, detail))


def here(local: Plugged, read: Read) -> Iterator[Item]:
    """Over Plugged: the entry of a port here, if nothing is wrong with it."""
    port = read.get(Port, local.port)
    segment = None if port is None else read.get(Segment, port.segment)
    if port is not None and segment is not None and not read.find(PROBLEMS_BY_PORT, port.id):
        yield Item(Entry, port.id, Entry(segment.vsid, port.mac, interface=local.ofport))


def elsewhere(location: Location, read: Read) -> Iterator[Item]:
    """Over Location: the entry of a port of another host."""
    port = read.get(Port, location.port)
    segment = None if port is None else read.get(Segment, port.segment)
    if port is not None and segment is not None and read.get(Plugged, port.id) is None:
        address = location.provider_address
        yield Item(Entry, port.id, Entry(segment.vsid, port.mac, provider_address=address))


PROGRAM = Program(
    (unit(Plugged, unknown), unit(Plugged, here), unit(Location, elsewhere)), (), (Entry,)
)


class DictionarySwitch:
    """`entries` is what it holds; `sent` what its guests were sent."""

    def __init__(self, state: HostState) -> None:
        self.entries: dict[str, Entry] = {}
        self.sent: list[tuple[int, bytes]] = []
        self.away = False
        self.problems: tuple[HostProblem, ...] = ()
        self._state, self._guests = state, Guests(state)
        self._interfaces: dict[str, LocalPort] = {}
        self._agent: HostAgent | None = None

    # -- what happens to it ------------------------------------------------------------------------

    def plug(self, name: str, number: int) -> None:
        self._interfaces[name] = LocalPort(name, number)
        self._tell()

    def unplug(self, name: str) -> None:
        del self._interfaces[name]
        self._tell()

    def returned(self) -> None:
        """It was away, and is there again."""
        self.away = False
        self._changed()

    def send(self, number: int, frame: bytes) -> None:
        """A guest sends a frame."""
        self._guests.spoke(number)
        if parse_ethernet(frame).ethertype == ETHERTYPE_ARP:
            self._guests.announced(number, frame)
        else:
            answer = self._guests.asked_dhcp(number, frame)
            if answer is not None:
                self.sent.append((number, answer))
        self._changed()

    def ask_guests(self) -> None:
        """Which address pairs they hold."""
        plugged = self._state.engine.rows(Plugged).values()
        self.sent += self._guests.asking.questions(plugged)

    def _tell(self) -> None:
        self._state.switch_changed(dict(self._interfaces))
        self._changed()

    def _changed(self) -> None:
        if self._agent is not None:
            self._agent.changed()

    # -- isthmus.host.switch.Switch ----------------------------------------------------------------

    async def run(self, agent: HostAgent) -> Never:
        self._agent = agent
        self._tell()
        await asyncio.Future()
        raise AssertionError("nothing ends it but cancellation")

    async def program(self, *, whole: bool) -> bool:
        if self.away:
            raise Unavailable("the dictionary is closed")
        wanted = {str(name): entry for name, entry in self._state.engine.rows(Entry).items()}
        self.entries = wanted if whole else {**self.entries, **wanted}
        return True

    async def answer(self, query: Query) -> Answer:
        result = msgspec.json.encode({"entries": sorted(self.entries)}).decode()
        return Answer(id=query.id, host=query.host, result=result)

    def status(self) -> SwitchStatus:
        return SwitchStatus("a dictionary", "1", ("words",), len(self.entries), self.problems)
