# SPDX-License-Identifier: Apache-2.0
"""What ``ofproto/trace`` of Open vSwitch 3.1 says, read: written by hand, and as a real switch has
said it (`record_traces`)."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest

from isthmus.switches.ovs.pipeline import DROPS, SHOWN_DROPS, Stage
from isthmus.switches.ovs.registers import OUT, PEER, VSID
from isthmus.switches.ovs.traced import Traced, first_question, read, register, second_question
from tests.switches.record_traces import HERE, PROVIDER, Recorded, with_numbers

FLOW = "tcp,in_port=3,dl_src=02:00:00:00:00:01,nw_src=10.0.1.4,nw_dst=10.0.2.4,tp_src=1,tp_dst=80"
IN_VSID = f"{VSID.field.text}=0x1389"
TRACKED = f"""Flow: {FLOW}

bridge("br-int")
----------------
 0. in_port=3, priority 100, cookie 0x1a2b3c
    load:0x1389->{VSID.field.name}[]
    goto_table:{Stage.ADMISSION:d}
{Stage.ADMISSION:d}. ip,in_port=3,nw_src=10.0.1.4, priority 100
    goto_table:{Stage.TRACK:d}
{Stage.TRACK:d}. ip, priority 100, cookie 0x5
    ct(table={Stage.TRACKED:d},zone=5)
    drop
     -> A clone of the packet is forked. The pipeline is resumed at {Stage.TRACKED:d}.

Final flow: {FLOW},{IN_VSID}
Megaflow: recirc_id=0,eth,tcp,in_port=3
Datapath actions: ct(zone=1),recirc(0x1)

===============================================================================
recirc(0x1) - resume conntrack with default ct_state=trk|new (use --ct-next to customize)
===============================================================================

Flow: recirc_id=0x1,ct_state=new|trk,{FLOW}

bridge("br-int")
----------------
{Stage.TRACKED:d}. No match.
    drop

