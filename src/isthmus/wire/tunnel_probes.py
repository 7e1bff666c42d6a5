# SPDX-License-Identifier: Apache-2.0
"""Frames that ask a peer's switch, through the tunnel, whether tunnel packets reach it.

They travel in VSID 0xFFFFFF, which is no segment's: RFC 7637 section 3.2 keeps it "for
vendor-specific endpoint (NVE)-to-NVE communication", and VXLAN has it as the same VNI. The switch
itself answers: it sends the frame back with the answer's MAC address as its destination, and with
the outer source address that it has seen in the inner source MAC address.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from isthmus.addresses import Mac, mac_bytes
from isthmus.wire.encapsulations import OUTER_BYTES
from isthmus.wire.ethernet import Ethernet, build_ethernet, parse_ethernet
from isthmus.wire.malformed import Malformed

VSID = 0xFFFFFF
ASK, ANSWER = Mac(0x0200000000F1), Mac(0x0200000000F2)
"""Destinations of questions and of answers: locally administered, and no port's."""
SENDER = Mac(0x020000000000)
"""Its lower 32 bits become the outer source address that the peer has seen."""
ETHERTYPE = 0x88B5
"""IEEE 802 section 9.2.4: local experimental EtherType 1."""
NONCE_BYTES = 8
_MAGIC = b"isthmus-tunnel-probe"
_HEADER_BYTES = 14


class Answered(NamedTuple):
    nonce: bytes
    seen: IPv4Address
    """The outer source address of the question, as the peer has seen it."""


def question(nonce: bytes, encapsulation: str = "", outer_bytes: int = 0) -> bytes:
    """A frame; its tunnel packet is `outer_bytes` long if that is more than is needed."""
    size = outer_bytes - OUTER_BYTES.get(encapsulation, 0) - _HEADER_BYTES
    payload = (_MAGIC + nonce).ljust(size, b"\0")
    return build_ethernet(Ethernet(ASK, SENDER, ETHERTYPE, payload))


def answer(frame: bytes) -> Answered:
    """Reads one. Raises Malformed."""
    found = parse_ethernet(frame)
    end = len(_MAGIC) + NONCE_BYTES
    payload = found.payload
    if (found.destination, found.ethertype) != (ANSWER, ETHERTYPE) or payload[:20] != _MAGIC:
        raise Malformed("a frame that answers no question through a tunnel")
    if len(payload) < end:
        raise Malformed(f"an answer of {len(payload)} bytes")
    seen = IPv4Address(mac_bytes(found.source)[2:])
    return Answered(payload[len(_MAGIC) : end], seen)
