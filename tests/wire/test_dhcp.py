# SPDX-License-Identifier: Apache-2.0
"""DHCP messages; scapy builds what we read and reads what we build."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from isthmus.addresses import Mac
from isthmus.wire import dhcp
from isthmus.wire.malformed import Malformed
from tests.wire.mutation import almost

CLIENT = Mac(0x020000000001)
CHADDR = bytes.fromhex("020000000001")


def asked(*options: object, **fields: Any) -> bytes:
    """What a client sends, by scapy, whose fields take what they like."""
    head: dict[str, Any] = {"op": 1, "chaddr": CHADDR, "xid": 0x1234, **fields}
    return bytes(BOOTP(**head) / DHCP(options=[*options, "end"]))


FULL = asked(
    ("message-type", "request"),
    ("client_id", b"\x01" + CHADDR),
    ("requested_addr", "10.0.0.4"),
    ("server_id", "10.0.0.1"),
    ("max_dhcp_size", 1400),
    ("vendor_class_id", b"udhcp 1.35"),
    ("hostname", b"guest"),
    ("param_req_list", [1, 3, 6, 121, 26]),
    ("relay_agent_information", b"\x01\x04abcd"),
    flags=0x8000,
    secs=3,
    ciaddr="10.0.0.9",
    giaddr="10.0.0.254",
)

OFFER = dhcp.Reply(
    kind=dhcp.Kind.OFFER,
    xid=0x1234,
    chaddr=CLIENT,
    server_id=IPv4Address("10.0.0.1"),
    broadcast=True,
    yiaddr=IPv4Address("10.0.0.4"),
    siaddr=IPv4Address("10.0.0.1"),
    giaddr=IPv4Address("10.0.0.254"),
    lease_s=86_400,
    renewal_s=43_200,
    rebinding_s=75_600,
    subnet_mask=IPv4Address("255.255.255.0"),
    routers=(IPv4Address("10.0.0.1"),),
    dns_servers=(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")),
    host_name=b"guest",
    domain_name=b"example.org",
    mtu_bytes=1450,
    client_id=b"\x01" + CHADDR,
    relay_agent_information=b"\x01\x04abcd",
)


def options_read(data: bytes) -> dict[str, object]:
    """Our message's options, read by scapy."""
    return {
        option[0]: option[1] if len(option) == 2 else option[1:]
        for option in BOOTP(data)[DHCP].options
        if isinstance(option, tuple)
    }


def test_a_request_of_scapy_is_read_in_full() -> None:
    assert dhcp.parse(FULL) == dhcp.Request(
        kind=dhcp.Kind.REQUEST,
        xid=0x1234,
        chaddr=CLIENT,
        broadcast=True,
        secs=3,
        ciaddr=IPv4Address("10.0.0.9"),
        giaddr=IPv4Address("10.0.0.254"),
        requested_address=IPv4Address("10.0.0.4"),
        server_id=IPv4Address("10.0.0.1"),
        parameters=(1, 3, 6, 121, 26),
        client_id=b"\x01" + CHADDR,
        host_name=b"guest",
        vendor_class=b"udhcp 1.35",
        max_message_size=1400,
        relay_agent_information=b"\x01\x04abcd",
    )


def test_a_bare_discover_has_nothing_else() -> None:
    assert dhcp.parse(asked(("message-type", "discover"))) == dhcp.Request(
        kind=dhcp.Kind.DISCOVER, xid=0x1234, chaddr=CLIENT, broadcast=False
    )


def test_our_offer_is_read_by_scapy() -> None:
    data = dhcp.build(OFFER)
    read = BOOTP(data)
    assert (read.op, read.xid, read.flags, read.chaddr[:6]) == (2, 0x1234, "B", CHADDR)
    assert (read.yiaddr, read.siaddr, read.giaddr) == ("10.0.0.4", "10.0.0.1", "10.0.0.254")
    assert read.ciaddr == "0.0.0.0"
    assert options_read(data) == {
        "message-type": 2,
        "server_id": "10.0.0.1",
        "lease_time": 86_400,
        "renewal_time": 43_200,
        "rebinding_time": 75_600,
        "subnet_mask": "255.255.255.0",
        "router": "10.0.0.1",
        "name_server": ("10.0.0.2", "10.0.0.3"),
        "interface-mtu": 1450,
        "hostname": b"guest",
        "domain": b"example.org",
        "client_id": b"\x01" + CHADDR,
        "relay_agent_information": b"\x01\x04abcd",
    }


def test_messages_are_at_least_300_bytes_long_and_end_in_the_relay_option() -> None:
    short = dhcp.Reply(dhcp.Kind.NAK, 1, CLIENT, IPv4Address("10.0.0.1"), message="gone")
    data = dhcp.build(short)
    assert len(data) == 300
    assert options_read(data) == {
        "message-type": 6,
        "server_id": "10.0.0.1",
        "error_message": b"gone",
    }
    assert dhcp.build(OFFER).rstrip(b"\0").endswith(b"\x52\x06\x01\x04abcd\xff")


