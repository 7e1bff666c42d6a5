# SPDX-License-Identifier: Apache-2.0
"""A flow for every field, action and instruction that we encode, with what ``ovs-ofctl dump-flows``
prints for it.
"""

from __future__ import annotations

from typing import NamedTuple

from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow, Meter

METERS = (Meter(5, rate=10, burst=20), Meter(6, rate=1000, burst=200, kbps=True))
"""Must be on the switch before the flows are."""

IP, IPV6, ARP = oxm.eth_type(0x0800), oxm.eth_type(0x86DD), oxm.eth_type(0x0806)
TCP, UDP, SCTP = oxm.ip_proto(6), oxm.ip_proto(17), oxm.ip_proto(132)
TRACKED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
NEIGHBOUR = (IPV6, oxm.ip_proto(58), oxm.icmpv6_code(0))
MAC = 0x020000000001


class Case(NamedTuple):
    """`printed` is what ovs-ofctl prints of the part that the case is about."""

    flow: Flow
    printed: str
    same_bytes: bool = True
    """The switch gives the same bytes back."""


# fmt: off
_MATCHES: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("", ()),
    ("conj_id=7", (oxm.conj_id(7),)),
    ("in_port=3", (oxm.in_port(3),)),
    ("in_port=LOCAL", (oxm.in_port(0xFFFFFFFE),)),
    ("dl_src=02:00:00:00:00:01", (oxm.eth_src(MAC),)),
    ("dl_src=01:00:00:00:00:00/01:00:00:00:00:00", (oxm.eth_src(1 << 40, 1 << 40),)),
    ("dl_dst=02:00:00:00:00:01", (oxm.eth_dst(MAC),)),
    ("dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", (oxm.eth_dst(1 << 40, 1 << 40),)),
    ("dl_type=0x88cc", (oxm.eth_type(0x88CC),)),
    ("dl_vlan=5", (oxm.vlan_vid(5 | oxm.VLAN_PRESENT),)),
    ("vlan_tci=0x1000/0x1000", (oxm.vlan_vid(oxm.VLAN_PRESENT, oxm.VLAN_PRESENT),)),
    ("vlan_tci=0x0000/0x1fff", (oxm.vlan_absent(),)),
    ("dl_vlan=5,dl_vlan_pcp=3", (oxm.vlan_vid(5 | oxm.VLAN_PRESENT), oxm.vlan_pcp(3))),
    ("ip", (IP,)),
    ("ip,nw_src=10.0.0.4", (IP, oxm.ipv4_src("10.0.0.4"))),
    ("ip,nw_dst=0.0.0.5", (IP, oxm.ipv4_dst(5))),
    ("ip,nw_src=10.0.0.0/8", (IP, oxm.ipv4_src_prefix(0x0A000000, 8))),
    ("ip,nw_dst=10.1.0.0/16", (IP, oxm.ipv4_src_prefix(0, 0), oxm.ipv4_dst_prefix(0x0A010000, 16))),
    ("ip,nw_dst=10.0.0.0/255.0.255.0", (IP, oxm.masked(oxm.IPV4_DST, 0x0A000000, 0xFF00FF00))),
    ("ipv6,ipv6_src=fd00::1,ipv6_dst=fd00::2", (IPV6, oxm.ipv6_src("fd00::1"),
    oxm.ipv6_dst("fd00::2"))), ("ipv6,ipv6_src=fd00::/64,ipv6_dst=fe00::/8",
     (IPV6, oxm.ipv6_src_prefix(0xFD << 120, 64), oxm.ipv6_dst_prefix(0xFE << 120, 8))),
    ("ip,nw_frag=yes", (IP, oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY))),
    ("ip,nw_frag=no", (IP, oxm.ip_frag(0))),
    ("ip,nw_frag=first", (IP, oxm.ip_frag(1, 3))),
    ("ip,nw_frag=later", (IP, oxm.ip_frag(3))),
    ("ip,nw_frag=not_later", (IP, oxm.ip_frag(0, oxm.FRAGMENT_LATER))),
    ("ip,nw_tos=40", (IP, oxm.ip_dscp(10))),
    ("ip,nw_ecn=2", (IP, oxm.ip_ecn(2))),
    ("ip,nw_ttl=1", (IP, oxm.ip_ttl(1))),
    ("ip,nw_proto=50", (IP, oxm.ip_proto(50))),
    ("tcp,tp_src=1,tp_dst=2", (IP, TCP, oxm.tcp_src(1), oxm.tcp_dst(2))),
    ("tcp,tp_src=0x1000/0xf000,tp_dst=0x2/0xfffe", (IP, TCP, oxm.tcp_src(0x1000, 0xF000),
    oxm.tcp_dst(2, 0xFFFE))), ("tcp,tcp_flags=+syn-ack", (IP, TCP, oxm.tcp_flags(0x02, 0x12))),
    ("tcp,tcp_flags=syn", (IP, TCP, oxm.tcp_flags(0x02))), ("tcp6,tp_dst=22", (IPV6, TCP,
    oxm.tcp_dst(22))), ("udp,tp_src=68,tp_dst=67", (IP, UDP, oxm.udp_src(68), oxm.udp_dst(67))),
    ("udp6,tp_src=546,tp_dst=547", (IPV6, UDP, oxm.udp_src(546), oxm.udp_dst(547))),
    ("sctp,tp_src=7,tp_dst=8", (IP, SCTP, oxm.sctp_src(7), oxm.sctp_dst(8))),
    ("icmp,icmp_type=8,icmp_code=0", (IP, oxm.ip_proto(1), oxm.icmp_type(8), oxm.icmp_code(0))),
    ("icmp6,icmp_type=128,icmp_code=0", (*NEIGHBOUR, oxm.icmpv6_type(128))),
    ("icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::99,nd_sll=00:00:00:00:00:05",
     (*NEIGHBOUR, oxm.icmpv6_type(135), oxm.nd_target("fd00::99"), oxm.nd_sll(5))),
    ("icmp6,icmp_type=136,icmp_code=0,nd_target=fd00::99,nd_tll=00:00:00:00:00:05",
     (*NEIGHBOUR, oxm.icmpv6_type(136), oxm.nd_target("fd00::99"), oxm.nd_tll(5))),
    ("arp,arp_spa=10.0.0.1,arp_tpa=10.0.0.2,arp_op=1,arp_sha=00:00:00:00:00:07,arp_tha=00:00:00:00:00:08",
     (ARP, oxm.arp_op(1), oxm.arp_spa("10.0.0.1"), oxm.arp_tpa("10.0.0.2"), oxm.arp_sha(7),
     oxm.arp_tha(8))),
    ("arp,arp_tpa=10.0.0.0/8", (ARP, oxm.arp_tpa_prefix(0x0A000000, 8))),
    ("tun_id=0x1389", (oxm.tunnel_id(5001),)),
    ("tun_id=0x138900/0xffffff00", (oxm.tunnel_id(5001 << 8, 0xFFFFFF00),)),
    ("tun_src=10.99.0.1,tun_dst=10.99.0.2", (oxm.tun_src("10.99.0.1"), oxm.tun_dst("10.99.0.2"))),
    ("tun_ipv6_src=fd00::1,tun_ipv6_dst=fd00::2", (oxm.tun_ipv6_src("fd00::1"),
    oxm.tun_ipv6_dst("fd00::2"))), *((f"reg{n}={0x10 + n:#x}", (oxm.reg(n, 0x10 + n),)) for n in
    range(16)), ("reg15=0x1/0x1", (oxm.reg(15, 1, 1),)), ("pkt_mark=0x5", (oxm.pkt_mark(5),)),
    ("pkt_mark=0x5/0x7", (oxm.pkt_mark(5, 7),)), ("ct_state=-inv+trk,ip", (TRACKED, IP)),
    ("ct_state=+new-est+trk,ip", (oxm.ct_state(oxm.CT_NEW | oxm.CT_TRK, oxm.CT_NEW | oxm.CT_EST |
    oxm.CT_TRK), IP)), ("ct_zone=5", (oxm.ct_zone(5),)), ("ct_mark=0x5,ct_label=0x9",
    (oxm.ct_mark(5), oxm.ct_label(9))), ("ct_mark=0x5/0xf,ct_label=0x9/0xff", (oxm.ct_mark(5, 15),
    oxm.ct_label(9, 0xFF))),
    ("ct_state=-inv+trk,ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.0/8,ct_nw_proto=6,ct_tp_src=0x5/0xff,ct_tp_dst=80,ip",
     (TRACKED, IP, oxm.ct_nw_src("10.0.0.1"), oxm.ct_nw_dst_prefix(0x0A000000, 8),
     oxm.ct_nw_proto(6),
      oxm.ct_tp_src(5, 0xFF), oxm.ct_tp_dst(80))),
    ("ct_state=-inv+trk,ct_ipv6_src=fd00::1,ct_ipv6_dst=fd00::/8,ct_nw_proto=6,ct_tp_dst=80,ipv6",
     (TRACKED, IPV6, oxm.ct_ipv6_src("fd00::1"), oxm.ct_ipv6_dst_prefix(0xFD << 120, 8),
     oxm.ct_nw_proto(6),
      oxm.ct_tp_dst(80))),
    ("metadata=0x5", (oxm.metadata(5),)),
    ("metadata=0x5/0xff", (oxm.metadata(5, 0xFF),)),
    ("reg5=0x1389,tun_id=0x5,tun_src=1.2.3.4,in_port=3,dl_dst=02:00:00:00:00:01",
     (oxm.reg(5, 5001), oxm.eth_dst(MAC), oxm.in_port(3), oxm.tun_src("1.2.3.4"),
     oxm.tunnel_id(5))),
)

