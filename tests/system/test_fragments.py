# SPDX-License-Identifier: Apache-2.0
"""Fragments of one tenant's guest, with packets: they are judged together, and reach no other's."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator

import pytest

from isthmus_lab import frames, packets
from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import (
    LONGEST_S,
    Cloud,
    Nic,
    Plan,
    access_control_list,
    rule,
    to,
    until,
    virtual_network,
)

pytestmark = pytest.mark.system

PLANS = (
    Plan("red1", "h1", ((11, "open"),)),
    Plan("red2", "h1", ((12, "open"),)),
    Plan("blue1", "h1", ((13, "open"),), network="blue"),
    Plan("blue2", "h1", ((14, "open"),), network="blue"),
)
PART = 1208
"""Bytes of a fragment: more than the least that Open vSwitch takes under rules."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with clouds.running_cloud() as made:
        networks = virtual_network("red"), virtual_network("blue")
        made.furnish(access_control_list("open", rule("UDP")), *networks, plans=PLANS)
        yield made


def datagram(sender: Nic, receiver: Nic, parts: int, mark: bytes, number: int) -> list[bytes]:
    """In fragments that all carry the mark."""
    size = PART * parts
    body = (mark * (size // len(mark)))[: size - 8].ljust(size - 8, b"-")
    whole = struct.pack("!HHHH", 1000 + number, 9, size, 0) + body
    found = []
    for start in range(0, size, PART):
        packet = frames.ipv4(
            sender.address(4), receiver.address(4), frames.PROTOCOL_UDP, whole[start:][:PART]
        )
        more = start + PART < size
        middle = struct.pack("!HH", number, more << 13 | start // 8)
        head = packet[:4] + middle + packet[8:10] + bytes(2) + packet[12:20]
        filled = head[:10] + struct.pack("!H", frames.checksum(head)) + head[12:]
        found.append(packets.ethernet(receiver.mac, sender.mac, filled + packet[20:]))
    return found


def test_a_packet_of_32_fragments_arrives_whole(cloud: Cloud) -> None:
    """docs/security.md: one of more is lost."""
    sender, receiver = cloud["red1"], cloud["red2"]
    sent = datagram(sender, receiver, 32, b"isthmus-32.", 1)
    with Capture(receiver.guest.namespace, receiver.guest.nic) as seen:
        sender.send(sent)
        until(lambda: len(seen.having(b"isthmus-32.")) == 32)
        assert {frame[14:34] for frame in seen.having(b"isthmus-32.")} == {f[14:34] for f in sent}


@pytest.mark.xfail(
    strict=True,
    reason="the userspace data path of Open vSwitch before 3.6 sends what has waited in vain for"
    " its other fragments with any packet that passes connection tracking then",
)
def test_what_waits_in_vain_for_its_fragments_reaches_no_other_tenant(cloud: Cloud) -> None:
    mark = b"isthmus-waiting."
    sender, receiver = cloud["red1"], cloud["red2"]
    one, other = cloud["blue1"], cloud["blue2"]
    with Capture(other.guest.namespace, other.guest.nic) as seen:
        for number in range(2, 6):
            sender.send(datagram(sender, receiver, 40, mark, number))
        # They wait for 15 seconds.
        end, number = time.monotonic() + min(LONGEST_S, 25.0), 0
        while time.monotonic() < end:
            number += 1
            ends, ports = (one.address(4), other.address(4)), (2000 + number, 9)
            one.send([to(one, other, packets.udp(*ends, ports, b"isthmus-other."))])
            time.sleep(0.02)
        until(lambda: seen.having(b"isthmus-other."))
        assert seen.having(mark) == []