Final flow: unchanged
"""


def _ending(*lines: str, final: str = "unchanged") -> str:
    body = "\n".join(lines)
    return f'Flow: {FLOW}\n\nbridge("br-int")\n----------------\n{body}\n\nFinal flow: {final}\n'


def test_a_packet_that_goes_through_tracking_is_to_be_asked_on_with_its_registers() -> None:
    found = read(TRACKED, "3")
    assert (found.outcome, found.port, found.peer) == ("tracked", 0, "")
    assert [(one.stage, one.priority, one.cookie) for one in found.entries] == [
        ("CLASSIFY", 100, 0x1A2B3C),
        ("ADMISSION", 100, 0),
        ("TRACK", 100, 5),
    ]
    assert register(found.fields, VSID) == 0x1389
    assert found.fields["tcp"] == ""


def test_an_output_is_a_port() -> None:
    by_number = _ending(f"{Stage.DELIVER:d}. priority 50", "    output:4")
    by_register = _ending(
        f"{Stage.DELIVER:d}. priority 50",
        f"    output:{OUT.field.name}[0..15]",
        "     -> output port is 4",
    )
    for text in (by_number, by_register):
        found = read(text, "3")
        assert (found.outcome, found.port) == ("port", 4)
    assert read(by_number, "3").fields["nw_dst"] == "10.0.2.4"  # unchanged is as it was


def test_a_tunnel_is_known_by_its_peer_and_the_underlay_s_bridge_is_none_of_ours() -> None:
    text = _ending(
        f"{Stage.TUNNEL:d}. {PEER.field.text}=0xc0000202, priority 100, cookie 0x9",
        "    set_field:192.0.2.2->tun_dst",
        "    set_field:0x1389->tun_id",
        "    output:101",
        "     -> output to native tunnel",
        'bridge("br-phy")',
        "-----------------",
        " 0. priority 0",
        "    NORMAL",
        "     -> output port is 7",
    )
    found = read(text, "3")
    assert (found.outcome, found.port, found.peer) == ("tunnel", 101, "192.0.2.2")
    assert [one.stage for one in found.entries] == ["TUNNEL"]


def test_what_comes_back_is_answered_and_what_the_agent_answers_goes_up() -> None:
    assert (
        read(_ending(f"{Stage.DELIVER:d}. icmp, priority 120", "    IN_PORT"), "3").outcome
        == "answered"
    )
    up = _ending(f"{Stage.DISPATCH:d}. udp, priority 200", "    controller(userdata=01)")
    assert read(up, "3").outcome == "controller"
    # What is dropped while somebody watches, and what is heard on its way, is not answered.
    for userdata, after, outcome in (
        ("04", "    drop", "dropped"),
        ("03", "    output:4", "port"),
        ("02", f"    goto_table:{Stage.ADMISSION:d}", "dropped"),
    ):
        heard = _ending(
            f"{Stage.ADMISSION:d}. priority 1", f"    controller(userdata={userdata})", after
        )
        assert read(heard, "3").outcome == outcome


def test_a_drop_is_where_the_last_flow_was_or_none() -> None:
    dropped = read(_ending(f"{Stage.IN_INTERFACE:d}. ip, priority 1, cookie 0x7", "    drop"), "3")
    assert (dropped.outcome, dropped.entries[-1].stage) == ("dropped", "IN_INTERFACE")
    # Nor is the table that shows drops of watched ports where it was dropped.
    for shows in (f"{SHOWN_DROPS}. ip, priority 1, cookie 0x8", f"{SHOWN_DROPS}. No match."):
        lines = (
            f"{Stage.IN_INTERFACE:d}. priority 1, cookie 0x7",
            f"    resubmit(,{SHOWN_DROPS})",
            f"    {shows}",
            "            drop",
        )
        assert read(_ending(*lines), "3").entries[-1].stage == "IN_INTERFACE"
    missed = read(_ending(f"{Stage.ROUTE:d}. No match.", "            drop"), "3")
    assert (missed.outcome, missed.entries[-1].priority) == ("dropped", -1)
    assert read(_ending("99. priority 3", "    drop"), "3").entries[-1].stage == "99"
    assert read("", "3").outcome == "dropped"
    assert read("ovs-appctl: unknown bridge", "3").entries == ()


def test_the_second_question_begins_at_judge_as_a_new_connection() -> None:
    fields = {**read(TRACKED, "3").fields, "tun_src": "192.0.2.9", "vlan_tci": "0x0"}
    command, (bridge, text, actions) = second_question("br-int", fields)
    assert (command, bridge) == ("ofproto/trace-packet-out", "br-int")
    assert actions == f"resubmit(,{Stage.JUDGE.value})"
    parts = text.split(",")
    for part in ("ct_state=new|trk", "ct_nw_src=10.0.1.4", "ct_nw_dst=10.0.2.4", "ct_nw_proto=6"):
        assert part in parts
    assert {"ct_tp_src=1", "ct_tp_dst=80", "tcp", IN_VSID} <= set(parts)
    assert not [part for part in parts if part.startswith(("tun_", "vlan_"))]


def test_of_icmp_of_ipv6_the_switch_reads_other_names_than_it_writes() -> None:
    fields = {
        "icmp6": "",
        "ipv6_src": "fd00::4",
        "ipv6_dst": "fd00::5",
        "icmp_type": "128",
        "icmp_code": "0",
    }
    assert first_question("br-int", fields) == (
        "ofproto/trace",
        ("br-int", "icmp6,ipv6_src=fd00::4,ipv6_dst=fd00::5,icmpv6_type=128,icmpv6_code=0"),
    )
    _, (_, text, _) = second_question("br-int", fields)
    for part in ("ct_ipv6_src=fd00::4", "ct_nw_proto=58", "ct_tp_src=128", "icmpv6_type=128"):
        assert part in text.split(",")


# -- recorded from a real switch -------------------------------------------------------------------

PLAIN = [stage for stage in Stage if stage.name.startswith("PLAIN_") and "SUBNET" not in stage.name]
NO_RULES = [stage.name for stage in PLAIN if "INTERFACE" not in stage.name]
"""The stages of stateless rules where nothing is under any."""
ENTERED = ["CLASSIFY", "ADMISSION", "DISPATCH"]
LOOKED_FOR = ["ROUTE", "NEIGHBOUR", "RESOLVED"]
FOLLOWED = [*ENTERED, "FORWARD", "RECEIVER", *NO_RULES, "TRACK"]
CARRIED = [*ENTERED, "FORWARD", *NO_RULES, "TRACK", "COMMIT", "DELIVER", "TUNNEL"]
ARRIVED = ["CLASSIFY", "SOURCE", "SOURCE_MAC", *FOLLOWED[3:], "COMMIT", "DELIVER"]
JUDGED = [
    *("JUDGE", "BEGUN_SENDER", "BEGUN_RECEIVER", "UNKNOWN", "SOURCE_GROUPS", "TARGET_GROUPS"),
    *("INITIATOR", "OUT_INTERFACE", "OUT_SUBNET", "RESPONDER", "IN_SUBNET", "IN_INTERFACE"),
]
"""Soon after a port began to be followed: what may open no connection is then looked at as an
answer, which is not told."""
KEPT = ["COMMIT", "ANSWER", "COMMIT", "RETURN", "DELIVER"]
ANSWERED = [*ENTERED, "ROUTE", *NO_RULES, "TRACK", "COMMIT", "DELIVER"]


class Expected(NamedTuple):
    outcome: str
    stages: list[str]
    host: str = ""
    """Where the tunnel leads."""


RECORDED = {
    "to-beside": Expected("port", [*FOLLOWED, "COMMIT", "DELIVER"]),
    "to-vxlan": Expected("tunnel", CARRIED, "h2"),
    "to-nvgre": Expected("tunnel", CARRIED, "h3"),
    "from-vxlan": Expected("port", ARRIVED),
    "from-nvgre": Expected("port", ARRIVED),
    "to-ruled": Expected("tracked", FOLLOWED),
    "to-ruled-2": Expected("port", [*JUDGED, *KEPT]),
    "ipv6-to-ruled": Expected("tracked", FOLLOWED),
    # An echo request.
    "ipv6-to-ruled-2": Expected("port", ["JUDGE", *JUDGED[4:], "COMMIT", *KEPT[3:]]),
    **{f"{kind}-denied": Expected("tracked", FOLLOWED) for kind in ("tcp", "udp", "sctp")},
    **{f"{kind}-denied-2": Expected("dropped", JUDGED) for kind in ("tcp", "udp", "sctp")},
    "protocol-denied": Expected("tracked", FOLLOWED),
    "protocol-denied-2": Expected("dropped", JUDGED),
    "routed": Expected("port", [*ENTERED, *LOOKED_FOR, *FOLLOWED[3:], "COMMIT", "DELIVER"]),
    "gateway": Expected("answered", ANSWERED),
    "gateway-ipv6": Expected("answered", ANSWERED),
    "arp": Expected("answered", [*ENTERED, *LOOKED_FOR[1:]]),
    "dhcp": Expected("controller", ENTERED),
    "broadcast": Expected("tracked", [*ENTERED, "FORWARD", *NO_RULES, "TRACK"]),
    "forged": Expected("dropped", ENTERED[:2]),
    "no-route": Expected("dropped", [*ENTERED, "ROUTE"]),
    "no-port": Expected("dropped", [*ENTERED, "FORWARD"]),
}


def recorded(name: str) -> Recorded:
    found = msgspec.json.decode((HERE / f"{name}.json").read_bytes(), type=Recorded)
    return msgspec.structs.replace(
        found,
        arguments=[with_numbers(argument) for argument in found.arguments],
        said=[with_numbers(line) for line in found.said],
    )


def told(name: str) -> Traced:
    found = recorded(name)
    return read("\n".join(found.said), found.in_port)


@pytest.mark.parametrize("name", RECORDED)
def test_where_a_real_switch_says_that_a_packet_goes(name: str) -> None:
    found, expected = told(name), RECORDED[name]
    assert found.outcome == expected.outcome
    assert [entry.stage for entry in found.entries] == expected.stages
    assert found.peer == PROVIDER.get(expected.host, "")
    assert (found.port > 0) == (expected.outcome in ("port", "tunnel", "answered"))
    assert all(entry.cookie for entry in found.entries)
    assert {entry.stage for entry in found.entries} <= {stage.name for stage in DROPS}


def test_a_broadcast_goes_to_every_member_and_into_every_tunnel_and_no_way_beyond_is_ours() -> None:
    found = told("broadcast-2")
    stages = [entry.stage for entry in found.entries]
    assert (found.outcome, stages.count("TUNNEL"), stages.count("DELIVER")) == ("tunnel", 2, 2)
    assert "CLASSIFY" not in stages
    assert stages.count("RECEIVER") == 3
    assert set(RECORDED) | {"broadcast-2"} == {path.stem for path in HERE.glob("*.json")}


@pytest.mark.parametrize("name", [n for n in RECORDED if f"{n}-2" in RECORDED])
def test_what_is_asked_on_is_what_was_asked_of_the_switch(name: str) -> None:
    """And was understood: the switch has answered it."""
    command, arguments = second_question("br-int", told(name).fields)
    found = recorded(f"{name}-2")
    assert (command, [*arguments]) == (found.command, found.arguments)
    assert told(f"{name}-2").entries[0].stage == "JUDGE"