def test_classless_routes_are_packed_as_in_the_rfc() -> None:
    # RFC 3442, "Classless Route Option Format": the table of examples.
    examples = {
        "0.0.0.0/0": "00",
        "10.0.0.0/8": "08 0a",
        "10.0.0.0/24": "18 0a0000",
        "10.17.0.0/16": "10 0a11",
        "10.27.129.0/24": "18 0a1b81",
        "10.229.0.128/25": "19 0ae50080",
        "10.198.122.47/32": "20 0ac67a2f",
    }
    hop = IPv4Address("10.0.0.1")
    routes = tuple(dhcp.Route(IPv4Network(prefix), hop) for prefix in examples)
    packed = b"".join(bytes.fromhex(text) + hop.packed for text in examples.values())
    data = dhcp.build(replace(OFFER, routes=routes))
    assert bytes([121, len(packed)]) + packed in data
    assert data.index(b"\x79" + bytes([len(packed)])) < data.index(b"\x03\x04\x0a\x00\x00\x01")


def test_a_long_option_is_sent_in_parts() -> None:
    hop = IPv4Address("10.0.0.1")
    routes = tuple(dhcp.Route(IPv4Network((n << 8, 32)), hop) for n in range(1, 101))
    data = dhcp.build(replace(OFFER, routes=routes))
    parts, start = [], 240
    while data[start] != 255:
        code, length = data[start : start + 2]
        parts.append((code, data[start + 2 : start + 2 + length]))
        start += 2 + length
    of_routes = [value for code, value in parts if code == 121]
    assert [len(value) for value in of_routes] == [255, 255, 255, 900 - 3 * 255]
    packed = (b"\x20" + route.destination.network_address.packed + hop.packed for route in routes)
    assert b"".join(of_routes) == b"".join(packed)


def test_an_option_in_parts_is_put_together() -> None:
    parts = (("client_id", b"a" * 200), ("client_id", b"b" * 100))
    request = dhcp.parse(asked(("message-type", "discover"), *parts))
    assert request.client_id == b"a" * 200 + b"b" * 100


@pytest.mark.parametrize(
    ("overload", "host_name", "vendor_class"),
    [(1, b"name", b"abcd"), (2, None, b"abef"), (3, b"name", b"abcdef")],
)
def test_overloaded_fields_are_read_after_the_options(
    overload: int, host_name: bytes | None, vendor_class: bytes
) -> None:
    file = bytes([12, 4]) + b"name" + bytes([60, 2]) + b"cd\xff"
    sname = bytes([60, 2]) + b"ef\xff"
    request = dhcp.parse(
        asked(
            ("message-type", "discover"),
            ("dhcp-option-overload", overload),
            ("vendor_class_id", b"ab"),
            file=file.ljust(128, b"\0"),
            sname=sname.ljust(64, b"\0"),
        )
    )
    assert (request.host_name, request.vendor_class) == (host_name, vendor_class)


def test_without_overload_the_file_field_holds_no_options() -> None:
    file = (bytes([12, 4]) + b"name\xff").ljust(128, b"\0")
    assert dhcp.parse(asked(("message-type", "discover"), file=file)).host_name is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (FULL[:239], "239 bytes"),
        (asked(("message-type", "discover"), op=2), "op 2"),
        (asked(("message-type", "discover"), hlen=5), "hardware 1"),
        (asked(("message-type", "discover"), htype=32), "hardware 32"),
        (asked(("message-type", 9)), "type 9"),
        (asked(("hostname", b"x")), "type None"),
        (FULL[:236] + b"abcd" + FULL[240:], "magic"),
        (FULL[:240] + b"\x35", "option 53 is cut short"),
        (FULL[:240] + b"\x35\x02\x01", "option 53 is cut short"),
        (FULL[:240] + b"\x35\x02\x01\x01\xff", "2 bytes long"),
        (FULL[:240] + b"\x35\x01\x01\x32\x03abc\xff", "3 bytes long"),
        (FULL[:240] + b"\x35\x01\x01\x34\x01\x04\xff", "overload 4"),
    ],
)
def test_what_is_no_client_message_is_malformed(data: bytes, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        dhcp.parse(data)


@given(almost([FULL, asked(("message-type", "discover")), dhcp.build(OFFER)]))
def test_any_bytes_give_a_value_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        dhcp.parse(data)


@given(st.binary(max_size=600))
def test_any_options_give_a_value_or_malformed(options: bytes) -> None:
    with suppress(Malformed):
        dhcp.parse(FULL[:240] + options)
