# SPDX-License-Identifier: Apache-2.0
"""What of a guest's frames is for its host: taken out at ADMISSION, no more than is answered."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.derive.engine import Engine
from isthmus.policy.rows import Port, Row, Subnet
from tests.switches.policy_rows import compiled, flow_texts, host_rows, local, network_rows, port

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
    client = f"table=ADMISSION,priority=205,udp,{MINE}"
    found = taken_out(program())
    assert found == [
        f"{client},nw_dst={to},ip_frag=0/1,udp_src=68,udp_dst=67"
        for to in ("10.0.1.1", "255.255.255.255")
    ]


def test_who_looks_for_its_server_is_told_whatever_address_it_had() -> None:
    found = [
        text for text in flow_texts(program()) if text.startswith("table=ADMISSION,priority=185")
    ]
    assert found == [
        f"table=ADMISSION,priority=185,arp,{MINE},arp_op=1,arp_tpa=10.0.1.1,arp_sha={WEB.mac}"
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
    free = msgspec.structs.replace(WEB, guards=("mac-spoofing",))
    assert all(f"eth_src={WEB.mac}" in text for text in taken_out(program(free)))
