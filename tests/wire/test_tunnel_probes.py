# SPDX-License-Identifier: Apache-2.0
"""Questions through tunnels: their size on the wire, and what answers them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from isthmus.addresses import mac_bytes
from isthmus.wire.encapsulations import ENCAPSULATIONS
from isthmus.wire.malformed import Malformed
from isthmus.wire.tunnel_probes import ANSWER, SENDER, answer, question

NONCE = b"01234567"


def answered(frame: bytes, seen: str) -> bytes:
    """As a switch does it: the destination, and the lower half of the source."""
    source = mac_bytes(SENDER)[:2] + IPv4Address(seen).packed
    return mac_bytes(ANSWER) + source + frame[12:]


@pytest.mark.parametrize("encapsulation", ENCAPSULATIONS)
def test_a_question_of_full_size_fills_the_underlay_s_packet(encapsulation: str) -> None:
    frame = question(NONCE, encapsulation, 1500)
    # RFC 7348: IPv4 20, UDP 8, VXLAN 8. RFC 7637: IPv4 20, GRE with a key 8.
    assert len(frame) + {"vxlan": 36, "nvgre": 28}[encapsulation] == 1500


def test_an_answer_tells_where_the_question_came_from() -> None:
    for frame in (question(NONCE), question(NONCE, "vxlan", 1500)):
        found = answer(answered(frame, "192.0.2.77"))
        assert found == (NONCE, IPv4Address("192.0.2.77"))


def test_what_is_no_answer_is_refused() -> None:
    whole = answered(question(NONCE), "192.0.2.1")
    for frame in (b"", question(NONCE), whole[:40], whole[:14] + b"x" + whole[15:]):
        with pytest.raises(Malformed):
            answer(frame)
