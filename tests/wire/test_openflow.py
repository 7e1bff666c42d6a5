# SPDX-License-Identifier: Apache-2.0
"""ovs-ofctl as oracle: Open vSwitch's own decoder reads our messages as we mean them.

Flows, field by field and action by action, are compared on a real switch
(tests/switches/test_connection.py).
"""

from __future__ import annotations

import subprocess

import pytest

from isthmus.wire import openflow as of
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

XID = 0x01020304

FLOW = of.Flow(
    table=3,
    priority=100,
    match=oxm.match(
        oxm.in_port(3), oxm.eth_type(0x0800), oxm.ipv4_src_prefix(0x0A000000, 8), oxm.reg(5, 5001)
    ),
    instructions=act.instructions(
        meter=4,
        apply=(
            act.set_field(oxm.eth_src(0x020000000005)),
            act.load(7, oxm.REG[2], 8, 16),
            act.move(oxm.REG[2], 0, oxm.TUNNEL_ID, 8, 24),
            act.dec_ttl(),
            act.output(3),
        ),
        goto=20,
    ),
    cookie=0x1122334455667788,
)
PLACE = "table:3 priority=100,ip,reg5=0x1389,in_port=3,nw_src=10.0.0.0/8"
ACTIONS = (
    "actions=meter:4,set_field:02:00:00:00:00:05->eth_src,load:0x7->NXM_NX_REG2[8..23],"
    "move:NXM_NX_REG2[0..23]->NXM_NX_TUN_ID[8..31],dec_ttl,output:3,goto_table:20"
)
FRAME = bytes.fromhex("020000000002 020000000001 88b5") + bytes(46)


def printed(message: bytes) -> str:
    """What ovs-ofctl reads in a message, on one line, without version and id, which are checked."""
    done = subprocess.run(
        ["ovs-ofctl", "ofp-print", message.hex()], capture_output=True, text=True, check=True
    )
    kind, version, rest = done.stdout.partition(" (OF1.4) (xid=0x1020304):")
    assert version, done.stdout
    return " ".join((kind + rest).split())


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (of.hello(XID), "OFPT_HELLO version bitmap: 0x05"),  # one version alone
        (of.features_request(XID), "OFPT_FEATURES_REQUEST"),
        (
            of.set_config(XID, fragments=of.Fragments.NX_MATCH, miss_send_len=0xFFFF),
            "OFPT_SET_CONFIG frags=nx-match miss_send_len=65535",
        ),
        (of.set_packet_in_format(XID), "NXT_SET_PACKET_IN_FORMAT format=nxt_packet_in2"),
        (of.barrier_request(XID), "OFPT_BARRIER_REQUEST"),
        (of.table_stats_request(XID), "OFPST_TABLE request"),
        (of.meter_config_request(XID), "OFPST_METER_CONFIG request meter=all"),
        (of.meter_stats_request(XID), "OFPST_METER request meter=all"),
        (of.flow_stats_request(XID, table=7), "OFPST_FLOW request table=7"),
        (
            of.bundle_control(of.Bundle.OPEN_REQUEST, 9, XID),
            "OFPT_BUNDLE_CONTROL bundle_id=0x9 type=OPEN_REQUEST flags=atomic ordered",
        ),
        (
            of.bundle_control(of.Bundle.COMMIT_REQUEST, 9, XID),
            "OFPT_BUNDLE_CONTROL bundle_id=0x9 type=COMMIT_REQUEST flags=atomic ordered",
        ),
        (
            of.meter_mod(of.MeterCommand.ADD, of.Meter(7, 100, 20, kbps=True), XID),
            "OFPT_METER_MOD ADD meter=7 kbps burst bands= type=drop rate=100 burst_size=20",
        ),
        (
            of.meter_mod(of.MeterCommand.MODIFY, of.Meter(7, 100, 20), XID),
            "OFPT_METER_MOD MOD meter=7 pktps burst bands= type=drop rate=100 burst_size=20",
        ),
        (
            of.meter_mod(of.MeterCommand.DELETE, of.Meter(7, 100, 20), XID),
            "OFPT_METER_MOD DEL meter=7 bands=",
        ),
        (
            of.packet_out(FRAME, act.output(3), XID, in_port=4),
            "OFPT_PACKET_OUT in_port=4 actions=output:3 data_len=60 vlan_tci=0x0000,"
            "dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_type=0x88b5",
        ),
        (
            of.flow_add(FLOW, XID),
            f"OFPT_FLOW_MOD ADD {PLACE} cookie:0x1122334455667788 {ACTIONS}",
        ),
        (of.flow_modify_strict(FLOW, XID), f"OFPT_FLOW_MOD MOD_STRICT {PLACE} {ACTIONS}"),
        (of.flow_delete_strict(FLOW, XID), f"OFPT_FLOW_MOD DEL_STRICT {PLACE} actions=drop"),
        (
            of.flow_delete_by_cookie(5, 6, XID),
            "OFPT_FLOW_MOD DEL table:255 priority=0 cookie:0x5/0x6 actions=drop",
        ),
    ],
)
def test_open_vswitch_reads_a_message_as_it_is_meant(message: bytes, expected: str) -> None:
    assert printed(message) == expected


def test_an_echo_carries_its_payload() -> None:
    assert printed(of.echo_request(XID, b"hi")).startswith(
        "OFPT_ECHO_REQUEST 2 bytes of payload 00000000 68 69"
    )


def test_flows_are_asked_for_by_cookie_and_mask() -> None:
    # OpenFlow 1.4, 7.3.5.2, ofp_flow_stats_request: cookie and mask stand at bytes 32 to 48.
    message = of.flow_stats_request(XID, table=7, cookie=5, mask=6)
    assert (message[32:40], message[40:48]) == ((5).to_bytes(8), (6).to_bytes(8))


def test_a_bundled_message_is_wrapped_with_its_own_xid() -> None:
    inner = of.flow_add(FLOW, XID)
    told = printed(of.bundle_add(9, inner))
    assert told.startswith("OFPT_BUNDLE_ADD_MESSAGE bundle_id=0x9 flags=atomic ordered")
    assert told.endswith(
        f"OFPT_FLOW_MOD (OF1.4) (xid=0x1020304): ADD {PLACE} cookie:0x1122334455667788 {ACTIONS}"
    )


def test_only_packet_ins_of_the_named_reasons_are_asked_for() -> None:
    primary, _, secondary = printed(of.set_async(XID, packet_in_reasons=0b10)).partition(
        "secondary:"
    )
    assert "PACKET_IN: action PORT_STATUS: (off) FLOW_REMOVED: (off)" in primary
    assert "PACKET_IN: (off)" in secondary
