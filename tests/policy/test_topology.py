# SPDX-License-Identifier: Apache-2.0
"""Which router a segment has, and at which addresses."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import permutations

import pytest

from isthmus.policy.rows import RouterPort
from isthmus.policy.topology import (
    gateway,
    gateways,
    is_peer,
    lowest_address,
    own_legs,
    peer_legs,
    router_of,
)
from isthmus.policy.values import LegKind


def leg(router: str, *addresses: str, peer: bool = False, segment: str = "s") -> RouterPort:
    kind = LegKind.PEER if peer else LegKind.INTERNAL
    return RouterPort(router=router, segment=segment, addresses=addresses, kind=kind)


OURS = leg("blue", "10.0.1.1/24", "fd00::1/64")
THEIRS = leg("able", "10.0.1.1/24", peer=True)
SECOND = leg("red", "10.0.1.2/24")


def test_the_router_of_a_segment_is_never_that_of_a_peered_network() -> None:
    for legs in permutations((OURS, THEIRS, SECOND)):
        assert router_of(legs) == "blue"
        assert own_legs(legs) == [OURS, SECOND]
        assert peer_legs(legs) == [THEIRS]
    assert router_of([THEIRS]) is None
    assert router_of([]) is None
    assert (is_peer(THEIRS), is_peer(OURS)) == (True, False)


def test_a_router_has_the_addresses_of_its_own_legs() -> None:
    other = leg("blue", "10.0.0.1/24", segment="t")
    reached = leg("blue", "10.9.9.1/24", peer=True, segment="u")
    assert gateways([OURS, other, reached]) == ["10.0.0.1", "10.0.1.1", "fd00::1"]
    assert gateways([reached]) == []


def test_the_gateway_of_a_segment_is_its_router_s_ipv4_address_there() -> None:
    assert gateway([THEIRS, SECOND, OURS]) == IPv4Address("10.0.1.1")
    assert gateway([leg("blue", "fd00::1/64"), SECOND]) == IPv4Address("10.0.1.2")
    assert gateway([THEIRS]) is None


@pytest.mark.parametrize(
    ("prefix", "lowest"), [("10.0.1.0/24", "10.0.1.1"), ("fd00::/64", "fd00::1")]
)
def test_the_lowest_address_is_the_one_after_the_network_s(prefix: str, lowest: str) -> None:
    assert str(lowest_address(prefix)) == lowest
