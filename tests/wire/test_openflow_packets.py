# SPDX-License-Identifier: Apache-2.0
"""Packets that a switch sends up."""

from __future__ import annotations

from isthmus.wire import openflow as of
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn, packet_in
from tests.wire.switch_messages import a_packet_in, message


def test_a_packet_in_gives_all_of_its_properties() -> None:
    received = packet_in(message(of.Type.EXPERIMENTER, a_packet_in()))
    fields = {oxm.IN_PORT: 3, oxm.REG[5]: 5001}
    assert received == PacketIn(b"a frame", 3, 7, 0x77, 1, b"\x01\x02", fields)
    assert received.reg(5) == 5001


def test_other_experimenters_are_left_alone() -> None:
    assert packet_in(message(of.Type.EXPERIMENTER, b"\x00\x00\x23\x20\x00\x00\x00\x1f")) is None
