# SPDX-License-Identifier: Apache-2.0
"""What every host decides holds on a switch that is a dictionary: `host` and the agent's process
serve it as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.l2 import Ether

from isthmus.addresses import parse_mac
from isthmus.agent.process import Agent
from isthmus.agent.settings import Settings
from isthmus.host.facts import Identity
from isthmus.host.state import HostState
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import (
    TABLES,
    Answer,
    Claim,
    Heartbeat,
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    Probe,
    Query,
    Row,
)
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.tending import Tending
from isthmus.wire.neighbours import announced
from isthmus.wire.ovsdb import delete, insert
from isthmus_lab import frames
from tests.controller.test_fence import south
from tests.host.dictionary_switch import PROGRAM, DictionarySwitch, Entry
from tests.host.test_dhcp import question
from tests.store.cloud import LONGEST_S, until
from tests.store.conftest import directory
from tests.switches.policy_rows import BOTH, claim, host_rows, network_rows, port, provider_address
from tests.texts import pairs

__all__ = ["directory"]

pytestmark = pytest.mark.system

PAIR, PAIR_MAC = "10.0.1.100", "02:00:00:00:00:77"
WEB = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"{PAIR}/32 {PAIR_MAC}"))
PEER, OTHER, NEIGHBOUR = port("red", "b", 5), port("blue", "a", 6), port("red", "a", 8)
POLICY = (*host_rows(), *network_rows("red"), *network_rows("blue"), WEB, PEER, OTHER)
H2 = int(IPv4Address(provider_address("h2")))

R = TypeVar("R", bound=Row)


class Running(NamedTuple):
    """An agent of h1 that runs, and a view of all of the south store."""

    store: Connection
    state: HostState
    switch: DictionarySwitch
    tending: Tending

    def rows(self, table: type[R]) -> list[R]:
        return list(self.store.table(table).values())

    def of(self, port: Port) -> tuple[Claim | None, PortStatus | None]:
        """What h1 says of a port."""
        claims = [one for one in self.rows(Claim) if (one.port, one.host) == (port.id, "h1")]
        statuses = [one for one in self.rows(PortStatus) if one.port == port.id]
        return claims[0] if claims else None, statuses[0] if statuses else None

    def is_up(self, port: Port) -> bool:
        mine, status = self.of(port)
        return mine is not None and status is not None and status.state == "up"

    async def add(self, *rows: Row) -> None:
        await self.store.transact([insert(row.TABLE, row) for row in rows])

    async def remove(self, row: Row) -> None:
        row_id = next(i for i, one in self.store.table(type(row)).items() if one.key == row.key)
        await self.store.transact([delete(row.TABLE, row_id)])


@asynccontextmanager
async def agent(
    remote: str, switch_of: Callable[[HostState], DictionarySwitch]
) -> AsyncIterator[tuple[HostState, DictionarySwitch, Tending]]:
    tending = Tending()
    state = HostState(Identity("h1", IPv4Address(provider_address("h1")), BOTH), PROGRAM)
    switch = switch_of(state)
    task = asyncio.create_task(Agent(state, switch, Settings((remote,)), tending).run())
    try:
        yield state, switch, tending
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def running(folder: Path, *more: Row) -> AsyncIterator[Running]:
    async with south(folder) as remote:
        store = Connection([remote], schema.SOUTH, TABLES, name="view")
        await store.start()
        try:
            await store.loaded(LONGEST_S)
            await store.transact([insert(row.TABLE, row) for row in (*POLICY, *more)])
            async with agent(remote, DictionarySwitch) as found:
                yield Running(store, *found)
        finally:
            await store.stop()


def run(folder: Path, test: Callable[[Running], Awaitable[None]], *more: Row) -> None:
    async def go() -> None:
        async with running(folder, *more) as found:
            await test(found)
            assert not found.tending.faults

    asyncio.run(go())


def test_a_port_is_found_by_its_interface_claimed_programmed_and_reported(directory: Path) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(WEB.id, 7)
        await until(lambda: h1.is_up(WEB))
        assert h1.switch.entries[WEB.id] == Entry(5001, WEB.mac, interface=7)
        # All that the segment's router reaches has come into scope, and no more.
        await until(lambda: PEER.id in h1.switch.entries)
        assert h1.switch.entries[PEER.id] == Entry(5002, PEER.mac, provider_address=H2)
        assert set(h1.switch.entries) == {WEB.id, PEER.id}
        await h1.remove(claim(PEER, "h2"))
        await until(lambda: PEER.id not in h1.switch.entries)

    run(directory, test, claim(PEER, "h2"))


def test_a_port_that_leaves_is_given_up(directory: Path) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(WEB.id, 7)
        h1.switch.plug(OTHER.id, 8)
        await until(lambda: h1.is_up(WEB) and h1.is_up(OTHER))
        h1.switch.unplug(WEB.id)
        await until(lambda: h1.of(WEB) == (None, None))
        await until(lambda: set(h1.switch.entries) == {OTHER.id})
        assert h1.is_up(OTHER)

    run(directory, test)


def test_a_guest_that_arrives_takes_the_port_with_its_first_frame(directory: Path) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(NEIGHBOUR.id, 8)
        await until(lambda: h1.is_up(NEIGHBOUR))  # so that the claims of its segment are read
        h1.switch.plug(WEB.id, 7)
        await until(lambda: (found := h1.of(WEB)[1]) is not None and found.state == "standby")
        h1.switch.send(7, question("discover"))
        await until(lambda: h1.is_up(WEB))
        mine, _ = h1.of(WEB)
        assert mine is not None
        assert (mine.state, mine.sequence) == ("active", 2)

    run(directory, test, claim(WEB, "h2"), NEIGHBOUR)


def test_a_guest_is_answered_its_dhcp_messages_and_heard_of_its_address_pairs(
    directory: Path,
) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(WEB.id, 7)
        await until(lambda: h1.is_up(WEB))
        h1.switch.send(7, question("discover", chaddr=WEB.mac))
        ((number, frame),) = h1.switch.sent
        assert (number, Ether(frame)[BOOTP].yiaddr) == (7, "10.0.1.4")
        h1.switch.send(7, frames.gratuitous_arp(parse_mac(PAIR_MAC), PAIR))
        await until(lambda: h1.rows(LearnedAddress))
        (learned,) = h1.rows(LearnedAddress)
        assert (learned.address, learned.port, learned.host) == (PAIR, WEB.id, "h1")
        h1.switch.sent.clear()
        h1.switch.ask_guests()
        ((number, frame),) = h1.switch.sent
        assert (number, str(announced(frame)[0])) == (7, "10.0.1.1")
        h1.switch.unplug(WEB.id)
        await until(lambda: not h1.rows(LearnedAddress))

    run(directory, test)


def test_a_port_that_this_host_may_not_have_is_an_error_and_never_programmed(
    directory: Path,
) -> None:
    only_h2 = msgspec.structs.replace(port("red", "a", 9), hosts=("h2",))

    async def test(h1: Running) -> None:
        h1.switch.plug(only_h2.id, 7)
        await until(lambda: (found := h1.of(only_h2)[1]) and found.code == "PortBlocked")
        mine, status = h1.of(only_h2)
        assert mine is None
        assert status is not None
        assert status.state == "error"
        assert only_h2.id not in h1.switch.entries

    run(directory, test, only_h2)


def test_nothing_is_reported_before_the_switch_has_it(directory: Path) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(OTHER.id, 8)
        await until(lambda: h1.is_up(OTHER))
        h1.switch.away = True
        h1.switch.plug(WEB.id, 7)
        await until(
            lambda: h1.state.local_port(WEB) and WEB.id in map(str, h1.state.engine.rows(Entry))
        )
        assert h1.of(WEB) == (None, None)
        h1.switch.returned()
        await until(lambda: h1.is_up(WEB))
        # And what left meanwhile is given up when the switch knows.
        h1.switch.away = True
        h1.switch.unplug(WEB.id)
        await until(lambda: WEB.id not in h1.state.engine.rows(Entry))
        assert h1.of(WEB)[1] is not None
        h1.switch.returned()
        await until(lambda: h1.of(WEB) == (None, None))

    run(directory, test)


def test_the_host_says_what_its_switch_is_how_it_is_and_what_it_has_programmed(
    directory: Path,
) -> None:
    async def test(h1: Running) -> None:
        await until(lambda: any(one.host == "h1" and one.instance for one in h1.rows(HostStatus)))
        (status,) = (one for one in h1.rows(HostStatus) if one.host == "h1")
        assert (status.switch_version, status.capabilities) == ("1", ("words",))
        h1.switch.plug(WEB.id, 7)
        await until(lambda: h1.is_up(WEB))
        await h1.add(Probe(number=3))
        await until(lambda: [one for one in h1.rows(Heartbeat) if one.probe == 3])
        h1.switch.problems = (HostProblem("torn-page", "7", "page 7 is torn", "mend it"),)
        await until(lambda: any("torn" in str(one.problems) for one in h1.rows(Heartbeat)))
        (beat,) = h1.rows(Heartbeat)
        assert (beat.ports, beat.flows) == (1, 1)

    run(directory, test)


def test_a_question_is_answered_by_the_switch(directory: Path) -> None:
    async def test(h1: Running) -> None:
        h1.switch.plug(WEB.id, 7)
        await until(lambda: h1.is_up(WEB))
        await h1.add(Query(id="q", host="h1", question="what is there", deadline_s=0))
        await until(lambda: h1.rows(Answer))
        assert WEB.id in h1.rows(Answer)[0].result
        assert not h1.rows(Query)

    run(directory, test)
