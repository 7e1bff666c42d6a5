# SPDX-License-Identifier: Apache-2.0
"""os-ken as oracle: it packs the same bytes as we do, and reads what we pack as we mean it."""

from __future__ import annotations

from os_ken.ofproto import ofproto_parser
from os_ken.ofproto import ofproto_v1_4_parser as ken
from os_ken.ofproto.ofproto_protocol import ProtocolDesc
from os_ken.ofproto.ofproto_v1_4 import OFPC_FRAG_MASK

from isthmus.wire import openflow as of
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

SWITCH = ProtocolDesc(version=of.VERSION)
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


def packed(message: ken.MsgBase) -> bytes:
    message.set_xid(XID)
    message.serialize()
    return bytes(message.buf)


def read(data: bytes) -> ken.MsgBase:
    return ofproto_parser.msg(SWITCH, *ofproto_parser.header(data), data)


def test_messages_without_a_choice_of_order_are_the_same_bytes() -> None:
    every = SWITCH.ofproto.OFPP_ANY
    same = [
        (of.echo_request(XID, b"hi"), ken.OFPEchoRequest(SWITCH, b"hi")),
        (of.features_request(XID), ken.OFPFeaturesRequest(SWITCH)),
        (
            of.set_config(XID, fragments=of.Fragments.NX_MATCH, miss_send_len=0xFFFF),
            ken.OFPSetConfig(SWITCH, OFPC_FRAG_MASK, 0xFFFF),
        ),
        (of.barrier_request(XID), ken.OFPBarrierRequest(SWITCH)),
        (of.table_stats_request(XID), ken.OFPTableStatsRequest(SWITCH, 0)),
        (of.meter_config_request(XID), ken.OFPMeterConfigStatsRequest(SWITCH)),
        (
            of.flow_stats_request(XID, table=7, cookie=5, mask=6),
            ken.OFPFlowStatsRequest(SWITCH, 0, 7, every, every, 5, 6, ken.OFPMatch()),
        ),
        (
            of.bundle_control(of.Bundle.COMMIT_REQUEST, 9, XID),
            ken.OFPBundleCtrlMsg(SWITCH, 9, SWITCH.ofproto.OFPBCT_COMMIT_REQUEST, 3, []),
        ),
        (
            of.meter_mod(of.MeterCommand.ADD, of.Meter(7, 100, 20, kbps=True), XID),
            ken.OFPMeterMod(SWITCH, 0, 0b0101, 7, [ken.OFPMeterBandDrop(100, 20)]),
        ),
        (
            of.meter_mod(of.MeterCommand.MODIFY, of.Meter(7, 100, 20), XID),
            ken.OFPMeterMod(SWITCH, 1, 0b0110, 7, [ken.OFPMeterBandDrop(100, 20)]),
        ),
        (
            of.meter_mod(of.MeterCommand.DELETE, of.Meter(7, 100, 20), XID),
            ken.OFPMeterMod(SWITCH, 2, 0, 7, []),
        ),
        (
            of.packet_out(b"frame", act.output(3), XID, in_port=4),
            ken.OFPPacketOut(
                SWITCH, of.NO_BUFFER, 4, [ken.OFPActionOutput(3, max_len=0)], b"frame"
            ),
        ),
        (of.set_packet_in_format(XID), ken.NXTSetPacketInFormatMsg(SWITCH, 2)),
    ]
    for ours, theirs in same:
        assert ours == packed(theirs), theirs


def test_our_hello_offers_one_version_alone() -> None:
    (bitmap,) = read(of.hello(XID)).elements
    assert bitmap.versions == [of.VERSION]


def test_a_flow_with_every_standard_instruction_is_read_as_it_is_meant() -> None:
    flow = read(of.flow_add(FLOW, XID))
    assert (flow.xid, flow.command, flow.table_id, flow.priority) == (XID, 0, 3, 100)
    assert (flow.cookie, flow.cookie_mask) == (FLOW.cookie, 0)
    assert (flow.idle_timeout, flow.hard_timeout, flow.flags) == (0, 0, 0)
    assert flow.buffer_id == flow.out_port == flow.out_group == 0xFFFFFFFF
    assert dict(flow.match.items()) == {
        "in_port": 3,
        "eth_type": 0x0800,
        "ipv4_src": ("10.0.0.0", "255.0.0.0"),
        "reg5": 5001,
    }
    meter, apply, goto = flow.instructions
    assert (meter.meter_id, goto.table_id) == (4, 20)
    set_field, load, move, dec_ttl, output = apply.actions
    assert (set_field.key, set_field.value) == ("eth_src", "02:00:00:00:00:05")
    assert (load.dst, load.value, load.ofs_nbits) == ("reg2", 7, 8 << 6 | 15)
    assert (move.src_field, move.dst_field) == ("reg2", "tunnel_id_nxm")
    assert (move.src_ofs, move.dst_ofs, move.n_bits) == (0, 8, 24)
    assert isinstance(dec_ttl, ken.OFPActionDecNwTtl)
    assert output.port == 3


def test_deletes_name_a_place_or_a_cookie() -> None:
    strict = read(of.flow_delete_strict(FLOW, XID))
    assert (strict.command, strict.table_id, strict.priority) == (4, 3, 100)
    assert strict.cookie_mask == 0
    assert strict.instructions == []
    assert dict(strict.match.items())["reg5"] == 5001
    by_cookie = read(of.flow_delete_by_cookie(5, 6, XID))
    assert (by_cookie.command, by_cookie.table_id) == (3, 0xFF)
    assert (by_cookie.cookie, by_cookie.cookie_mask) == (5, 6)
    assert dict(by_cookie.match.items()) == {}
    assert read(of.flow_modify_strict(FLOW, XID)).command == 2


def test_a_bundled_message_is_wrapped_with_its_own_xid() -> None:
    inner = ken.OFPFlowMod(SWITCH, table_id=1, priority=2)
    inner.set_xid(XID)
    theirs = packed(ken.OFPBundleAddMsg(SWITCH, 9, 3, inner, []))
    inner.serialize()
    assert of.bundle_add(9, bytes(inner.buf)) == theirs


def test_only_packet_ins_of_the_named_reasons_are_asked_for() -> None:
    data = of.set_async(XID, packet_in_reasons=0b10)
    properties = [data[start : start + 8] for start in range(8, len(data), 8)]
    assert {entry[1]: int.from_bytes(entry[4:], "big") for entry in properties} == {
        kind: 2 if kind == 1 else 0 for kind in range(12)
    }
