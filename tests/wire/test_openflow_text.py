# SPDX-License-Identifier: Apache-2.0
"""Flows as text for people. That ovs-ofctl reads the same flow from it: see tests/switches."""

from __future__ import annotations

import pytest

from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_text import actions_text, flow_text, instructions_text
from isthmus.wire.openflow_values import match_text

IP, IPV6 = oxm.eth_type(0x0800), oxm.eth_type(0x86DD)


def test_a_flow_of_the_pipeline() -> None:
    match = oxm.match(oxm.reg(5, 5001), oxm.eth_dst(0x020000000001), oxm.reg(1, 0))
    actions = (act.load(0x0A630003, oxm.REG[2]), act.dec_ttl())
    flow = Flow(40, 100, match, act.instructions(meter=3, apply=actions, goto=50), 0x4D)
    assert flow_text(flow) == (
        "cookie=0x4d,table=40,priority=100,eth_dst=02:00:00:00:00:01,reg1=0x0,reg5=0x1389 "
        "actions=meter:3,load:0xa630003->NXM_NX_REG2[],dec_ttl,goto_table:50"
    )


def test_the_flow_that_drops_all() -> None:
    assert flow_text(Flow(0, 0, b"", b"", 0)) == "cookie=0x0,table=0,priority=0 actions=drop"


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ((IP, oxm.ip_proto(17), oxm.udp_dst(67)), "udp,udp_dst=67"),
        ((IPV6, oxm.ip_proto(58), oxm.icmpv6_type(135)), "icmp6,icmpv6_type=135"),
        ((IPV6, oxm.ip_proto(6), oxm.tcp_src(0x1000, 0xF000)), "tcp6,tcp_src=0x1000/0xf000"),
        ((IP, oxm.ip_proto(50)), "ip,nw_proto=50"),
        ((oxm.eth_type(0x0806), oxm.arp_op(1)), "arp,arp_op=1"),
        ((oxm.eth_type(0x88CC),), "eth_type=0x88cc"),
        ((IP, oxm.ipv4_dst_prefix(0x0A000000, 8)), "ip,nw_dst=10.0.0.0/8"),
        ((IP, oxm.masked(oxm.IPV4_DST, 1, 0xFF)), "ip,nw_dst=0.0.0.1/0.0.0.255"),
        ((oxm.in_port(0xFFFFFFFE),), "in_port=LOCAL"),
        ((IP, oxm.ct_state(0x21, 0x23)), "ip,ct_state=+new-est+trk"),
        ((IP, oxm.ct_state(0x21)), "ip,ct_state=0x21"),
        ((IP, oxm.ip_proto(6), oxm.tcp_flags(0x12)), "tcp,tcp_flags=syn|ack"),
        ((IP, oxm.ip_proto(6), oxm.tcp_flags(0x02, 0x12)), "tcp,tcp_flags=+syn-ack"),
        ((IP, oxm.ip_frag(0)), "ip,ip_frag=no"),
        ((IP, oxm.ip_frag(1, 1)), "ip,ip_frag=yes"),
    ],
)
def test_matches(entries: tuple[bytes, ...], text: str) -> None:
    assert match_text(oxm.match(*entries)) == text


def test_actions_that_we_do_not_use_are_shown_as_unknown() -> None:
    push_vlan = bytes.fromhex("0011000881000000")
    assert actions_text(push_vlan) == "unknown(action 17: 81000000)"
    dec_mpls_ttl_of_another_vendor = bytes.fromhex("ffff0010 00001234 0007 000000000000")
    assert actions_text(dec_mpls_ttl_of_another_vendor).startswith("unknown(action 65535: ")
    clear_actions = bytes.fromhex("0005000800000000")
    assert instructions_text(clear_actions) == "unknown(instruction 5: 00000000)"


@pytest.mark.parametrize("data", ["00", "00040003", "0004001000000000", "000000080000"])
def test_elements_that_are_cut_short_are_malformed(data: str) -> None:
    with pytest.raises(Malformed):
        instructions_text(bytes.fromhex(data))
    with pytest.raises(Malformed):
        actions_text(bytes.fromhex(data))