_KEPT_AS_REGISTERS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("reg8=0,reg9=0x5", (oxm.xreg(4, 5),)),
    ("reg9=0x5/0xff", (oxm.xreg(4, 5, 0xFF),)),
    ("reg4=0,reg5=0,reg6=0,reg7=0x5", (oxm.xxreg(1, 5),)),
)

_ACTIONS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("load:0x5->NXM_NX_REG5[]", (act.load(5, oxm.REG[5]),)),
    ("load:0x5->NXM_NX_REG5[8..23]", (act.load(5, oxm.REG[5], 8, 16),)),
    ("load:0x1->NXM_NX_REG5[31]", (act.load(1, oxm.REG[5], 31, 1),)),
    ("load:0x20000000001->OXM_OF_PKT_REG4[0..47]", (act.load(MAC, oxm.XREG[4], 0, 48),)),
    ("load:0x5->NXM_NX_XXREG1[64..127]", (act.load(5, oxm.XXREG[1], 64, 64),)),
    ("load:0->NXM_NX_TUN_ID[]", (act.load(0, oxm.TUNNEL_ID),)),
    ("load:0->NXM_OF_IN_PORT[]", (act.load(0, oxm.IN_PORT_NXM),)),
    ("load:0x5->NXM_NX_PKT_MARK[]", (act.load(5, oxm.PKT_MARK),)),
    ("load:0x1005->NXM_OF_VLAN_TCI[]", (act.load(0x1005, oxm.VLAN_TCI),)),
    ("set_field:02:00:00:00:00:01->eth_src", (act.set_field(oxm.eth_src(MAC)),)),
    ("set_field:10.0.0.1->tun_dst", (act.set_field(oxm.tun_dst("10.0.0.1")),)),
    ("set_field:fd00::1->tun_ipv6_dst", (act.set_field(oxm.tun_ipv6_dst("fd00::1")),)),
    ("set_field:0x7->tun_id", (act.set_field(oxm.tunnel_id(7)),)),
    ("set_field:0x7->reg5", (act.set_field(oxm.reg(5, 7)),)),
    ("set_field:0x7->xreg4", (act.set_field(oxm.xreg(4, 7)),)),
    ("set_field:0x7->xxreg1", (act.set_field(oxm.xxreg(1, 7)),)),
    ("set_field:0x7->metadata", (act.set_field(oxm.metadata(7)),)),
    ("move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]", (act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),)),
    ("move:NXM_NX_REG5[0..23]->NXM_NX_TUN_ID[8..31]", (act.move(oxm.REG[5], 0, oxm.TUNNEL_ID, 8,
    24),)), ("move:OXM_OF_PKT_REG4[0..47]->NXM_OF_ETH_SRC[]", (act.move(oxm.XREG[4], 0, oxm.ETH_SRC,
    0, 48),)), ("move:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15]", (act.move(oxm.IN_PORT_NXM, 0,
    oxm.REG[1], 0, 16),)), ("move:NXM_NX_XXREG1[]->NXM_NX_XXREG2[]", (act.move(oxm.XXREG[1], 0,
    oxm.XXREG[2], 0, 128),)), ("move:OXM_OF_METADATA[0..31]->NXM_NX_REG0[]", (act.move(oxm.METADATA,
    0, oxm.REG[0], 0, 32),)), ("output:3,output:4", (act.output(3), act.output(4))), ("IN_PORT",
    (act.in_port(),)), ("output:NXM_NX_REG0[0..15]", (act.output_reg(oxm.REG[0], 0, 16),)),
    ("output:NXM_NX_REG0[]", (act.output_reg(oxm.REG[0]),)), ("resubmit(,20)",
    (act.resubmit_table(20),)), ("controller(userdata=01.02)", (act.controller(b"\x01\x02"),)),
    ("controller(max_len=64,userdata=01)", (act.controller(b"\x01", max_len=64),)),
    ("controller(userdata=31.32.33.34.35.36.37.38.39,meter_id=5)", (act.controller(b"123456789",
    meter=5),)), ("multipath(eth_src,1024,modulo_n,256,0,NXM_NX_TUN_ID[0..7])",
     (act.multipath("eth_src", 1024, 255, 0, oxm.TUNNEL_ID, 0, 8),)),
    ("multipath(symmetric_l4,1024,modulo_n,256,0,NXM_NX_TUN_ID[0..7])",
     (act.multipath("symmetric_l4", 1024, 255, 0, oxm.TUNNEL_ID, 0, 8),)),
    ("conjunction(7,1/2),conjunction(8,2/2)", (act.conjunction(7, 1, 2), act.conjunction(8, 2, 2))),
    ("check_pkt_larger(1314)->NXM_NX_REG0[0]", (act.check_pkt_larger(1314, oxm.REG[0]),)),
)

