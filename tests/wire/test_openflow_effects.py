# SPDX-License-Identifier: Apache-2.0
"""What flows read, write and send, from their bytes."""

from __future__ import annotations

import pytest

from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_effects import Effect, Looked, Sent, Written, effects


def of(*actions: bytes, goto: int | None = None) -> list[Effect]:
    return list(effects(act.instructions(apply=actions, goto=goto)))


def test_loads_and_moves_write_and_moves_look() -> None:
    assert of(act.load(5, oxm.REG[3], 4, 8)) == [Written(oxm.REG[3], 4, 8, 5)]
    assert of(act.move(oxm.ETH_SRC, 0, oxm.XREG[2], 0, 48)) == [
        Looked(oxm.ETH_SRC, 0, 48),
        Written(oxm.XREG[2], 0, 48, None),
    ]


def test_fields_are_written_whole() -> None:
    assert of(act.set_field(oxm.eth_dst(7))) == [Written(oxm.ETH_DST, 0, 48, 7)]
    assert of(act.dec_ttl()) == [Written(oxm.IP_TTL, 0, 8, None)]


def test_packets_are_sent_in_the_order_of_the_actions() -> None:
    assert of(
        act.resubmit_table(42), act.load(1, oxm.REG[0]), act.ct(zone=oxm.REG[1], table=52), goto=60
    ) == [
        Sent(42),
        Written(oxm.REG[0], 0, 32, 1),
        Looked(oxm.REG[1], 0, 16),
        Sent(52),
        Sent(60),
    ]


def test_a_hash_writes_and_an_output_looks() -> None:
    hashed = act.multipath("eth_src", 1024, 255, 0, oxm.TUNNEL_ID, 0, 8)
    assert of(hashed) == [Written(oxm.TUNNEL_ID, 0, 8, None)]
    assert of(act.output_reg(oxm.REG[2], 8, 16)) == [Looked(oxm.REG[2], 8, 16)]


def test_what_is_done_to_a_copy_or_a_connection_the_packet_does_not_have() -> None:
    marks = (act.load(1, oxm.CT_MARK),)
    assert of(act.ct(commit=True, zone=7, actions=marks)) == []
    assert of(act.clone(act.load(1, oxm.REG[0]), act.ct(zone=oxm.REG[1]))) == [
        Looked(oxm.REG[1], 0, 16)
    ]


@pytest.mark.parametrize("data", [b"\0\1", b"\0\1\0\0\0\0\0\0"])
def test_what_is_cut_short_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        list(effects(data))
