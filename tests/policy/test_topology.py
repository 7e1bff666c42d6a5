# SPDX-License-Identifier: Apache-2.0
"""Which routers route in a segment, at which addresses, and what they make one domain."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from itertools import permutations

import pytest

from isthmus.policy.rows import Router, RouterPort, Subnet
from isthmus.policy.topology import (
    Clash,
    domain_of,
    gateway,
    gateways,
    in_order,
    is_peer,
    lowest_address,
    next_hop,
    own_legs,
    peer_legs,
    routers_of,
    routing,
)
from isthmus.policy.values import HostRoute, LegKind


def leg(router: str, *addresses: str, peer: bool = False, segment: str = "s") -> RouterPort:
    kind = LegKind.PEER if peer else LegKind.INTERNAL
    return RouterPort(router=router, segment=segment, addresses=addresses, kind=kind)


OURS = leg("blue", "10.0.1.1/24", "fd00::1/64")
THEIRS = leg("able", "10.0.1.1/24", peer=True)
SECOND = leg("red", "10.0.1.2/24")


def router(name: str, rdid: int, mac: str = "") -> Router:
    return Router(id=name, rdid=rdid, mac=mac or f"02:00:00:00:00:{rdid:02x}")


BLUE, RED = router("blue", 2), router("red", 1)
KNOWN = {"blue": BLUE, "red": RED, "able": router("able", 3)}


def test_the_routers_of_a_segment_are_never_those_of_peered_networks() -> None:
    for legs in permutations((OURS, THEIRS, SECOND)):
        assert routers_of(legs) == ["blue", "red"]
        assert own_legs(legs) == [OURS, SECOND]
        assert peer_legs(legs) == [THEIRS]
        assert routing(legs, KNOWN) == ([SECOND, OURS], [])
    assert routers_of([THEIRS]) == routers_of([]) == []
    assert (is_peer(THEIRS), is_peer(OURS)) == (True, False)


def test_a_router_that_is_not_known_does_not_route() -> None:
    assert routing([OURS, SECOND], {"blue": BLUE}) == ([OURS], [])


@pytest.mark.parametrize(
    ("second", "its_leg", "what"),
    [
        (router("blue", 2, RED.mac), OURS, f"the MAC address {RED.mac}"),
        (router("blue", 1, "02:00:00:00:00:99"), None, "the number 1"),
        (BLUE, leg("blue", "10.0.1.2/24"), "the address 10.0.1.2"),
    ],
)
def test_of_two_routers_that_a_segment_cannot_tell_apart_the_first_routes(
    second: Router, its_leg: RouterPort | None, what: str
) -> None:
    routers = {"red": RED, "blue": second}
    first, other = ("blue", "red") if second.rdid == RED.rdid else ("red", "blue")
    legs = {"red": SECOND, "blue": its_leg or OURS}
    for given in permutations(legs.values()):
        assert routing(given, routers) == ([legs[first]], [Clash(other, first, what)])


def test_routers_are_one_domain_that_come_to_each_other_by_segments() -> None:
    joined = {"a": ["b"], "b": ["a", "c"], "c": ["b"], "lone": []}
    for name in ("a", "b", "c"):
        assert domain_of(name, joined.__getitem__) == {"a", "b", "c"}
    assert domain_of("lone", joined.__getitem__) == {"lone"}
    assert in_order([BLUE, RED]) == [RED, BLUE]


def test_a_router_has_the_addresses_of_its_own_legs() -> None:
    other = leg("blue", "10.0.0.1/24", segment="t")
    reached = leg("blue", "10.9.9.1/24", peer=True, segment="u")
    assert gateways([OURS, other, reached]) == ["10.0.0.1", "10.0.1.1", "fd00::1"]
    assert gateways([reached]) == []


def test_the_gateway_of_a_segment_is_its_router_s_ipv4_address_there() -> None:
    assert gateway(OURS) == IPv4Address("10.0.1.1")
    assert gateway(leg("blue", "fd00::1/64")) is None


def test_a_guest_sends_what_leaves_its_segment_where_dhcp_tells_it_to() -> None:
    routes = (
        HostRoute(ip_network("10.0.0.0/8"), ip_address("10.0.1.3")),
        HostRoute(ip_network("10.9.0.0/16"), ip_address("10.0.1.4")),
    )
    own = Subnet(segment="s", prefix="10.0.1.0/24", gateway="10.0.1.1", host_routes=routes)
    other = Subnet(segment="s", prefix="10.0.2.0/24", gateway=None)

    def hop(source: str, destination: str) -> str:
        return str(next_hop([other, own], ip_address(source), ip_address(destination)))

    assert hop("10.0.1.9", "192.0.2.1") == "10.0.1.1"
    assert hop("10.0.1.9", "10.8.0.1") == "10.0.1.3"
    assert hop("10.0.1.9", "10.9.0.1") == "10.0.1.4"
    assert hop("10.0.2.9", "192.0.2.1") == hop("10.0.3.9", "192.0.2.1") == "None"


@pytest.mark.parametrize(
    ("prefix", "lowest"), [("10.0.1.0/24", "10.0.1.1"), ("fd00::/64", "fd00::1")]
)
def test_the_lowest_address_is_the_one_after_the_network_s(prefix: str, lowest: str) -> None:
    assert str(lowest_address(prefix)) == lowest