_ON_IP: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("dec_ttl", (act.dec_ttl(),)),
    ("set_field:1.2.3.4->ip_src", (act.set_field(oxm.ipv4_src("1.2.3.4")),)),
    ("set_field:64->nw_ttl", (act.set_field(oxm.ip_ttl(64)),)),
    ("set_field:5->ip_dscp", (act.set_field(oxm.ip_dscp(5)),)),
    ("move:NXM_OF_IP_DST[]->NXM_NX_REG3[]", (act.move(oxm.IPV4_DST, 0, oxm.REG[3], 0, 32),)),
    ("ct(table=40,zone=5)", (act.ct(zone=5, table=40),)),
    ("clone(ct(commit,zone=5),output:2)", (act.clone(act.ct(commit=True, zone=5), act.output(2)),)),
    ("ct(commit,force,zone=NXM_NX_REG3[0..15],exec(set_field:0x5->ct_mark))",
     (act.ct(commit=True, force=True, zone=oxm.REG[3], actions=[act.set_field(oxm.ct_mark(5))]),)),
    ("ct(commit,zone=5,exec(load:0x5->NXM_NX_CT_MARK[0..7]))",
     (act.ct(commit=True, zone=5, actions=[act.load(5, oxm.CT_MARK, 0, 8)]),)),
)

