# SPDX-License-Identifier: Apache-2.0
"""What the switch sends up comes to whom it is for, and is answered or counted."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.l2 import Ether

from isthmus.addresses import parse_mac
from isthmus.agent.ovs.packets import PacketAnswers
from isthmus.errors import Unavailable
from isthmus.switches.ovs.allowed import WATCHING_ALLOWED
from isthmus.switches.ovs.features import FEATURES
from isthmus.switches.ovs.pipeline import (
    ALLOWED,
    DHCP_QUESTION,
    DROPPED,
    FIRST_FRAME,
    PAIR_SEEN,
    PASSED,
    PROBED,
    TUNNEL_ANSWER,
    Stage,
)
from isthmus.switches.ovs.probed import PROBING
from isthmus.switches.ovs.shown_drops import WATCHING_DROPS
from isthmus.switches.ovs.tunnels import TUNNELS
from isthmus.wire import openflow_actions as act
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_packets import PacketIn
from isthmus_lab import frames
from tests.agent.ovs.hosts import host, plug
from tests.host.test_dhcp import question
from tests.switches.policy_rows import network_rows, port
from tests.texts import pairs

PAIR, PAIR_MAC = "10.0.1.100", "02:00:00:00:00:77"
WEB = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"{PAIR}/32 {PAIR_MAC}"))


class Switch:
    """Keeps what is sent out of it, and what the halves in the agent are given."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.sent: list[tuple[bytes, bytes]] = []
        self.given: list[tuple[str, PacketIn]] = []
        self._is_away = is_away
        state = host("h1", *network_rows("red"), WEB)
        plug(state, WEB)
        names = (WATCHING_DROPS, WATCHING_ALLOWED, PROBING, TUNNELS)
        self.answers = PacketAnswers(state, self, {name: self._half(name) for name in names})

    def send_packet_out(self, packet: bytes, actions: Iterable[bytes]) -> None:
        if self._is_away:
            raise Unavailable("the switch is away")
        self.sent.append((packet, b"".join(actions)))

    def take(self, userdata: bytes, frame: bytes = bytes(60), in_port: int = 1) -> bool:
        return self.answers.take(PacketIn(frame, in_port, Stage.ADMISSION, 0, 1, userdata, {}))

    def _half(self, name: str) -> Half:
        return Half(name, self.given)


class Half:
    def __init__(self, name: str, given: list[tuple[str, PacketIn]]) -> None:
        self._name, self._given = name, given

    def __call__(self, packet: PacketIn) -> None:
        self._given.append((self._name, packet))
        if not any(packet.packet):
            raise Malformed("nothing in it")


def test_a_dhcp_message_is_answered_where_it_came_from_and_counted_when_the_switch_is_there() -> (
    None
):
    asked = question("discover", chaddr=WEB.mac)
    switch, away = Switch(), Switch(is_away=True)
    assert not switch.take(DHCP_QUESTION, asked)
    ((frame, actions),) = switch.sent
    assert (Ether(frame)[BOOTP].yiaddr, actions) == ("10.0.1.4", act.output(1))
    assert not switch.take(DHCP_QUESTION, asked, in_port=9)
    assert not away.take(DHCP_QUESTION, asked)
    assert (switch.answers.counters.dhcp_answered, away.answers.counters.dhcp_answered) == (1, 0)


def test_a_first_frame_and_an_announcement_that_is_news_may_change_what_the_host_says() -> None:
    switch = Switch()
    assert switch.take(FIRST_FRAME)
    announcement = frames.gratuitous_arp(parse_mac(PAIR_MAC), PAIR)
    assert switch.take(PAIR_SEEN, announcement)
    assert not switch.take(PAIR_SEEN, b"")
    counters = switch.answers.counters
    assert (counters.first_frames, counters.announcements, counters.malformed) == (1, 2, 1)


@pytest.mark.parametrize(
    ("userdata", "name"),
    [
        (DROPPED, WATCHING_DROPS),
        (ALLOWED, WATCHING_ALLOWED),
        (PASSED, WATCHING_ALLOWED),
        (PROBED, PROBING),
        (TUNNEL_ANSWER, TUNNELS),
    ],
)
def test_what_the_agent_waits_for_comes_to_its_half_and_what_it_cannot_read_is_counted(
    userdata: bytes, name: str
) -> None:
    switch = Switch()
    assert not switch.take(userdata, b"packet")
    assert [(half, packet.packet) for half, packet in switch.given] == [(name, b"packet")]
    assert not switch.take(userdata, bytes(60))
    assert switch.answers.counters.malformed == 1


def test_a_packet_of_nobody_goes_nowhere() -> None:
    switch = Switch()
    assert not switch.take(b"\xff")
    assert (switch.sent, switch.given) == ([], [])


def test_there_is_somebody_for_every_packet_that_the_pipeline_sends_up() -> None:
    assert {userdata for one in FEATURES for userdata in one.packets} == {
        *(DHCP_QUESTION, FIRST_FRAME, PAIR_SEEN, DROPPED, ALLOWED, PASSED, PROBED),
        TUNNEL_ANSWER,
    }
