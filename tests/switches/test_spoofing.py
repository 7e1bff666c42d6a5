# SPDX-License-Identifier: Apache-2.0
"""What of a guest's frames is for its host: taken out at ADMISSION, no more than is answered."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.derive.engine import Engine
from isthmus.policy.rows import Port, Row, Subnet
from isthmus.policy.values import PortGuard
from isthmus.switches.ovs.pipeline import Stage
from tests.switches.policy_rows import (
    at,
    compiled,
    flow_texts,
    host_rows,
    local,
    network_rows,
    port,
)
from tests.texts import pairs

WEB = port("red", "a", 4)
GROUND = (*host_rows(), *network_rows("red"))
MINE = f"in_port=3,eth_src={WEB.mac}"


def program(of: Port = WEB, *rows: Row) -> Engine:
    return compiled("h1", [*GROUND, of, *rows, local(of, 3)])


def taken_out(engine: Engine) -> list[str]:
    """What matches for it to be answered by DHCP."""
    found = [text for text in flow_texts(engine) if "controller(userdata=01)" in text]
    return [text.partition(" ")[0] for text in found]


def test_dhcp_is_taken_out_by_where_it_goes_from_whatever_address() -> None:
    client = f"{at(Stage.ADMISSION)}priority=205,udp,{MINE}"
    found = taken_out(program())
    assert found == [
        f"{client},nw_dst={to},ip_frag=0/1,udp_src=68,udp_dst=67"
        for to in ("10.0.1.1", "255.255.255.255")
    ]


def test_who_looks_for_its_server_is_told_whatever_address_it_had() -> None:
    looking = f"{at(Stage.ADMISSION)}priority=185"
    found = [text for text in flow_texts(program()) if text.startswith(looking)]
    assert found == [
        f"{looking},arp,{MINE},arp_op=1,arp_tpa=10.0.1.1,arp_sha={WEB.mac}"
        " actions=goto_table:DISPATCH"
    ]


@pytest.mark.parametrize(
    ("of", "subnet"),
    [
        (msgspec.structs.replace(WEB, dhcp_address=""), None),
        (WEB, Subnet(segment="red/a", prefix="10.0.1.0/24", gateway="10.0.1.1", dhcp=False)),
        (msgspec.structs.replace(WEB, dhcp_address="10.0.9.4"), None),
    ],
    ids=["without an address of DHCP", "a subnet without DHCP", "outside of every subnet"],
)
def test_where_the_host_does_not_answer_nothing_is_taken_out(
    of: Port, subnet: Subnet | None
) -> None:
    assert taken_out(program(of, *([subnet] if subnet is not None else []))) == []


def test_a_server_without_a_gateway_is_the_lowest_address() -> None:
    alone = Subnet(segment="red/a", prefix="10.0.1.0/24")
    assert any("nw_dst=10.0.1.1," in text for text in taken_out(program(WEB, alone)))


def test_from_any_mac_address_only_the_port_s_own_is_a_client() -> None:
    free = msgspec.structs.replace(WEB, guards=(PortGuard.MAC_SPOOFING,))
    found = taken_out(program(free))
    assert len(found) == 2
    assert all(f"eth_src={WEB.mac}" in text for text in found)


def of_port(engine: Engine, stage: Stage, words: str) -> list[str]:
    """Its flows of a stage that have these words, without where they go."""
    texts = (text for text in flow_texts(engine) if text.startswith(at(stage)))
    return [text.partition(" ")[0] for text in texts if "in_port=3" in text and words in text]


def test_only_where_its_guard_is_off_may_a_guest_advertise_itself_as_a_router() -> None:
    router = program(msgspec.structs.replace(WEB, guards=(PortGuard.ROUTER_ADVERTISEMENTS,)))
    advertised = "ipv6_src=fe80::/10,nw_ttl=255,icmpv6_type=134,icmpv6_code=0"
    assert of_port(router, Stage.ADMISSION, "icmpv6_type=134") == [
        f"{at(Stage.ADMISSION)}priority=210,icmp6,{MINE},{advertised}"
    ]
    assert of_port(router, Stage.DISPATCH, "icmpv6_type=134") == [
        f"{at(Stage.DISPATCH)}priority=195,icmp6,in_port=3,{advertised}"
    ]
    for stage in (Stage.ADMISSION, Stage.DISPATCH):
        assert of_port(program(), stage, "icmpv6_type=134") == []


def test_an_address_of_the_port_s_own_inside_a_pair_passes_from_the_pair_s_mac_address_too() -> (
    None
):
    behind = "02:00:5e:00:00:01"
    both = program(msgspec.structs.replace(WEB, pairs=pairs(f"10.0.1.0/24 {behind}")))
    own = f"{at(Stage.ADMISSION)}priority=192,ip,in_port=3,eth_src={behind},nw_src=10.0.1.4"
    (found,) = [text for text in flow_texts(both) if text.startswith(own)]
    assert found == f"{own} actions=goto_table:DISPATCH"
