# SPDX-License-Identifier: Apache-2.0
"""Datagrams in fragments."""

from __future__ import annotations

import struct

from isthmus.addresses import Mac
from isthmus_lab import frames, frames6, packets
from tests.system.cloud import Nic

PART = 1288
"""Bytes of a fragment: more than the least that Open vSwitch takes under rules."""

ALL = {4: "255.255.255.255", 6: "ff02::1"}
ALL_MAC = {4: Mac(0xFFFFFFFFFFFF), 6: Mac(0x333300000001)}


def datagram(
    sender: Nic, receiver: Nic | None, parts: int, mark: bytes, number: int, family: int = 4
) -> list[bytes]:
    """In fragments that all carry the mark; to all if no receiver is given."""
    source = sender.address(family)
    target = ALL[family] if receiver is None else receiver.address(family)
    mac = ALL_MAC[family] if receiver is None else receiver.mac
    size = PART * parts
    body = (mark * (size // len(mark)))[: size - 8].ljust(size - 8, b"-")
    payload = packets.udp(source, target, (1000 + number, 9), body)[-size:]
    fragment = {4: _ipv4, 6: _ipv6}[family]
    return [
        packets.ethernet(
            mac,
            sender.mac,
            fragment(source, target, payload[start:][:PART], start, start + PART < size, number),
        )
        for start in range(0, size, PART)
    ]


def _ipv4(source: str, target: str, part: bytes, start: int, more: bool, number: int) -> bytes:
    packet = frames.ipv4(source, target, frames.PROTOCOL_UDP, part)
    middle = struct.pack("!HH", number, more << 13 | start // 8)
    head = packet[:4] + middle + packet[8:10] + bytes(2) + packet[12:20]
    return head[:10] + struct.pack("!H", frames.checksum(head)) + head[12:] + packet[20:]


def _ipv6(source: str, target: str, part: bytes, start: int, more: bool, number: int) -> bytes:
    header = frames6.fragment_header(frames.PROTOCOL_UDP, start, more=more, identifier=number)
    return packets.ipv6(source, target, frames6.FRAGMENT, header + part)
