# SPDX-License-Identifier: Apache-2.0
"""The headers of a packet in Open vSwitch's words and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire.header_fields import fields_of, headers_of
from isthmus.wire.headers import ICMP, ICMPV6, PORTED, Headers

TRACES = Path(__file__).parents[1] / "switches" / "traces"


@st.composite
def packets(draw: st.DrawFn) -> Headers:
    six = draw(st.booleans())
    addresses = st.ip_addresses(v=6 if six else 4).map(str)
    source, destination = draw(addresses), draw(addresses)
    own = ICMPV6 if six else ICMP
    protocol = draw(st.sampled_from((own, 47, *PORTED)))
    ports = [draw(st.integers(0, 0xFFFF)) if protocol in PORTED else 0 for _ in range(2)]
    kind = [draw(st.integers(0, 0xFF)) if protocol == own else 0 for _ in range(2)]
    return Headers(
        source_mac="02:00:00:00:00:01",
        destination_mac=draw(st.sampled_from(("02:00:00:00:00:02", "ff:ff:ff:ff:ff:ff"))),
        source=source,
        destination=destination,
        protocol=protocol,
        ttl=draw(st.integers(0, 0xFF)),
        source_port=ports[0],
        destination_port=ports[1],
        icmp_type=kind[0],
        icmp_code=kind[1],
        fragment=draw(st.sampled_from(("", "first", "later"))),
    )


@given(packets())
def test_a_packet_is_the_same_after_it_was_written_in_the_switch_s_words(packet: Headers) -> None:
    assert headers_of(fields_of(packet)) == packet


def test_the_words_are_those_that_a_trace_is_asked_with() -> None:
    packet = Headers(
        source_mac="02:00:00:00:00:01",
        destination_mac="02:00:00:00:00:02",
        source="fd00::1",
        destination="fd00::2",
        protocol=ICMPV6,
        icmp_type=128,
    )
    assert fields_of(packet) == {
        **{"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02", "icmp6": ""},
        **{"ipv6_src": "fd00::1", "ipv6_dst": "fd00::2", "nw_ttl": "64"},
        **{"icmp_type": "128", "icmp_code": "0"},
    }


@pytest.mark.parametrize("name", ["from-vxlan", "dhcp", "ipv6-to-ruled-2", "gateway"])
def test_what_a_real_switch_writes_of_a_packet_is_read(name: str) -> None:
    lines = json.loads((TRACES / f"{name}.json").read_text())["said"]
    (flow,) = [line.removeprefix("Flow: ") for line in lines if line.startswith("Flow: ")]
    fields = dict((*part.split("=", 1), "")[:2] for part in flow.split(","))
    found = headers_of(fields)
    assert (found.source_mac, found.destination_mac) == (fields["dl_src"], fields["dl_dst"])
    assert found.destination == fields["ipv6_dst" if found.family == 6 else "nw_dst"]
    assert headers_of(fields_of(found)) == found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"arp": "", "dl_src": "02:00:00:00:00:01", "dl_dst": "02:00:00:00:00:02"},
        {**{"eth_src": "x", "eth_dst": "x", "tcp": ""}, "nw_src": "10.0.0.1", "nw_dst": "10.0.0.2"},
        {
            **{"eth_src": "02:00:00:00:00:01", "eth_dst": "02:00:00:00:00:02", "nw_proto": "x"},
            **{"nw_src": "10.0.0.1", "nw_dst": "10.0.0.2"},
        },
    ],
)
def test_what_is_no_ip_packet_has_no_headers(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        headers_of(fields)
