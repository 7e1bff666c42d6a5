# SPDX-License-Identifier: Apache-2.0
"""Parts of messages as a switch sends them, laid out by hand."""

from __future__ import annotations

import struct

from isthmus.wire import openflow as of
from isthmus.wire import oxm


def message(kind: of.Type, body: bytes, version: int = of.VERSION) -> of.Message:
    return of.Message(version, kind, 1, body)


def flow_stats_entry(flow: of.Flow) -> bytes:
    """As a switch sends it (OpenFlow 1.4 section 7.3.5.2)."""
    match = struct.pack(">HH", of.OXM_MATCH, 4 + len(flow.match)) + flow.match
    match += bytes(-len(match) % 8)
    length = 48 + len(match) + len(flow.instructions)
    head = struct.pack(">HBxII5H2x", length, flow.table, 3, 4, flow.priority, 0, 0, 0, 0)
    return head + struct.pack(">QQQ", flow.cookie, 5, 6) + match + flow.instructions


def a_packet_in() -> bytes:
    """The body of a packet-in with every property that we read."""
    metadata = oxm.exact(oxm.IN_PORT, 3) + oxm.exact(oxm.REG[5], 5001)
    properties = (
        (0, b"a frame"),
        (3, b"\x07\x00\x00\x00"),
        (4, bytes(4) + (0x77).to_bytes(8, "big")),
        (5, b"\x01\x00\x00\x00"),
        (6, metadata),
        (7, b"\x01\x02"),
    )
    body = b"\x00\x00\x23\x20\x00\x00\x00\x1e"
    for kind, value in properties:
        body += struct.pack(">HH", kind, 4 + len(value)) + value
        body += bytes(-len(body) % 8)
    return body