_ON_ARP: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("set_field:2->arp_op", (act.set_field(oxm.arp_op(2)),)),
    ("set_field:02:00:00:00:00:01->arp_sha", (act.set_field(oxm.arp_sha(MAC)),)),
    ("move:NXM_OF_ARP_TPA[]->NXM_OF_ARP_SPA[]", (act.move(oxm.ARP_TPA, 0, oxm.ARP_SPA, 0, 32),)),
    ("move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]", (act.move(oxm.ARP_SHA, 0, oxm.ARP_THA, 0, 48),)),
)

_INSTRUCTIONS: tuple[tuple[str, bytes], ...] = (
    ("drop", act.instructions()),
    ("drop", act.instructions(apply=())),
    ("goto_table:7", act.instructions(goto=7)),
    ("meter:6", act.instructions(meter=6)),
    ("meter:6,goto_table:7", act.instructions(meter=6, goto=7)),
    ("meter:5,output:1", act.instructions(meter=5, apply=(act.output(1),))),
    ("meter:5,output:1,output:2,goto_table:9", act.instructions(meter=5, apply=(act.output(1),
    act.output(2)), goto=9)),
)
# fmt: on


def every_flow() -> list[Case]:
    """Each at a priority of its own, with a cookie of its own. Needs `METERS`."""
    cases: list[tuple[int, bytes, bytes, str, bool]] = []
    cases += [(0, oxm.match(*entries), b"", text, True) for text, entries in _MATCHES]
    cases += [(0, oxm.match(*entries), b"", text, False) for text, entries in _KEPT_AS_REGISTERS]
    for match, group in ((b"", _ACTIONS), (IP, _ON_IP), (ARP, _ON_ARP)):
        cases += [
            (1, match, act.instructions(apply=actions), text, True) for text, actions in group
        ]
    cases += [(2, b"", instructions, text, True) for text, instructions in _INSTRUCTIONS]
    return [
        Case(Flow(table, number, match, instructions, 0x1000 + number), text, same)
        for number, (table, match, instructions, text, same) in enumerate(cases, start=1)
    ]


def printed_line(case: Case) -> str:
    """The whole line of ``ovs-ofctl dump-flows --no-stats``, without its leading space."""
    flow = case.flow
    table = f"table={flow.table}, " if flow.table else ""
    if flow.table == 0:
        match, actions = case.printed, "drop"
    else:
        match = {b"": "", IP: "ip", ARP: "arp"}[flow.match]
        actions = case.printed
    between = f",{match}" if match else ""
    return f"cookie={flow.cookie:#x}, {table}priority={flow.priority}{between} actions={actions}"
