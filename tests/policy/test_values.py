# SPDX-License-Identifier: Apache-2.0
"""Values of columns: what is the same is equal, and each set has one order."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import permutations

from isthmus.policy.values import (
    AppliedSet,
    HostRoute,
    RuleLevel,
    address_order,
    applied_to_all,
    pair_order,
    route_order,
)
from tests.texts import pairs, routes


def test_a_set_for_all_addresses_holds_for_each_and_one_for_an_address_for_that_alone() -> None:
    one = AppliedSet(RuleLevel.SUBNET, "10.0.0.5", "web")
    assert [one.holds_for(text) for text in ("10.0.0.5", "10.0.0.6", "")] == [True, False, False]
    everywhere = applied_to_all(RuleLevel.SUBNET, "web")
    assert [everywhere.holds_for(text) for text in ("10.0.0.5", "fd00::1", "")] == [True] * 3
    assert everywhere is applied_to_all(RuleLevel.SUBNET, "web")


def test_values_of_both_families_have_one_order() -> None:
    listed = pairs(
        "10.0.1.0/24 02:00:00:00:00:01",
        "10.0.1.0/25 02:00:00:00:00:01",
        "10.0.1.0/24 02:00:00:00:00:02",
        "fd00::/64 02:00:00:00:00:01",
    )
    led = routes("10.1.0.0/16 10.0.0.1", "10.1.0.0/16 10.0.0.2", "fd01::/64 fd00::1")
    addresses = [ip_address(text) for text in ("10.0.0.9", "10.0.0.10", "fd00::1")]
    for order in permutations(listed):
        assert sorted(order, key=pair_order) == sorted(listed, key=pair_order)
    assert [*map(len, (listed, led))] == [4, 3]
    for routed in permutations(led):
        assert tuple(sorted(routed, key=route_order)) == led
    for there in permutations(addresses):
        assert sorted(there, key=address_order) == addresses


def test_no_two_host_routes_have_one_place_in_their_order() -> None:
    network = ip_network("10.1.0.0/16")
    routes = [HostRoute(network, ip_address(text)) for text in ("::", "0.0.0.0")]
    assert sorted(routes, key=route_order) == sorted(reversed(routes), key=route_order)
