# SPDX-License-Identifier: Apache-2.0
"""What a host concludes of its tunnels from the answers of its peers' switches."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from isthmus.addresses import mac_bytes
from isthmus.agent.ovs import tunnel_probing
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.tunnel_probing import (
    ANSWERS,
    FULL_BURST,
    MOST_NAMED,
    Heard,
    TunnelProbing,
    asked_through,
)
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Host, HostStatus
from isthmus.policy.values import Preference
from isthmus.switches.ovs.connection import Connection
from isthmus.wire.encapsulations import Encapsulation
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.tunnel_probes import ANSWER, SENDER
from tests.agent.ovs.hosts import host, learn

MTU = 1500


class Underlay(Connection):
    """A switch whose peers answer at once: `seen` gives the source that each sees, by its address,
    and no entry for one that does not answer; longer packets than `mtu` do not pass."""

    def __init__(self, seen: dict[str, str], mtu: int = MTU) -> None:
        super().__init__(Path("/nowhere"), on_connected=lambda: None, on_packet_in=lambda _: None)
        self.seen, self.mtu = seen, mtu
        self.probing: TunnelProbing | None = None
        self.asked: list[str] = []

    def send_packet_out(self, packet: bytes, actions: Iterable[bytes], *, in_port: int = 0) -> None:
        whole = b"".join(actions)
        peer = next(p for p in PEERS if IPv4Address(p).packed in whole)
        self.asked.append(peer)
        if peer in self.seen and len(packet) + 36 <= self.mtu and self.probing is not None:
            source = mac_bytes(SENDER)[:2] + IPv4Address(self.seen[peer]).packed
            frame = mac_bytes(ANSWER) + source + packet[12:]
            self.probing.take(PacketIn(frame, 101, 0, 0, 0, b"", {}))


PEERS = tuple(f"192.0.2.{number}" for number in range(2, 40))


def state_of(*answering: str) -> OvsHost:
    state = host("h1")
    for name in answering:
        status = HostStatus(
            host=name,
            provider_addresses=(IPv4Address(f"192.0.2.{name[1:]}"),),
            encapsulations=Preference((Encapsulation.VXLAN,)),
            capabilities=(ANSWERS,),
        )
        learn(state, Host(id=name, certificate_name=name), status)
    return state


def probing(state: OvsHost, underlay: Underlay) -> TunnelProbing:
    found = TunnelProbing(state, underlay, wait_s=0.0)
    underlay.probing = found
    return found


def problems(state: OvsHost, underlay: Underlay) -> list[tuple[str, str, str]]:
    found = probing(state, underlay)
    asyncio.run(found.round())
    return [(one.code, one.about, one.finding) for one in found.problems]


def test_a_peer_whose_switch_answers_is_well() -> None:
    underlay = Underlay({"192.0.2.2": "192.0.2.1"})
    assert problems(state_of("h2"), underlay) == []
    assert underlay.asked == ["192.0.2.2"]


def test_one_that_does_not_is_asked_again_and_then_its_tunnel_is_broken() -> None:
    underlay = Underlay({})
    ((code, about, finding),) = problems(state_of("h2"), underlay)
    assert (code, about) == ("unreachable-tunnel", "h2")
    assert finding == "no VXLAN packet comes back from h2 (192.0.2.2)"
    assert underlay.asked == ["192.0.2.2"] * tunnel_probing.ATTEMPTS


class Blocking(Underlay):
    """While it is `busy` for so many more questions, what asks is held up and hears nothing."""

    busy = 0

    def send_packet_out(self, packet: bytes, actions: Iterable[bytes], *, in_port: int = 0) -> None:
        if not self.busy:
            super().send_packet_out(packet, actions, in_port=in_port)
            return
        self.busy -= 1
        asyncio.get_running_loop().call_soon(time.sleep, 0.02)


def test_what_is_not_heard_while_the_agent_itself_is_busy_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tunnel_probing, "LATE_S", 0.01)
    underlay = Blocking({"192.0.2.2": "192.0.2.1"})
    underlay.busy = tunnel_probing.ATTEMPTS
    assert problems(state_of("h2"), underlay) == []
    assert underlay.asked == ["192.0.2.2"]
    underlay.busy = 1000
    known = probing(state_of("h2"), underlay)
    known.problems = (HostProblem("tunnel-source", "h2", "known", ""),)
    asyncio.run(known.round())
    assert [one.finding for one in known.problems] == ["known"]


def test_one_that_says_nothing_of_answering_is_not_asked() -> None:
    underlay = Underlay({})
    assert problems(state_of(), underlay) == []
    assert underlay.asked == []


def test_a_peer_that_sees_us_elsewhere_is_told() -> None:
    ((code, about, finding),) = problems(state_of("h2"), Underlay({"192.0.2.2": "192.0.2.77"}))
    assert (code, about) == ("tunnel-source", "h2")
    assert "come from 192.0.2.77 and not from 192.0.2.1" in finding


def test_of_very_many_broken_ones_some_are_named_and_the_others_counted() -> None:
    names = [f"h{number}" for number in range(10, 10 + MOST_NAMED + 3)]
    found = problems(state_of(*names), Underlay({}))
    assert len(found) == MOST_NAMED + 1
    assert "3 further hosts" in found[-1][2]


def test_the_doctor_is_told_of_each_peer_that_it_asks_for() -> None:
    state = state_of("h2", "h4", "h5")
    learn(
        state,
        Host(id="h6", certificate_name="h6"),
        HostStatus(
            host="h6",
            provider_addresses=(IPv4Address("192.0.2.6"),),
            encapsulations=Preference((Encapsulation.VXLAN,)),
        ),
    )
    underlay = Underlay({"192.0.2.2": "192.0.2.1", "192.0.2.5": "192.0.2.77"}, mtu=1400)
    wanted = [f"192.0.2.{number}" for number in (2, 4, 5, 6, 99)]
    found = asyncio.run(asked_through(probing(state, underlay), wanted, MTU))
    assert found == Heard(
        unreachable=("192.0.2.4",),
        too_small=("192.0.2.2", "192.0.2.5"),
        unknown=("192.0.2.6",),
        seen_as={"192.0.2.5": "192.0.2.77"},
    )


def test_a_question_is_answered_once() -> None:
    """What answers it again, and says something else, is a copy or a forgery."""

    class Echoing(Underlay):
        def send_packet_out(
            self, packet: bytes, actions: Iterable[bytes], *, in_port: int = 0
        ) -> None:
            whole = list(actions)
            super().send_packet_out(packet, whole, in_port=in_port)
            self.seen = {"192.0.2.2": "192.0.2.77"}
            super().send_packet_out(packet, whole, in_port=in_port)

    assert problems(state_of("h2"), Echoing({"192.0.2.2": "192.0.2.1"})) == []


def test_between_bursts_of_questions_others_have_their_turn() -> None:
    class Counting(Underlay):
        turn = 0

        def send_packet_out(
            self, packet: bytes, actions: Iterable[bytes], *, in_port: int = 0
        ) -> None:
            bursts[self.turn] += 1

    async def others(switch: Counting) -> None:
        while True:
            switch.turn += 1
            await asyncio.sleep(0)

    async def asked(made: TunnelProbing, switch: Counting) -> None:
        beside = asyncio.create_task(others(switch))
        await made.ask(made.peers())
        beside.cancel()

    bursts = Counter[int]()
    count = 2 * FULL_BURST + 7
    switch = Counting({})
    made = probing(state_of(*(f"h{number}" for number in range(2, 2 + count))), switch)
    asyncio.run(asked(made, switch))
    assert sum(bursts.values()) == tunnel_probing.ATTEMPTS * count
    assert max(bursts.values()) == FULL_BURST
