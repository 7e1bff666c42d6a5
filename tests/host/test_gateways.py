# SPDX-License-Identifier: Apache-2.0
"""As whom a host speaks with its guests."""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.addresses import parse_mac
from isthmus.host.gateways import SERVER_MAC, speaking_address, speaking_mac
from isthmus.host.program import Program, engine_of
from isthmus.policy.rows import Router, RouterPort
from isthmus.policy.values import LegKind
from tests.switches.policy_rows import ROUTER_MAC, network_rows, put


def test_a_host_speaks_as_the_router_of_the_segment() -> None:
    engine = engine_of(Program())
    put(engine, *network_rows("red"))
    assert speaking_mac(engine, "red/a") == parse_mac(ROUTER_MAC)
    assert speaking_address(engine, "red/a") == IPv4Address("10.0.1.1")


def test_until_the_router_is_known_nobody_speaks() -> None:
    engine = engine_of(Program())
    put(engine, *(row for row in network_rows("red") if not isinstance(row, Router)))
    assert speaking_mac(engine, "red/a") is None


def test_a_peer_s_router_does_not_speak_here() -> None:
    engine = engine_of(Program())
    put(
        engine,
        RouterPort(router="blue", segment="red/a", kind=LegKind.PEER, addresses=("10.9.9.9/24",)),
    )
    assert speaking_mac(engine, "red/a") == SERVER_MAC
    assert speaking_address(engine, "red/a") is None
