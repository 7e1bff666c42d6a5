# SPDX-License-Identifier: Apache-2.0
"""Forgetting connections, against a real Open vSwitch: those that were meant, and no others.

Never of ICMPv6 by tuple: that ends ovs-vswitchd 3.1 (`openflow.flush_connections`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from ipaddress import ip_address

import pytest

from isthmus.addresses import Address, Mac
from isthmus.agent.ovs.forgetting import with_connections
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.facts import TrackedAddress
from isthmus.wire import openflow as of
from isthmus.wire import openflow_actions as act
from isthmus_lab import packets
from tests.switches.real_switch import RealSwitch, connected

pytestmark = pytest.mark.system

FOUR = [("10.0.0.4", "10.0.0.5"), ("10.0.0.6", "10.0.0.5"), ("10.0.0.4", "10.0.0.7")]
SIX = [("fd00::4", "fd00::5"), ("fd00::6", "fd00::5"), ("fd00::4", "fd00::7")]
ZONES = (7, 8)
Entry = tuple[str, str, int]
"""Source, destination, zone."""

ALL = {(*pair, zone) for pair in (*FOUR, *SIX) for zone in ZONES}


async def follow_all(connection: Connection) -> None:
    """Open a connection for each pair in each zone."""
    for zone in ZONES:
        for source, destination in (*FOUR, *SIX):
            frame = packets.ethernet(
                Mac(2), Mac(1), packets.udp(source, destination, (1000, 2000), b"x")
            )
            connection.send_packet_out(frame, [act.ct(commit=True, zone=zone)])
    await connection.settle(b"", range(0))


def kept(switch: RealSwitch) -> set[Entry]:
    found = re.findall(
        r"orig=\(src=([^,]+),dst=([^,]+),[^)]*\).*?zone=(\d+)",
        switch.appctl("dpctl/dump-conntrack"),
    )
    return {(source, destination, int(zone)) for source, destination, zone in found}


def after(
    switch: RealSwitch, zones: Iterable[int], ends: Iterable[tuple[int, Address]]
) -> set[Entry]:
    async def steps() -> set[Entry]:
        async with connected(switch) as connection:
            await follow_all(connection)
            assert kept(switch) == ALL
            await connection.flush(zones, ends)
            return kept(switch)

    switch.appctl("dpctl/flush-conntrack")
    return asyncio.run(steps())


def test_a_zone_is_forgotten_whole_and_the_other_one_is_not(switch: RealSwitch) -> None:
    assert after(switch, [7], []) == {one for one in ALL if one[2] == 8}


@pytest.mark.parametrize("text", ["10.0.0.4", "10.0.0.5", "fd00::5", "fd00::4"])
def test_an_address_is_forgotten_at_either_end_in_its_zone_alone(
    switch: RealSwitch, text: str
) -> None:
    found = after(switch, [], [(7, ip_address(text))])
    assert found == {one for one in ALL if not (one[2] == 7 and text in one[:2])}


def test_which_addresses_have_connections_is_read_off_what_the_switch_shows(
    switch: RealSwitch,
) -> None:
    after(switch, [], [])
    ends = {end for pair in (*FOUR, *SIX) for end in pair}
    gone = [
        TrackedAddress(zone, address, "gone")
        for zone in (*ZONES, 9)
        for address in sorted(ends | {"10.0.0.40", "fd00::44"})
    ]
    text = switch.appctl("dpctl/dump-conntrack", "zone=7")
    found = with_connections(gone, {7: text, 9: switch.appctl("dpctl/dump-conntrack", "zone=9")})
    assert [one.address for one in found if one.zone == 7] == sorted(ends)
    assert [one for one in found if one.zone == 8] == [one for one in gone if one.zone == 8]
    assert not [one for one in found if one.zone == 9]


def test_what_is_not_there_is_forgotten_without_complaint(switch: RealSwitch) -> None:
    assert after(switch, [9], [(7, ip_address("10.9.9.9"))]) == ALL


def test_what_is_sent_is_what_nicira_extensions_say() -> None:
    assert of.flush_zone(5, 7).hex() == "05040018000000050000232000" + "00001d" + "00" * 6 + "0007"
    message = of.flush_connections(6, 7, protocol=17, source=ip_address("10.0.0.4"))
    assert len(message) % 8 == 0
    assert int.from_bytes(message[2:4], "big") == len(message)
    assert message[16] == 17
    assert bytes(10) + b"\xff\xff\x0a\x00\x00\x04" in message
    assert message.endswith(bytes.fromhex("0002000600070000"))
