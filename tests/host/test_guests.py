# SPDX-License-Identifier: Apache-2.0
"""What guests send: answered, heard or counted, whatever it is."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP
from scapy.layers.l2 import Ether

from isthmus.addresses import parse_mac
from isthmus.host.guests import Guests
from isthmus_lab import frames
from tests.agent.ovs.hosts import host, plug
from tests.host.test_dhcp import question
from tests.switches.policy_rows import network_rows, port
from tests.texts import pairs

PAIR, PAIR_MAC = "10.0.1.100", "02:00:00:00:00:77"
WEB = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"{PAIR}/32 {PAIR_MAC}"))
STATE = host("h1", *network_rows("red"), WEB)
plug(STATE, WEB)


def test_a_dhcp_message_of_a_port_is_answered_and_one_of_nobody_is_not() -> None:
    guests = Guests(STATE)
    found = guests.asked_dhcp(1, question("discover", chaddr=WEB.mac))
    assert found is not None
    assert Ether(found)[BOOTP].yiaddr == "10.0.1.4"
    assert guests.asked_dhcp(9, question("discover", chaddr=WEB.mac)) is None
    assert guests.asked_dhcp(1, question("discover")) is None
    assert guests.counters.dhcp_ignored == 2


def test_an_address_pair_is_news_once_and_only_of_a_port_that_was_given_it() -> None:
    guests = Guests(host("h1", *network_rows("red"), WEB))
    announcement = frames.gratuitous_arp(parse_mac(PAIR_MAC), PAIR)
    assert not guests.announced(1, announcement)
    guests = Guests(STATE)
    assert guests.announced(1, announcement)
    assert not guests.announced(1, frames.gratuitous_arp(parse_mac(PAIR_MAC), "10.0.1.101"))
    assert guests.counters.announcements == 2


@given(st.binary(max_size=400))
def test_any_bytes_are_answered_or_counted(frame: bytes) -> None:
    guests = Guests(STATE)
    answer = guests.asked_dhcp(1, frame)
    assert answer is not None or guests.counters.dhcp_ignored + guests.counters.malformed == 1
    guests.announced(1, frame)
    assert guests.counters.announcements == 1
