# SPDX-License-Identifier: Apache-2.0
"""What the host answers to its guests' DHCP messages; scapy reads the answers."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from isthmus.addresses import Mac, mac_bytes
from isthmus.host.dhcp import answer_frame
from isthmus.policy.rows import Port, Segment, Subnet
from isthmus.wire.malformed import Malformed
from tests.texts import routes

ROUTER = Mac(0x123456789ABC)
MAC = "02:00:00:00:00:05"
PORT = Port(id="p", segment="n/s", mac=MAC, addresses=("10.0.1.5",), dhcp_address="10.0.1.5")
SEGMENT = Segment(id="n/s", physical_network="u", vsid=5001, mtu_bytes=1442)
SUBNET = Subnet(
    segment="n/s", prefix="10.0.1.0/26", gateway="10.0.1.1", dns=("10.0.0.53",), lease_s=7200
)

Options = list[tuple[str, object] | str]


def question(
    kind: str,
    *options: tuple[str, object],
    ciaddr: str = "0.0.0.0",
    chaddr: str = MAC,
    broadcast: bool = False,
    giaddr: str = "0.0.0.0",
) -> bytes:
    bootp = BOOTP(
        chaddr=mac_bytes(Mac(int(chaddr.replace(":", ""), 16))),
        xid=0x1234ABCD,
        ciaddr=ciaddr,
        giaddr=giaddr,
        flags=0x8000 if broadcast else 0,
    )
    frame = (
        Ether(src=chaddr, dst="ff:ff:ff:ff:ff:ff")
        / IP(src=ciaddr, dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / bootp
        / DHCP(options=[("message-type", kind), *options, "end"])
    )
    return bytes(frame)


def answered(frame: bytes, port: Port = PORT, subnet: Subnet = SUBNET) -> Ether:
    reply = answer_frame(frame, port, SEGMENT, subnet, ROUTER)
    assert reply is not None
    return Ether(reply)


def options(frame: Ether) -> dict[str, object]:
    found = {}
    for option in frame[DHCP].options:
        if isinstance(option, tuple):
            found[option[0]] = option[1] if len(option) == 2 else option[1:]
    return found


OFFER, ACK, NAK = 2, 5, 6


def test_a_discover_is_offered_the_port_s_address_with_all_that_a_guest_needs() -> None:
    frame = answered(question("discover"))
    assert frame[BOOTP].yiaddr == "10.0.1.5"
    assert frame[BOOTP].xid == 0x1234ABCD
    assert options(frame) == {
        "message-type": OFFER,
        "server_id": "10.0.1.1",
        "lease_time": 7200,
        "subnet_mask": "255.255.255.192",
        "router": "10.0.1.1",
        "name_server": "10.0.0.53",
        "interface-mtu": 1442,
    }


def test_the_answer_goes_to_the_client_s_new_address_unless_it_asks_for_broadcast() -> None:
    frame = answered(question("discover"))
    assert (frame.src, frame.dst) == ("12:34:56:78:9a:bc", MAC)
    assert (frame[IP].src, frame[IP].dst) == ("10.0.1.1", "10.0.1.5")
    frame = answered(question("discover", broadcast=True))
    assert (frame.dst, frame[IP].dst) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255")


def test_a_request_for_the_port_s_address_is_acknowledged_in_every_client_state() -> None:
    selecting = question("request", ("requested_addr", "10.0.1.5"), ("server_id", "10.0.1.1"))
    rebooting = question("request", ("requested_addr", "10.0.1.5"))
    renewing = question("request", ciaddr="10.0.1.5")
    for frame in (selecting, rebooting, renewing):
        assert options(answered(frame))["message-type"] == ACK
    assert answered(renewing)[BOOTP].ciaddr == "10.0.1.5"


def test_a_request_for_another_address_is_refused_by_broadcast_so_that_the_client_starts_over() -> (
    None
):
    frame = answered(question("request", ("requested_addr", "10.0.1.9")))
    assert options(frame)["message-type"] == NAK
    assert (frame.dst, frame[IP].dst) == ("ff:ff:ff:ff:ff:ff", "255.255.255.255")
    assert frame[BOOTP].yiaddr == "0.0.0.0"


def test_an_inform_is_told_everything_but_an_address_and_a_lease() -> None:
    frame = answered(question("inform", ciaddr="10.0.1.5"))
    found = options(frame)
    assert frame[BOOTP].yiaddr == "0.0.0.0"
    assert "lease_time" not in found
    assert found["message-type"] == ACK
    assert found["interface-mtu"] == 1442


@pytest.mark.parametrize(
    "frame",
    [
        question("request", ("requested_addr", "10.0.1.5"), ("server_id", "10.0.1.77")),
        question("release", ciaddr="10.0.1.5"),
        question("decline", ("requested_addr", "10.0.1.5")),
        question("discover", chaddr="02:00:00:00:00:66"),
        question("discover", giaddr="10.0.1.77"),
    ],
    ids=["another server's", "release", "decline", "another client's", "relayed"],
)
def test_what_is_not_for_this_server_is_met_with_silence(frame: bytes) -> None:
    assert answer_frame(frame, PORT, SEGMENT, SUBNET, ROUTER) is None


def test_classless_routes_carry_the_default_route_too() -> None:
    subnet = Subnet(
        segment="n/s",
        prefix="10.0.1.0/26",
        gateway="10.0.1.1",
        host_routes=routes("198.51.100.0/24 10.0.1.9"),
    )
    told = options(answered(question("discover"), subnet=subnet))["classless_static_routes"]
    assert told == ("198.51.100.0/24:10.0.1.9", "0.0.0.0/0:10.0.1.1") or told == [
        "198.51.100.0/24:10.0.1.9",
        "0.0.0.0/0:10.0.1.1",
    ]


def test_a_port_s_own_dns_servers_replace_the_network_s() -> None:
    own = Port(
        id="p",
        segment="n/s",
        mac=MAC,
        addresses=("10.0.1.5",),
        dhcp_address="10.0.1.5",
        dns=("10.0.0.99",),
    )
    assert options(answered(question("discover"), port=own))["name_server"] == "10.0.0.99"


def test_an_isolated_subnet_offers_no_router() -> None:
    found = options(
        answered(question("discover"), subnet=Subnet(segment="n/s", prefix="10.0.1.0/26"))
    )
    assert "router" not in found
    assert found["server_id"] == "10.0.1.1"


def test_bytes_that_are_no_dhcp_message_are_called_malformed() -> None:
    whole = question("discover")
    for end in (0, 13, 30, 40, 100, len(whole) - 20):
        with pytest.raises(Malformed):
            answer_frame(whole[:end], PORT, SEGMENT, SUBNET, ROUTER)
