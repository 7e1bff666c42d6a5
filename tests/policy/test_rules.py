# SPDX-License-Identifier: Apache-2.0
"""What rule sets mean: the order of their rules, their defaults, what ends by name stand for."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.rows import Rule
from isthmus.policy.rules import (
    ANY_PROTOCOL,
    INTERNET,
    LOAD_BALANCER,
    VIRTUAL_NETWORK,
    Level,
    merged,
    networks,
    protocols,
    speaks_of,
)
from tests.reach.cloud import rule, rule_set

SPACE = ("10.0.0.0/16", "fd00::/48")
ROUTERS = ("10.0.1.1", "fd00::1")


def test_rules_of_all_lists_stand_by_priority_then_denying_then_stateless_ones_first() -> None:
    in_order = [
        rule("late-name", "allow", of="b", priority=1),
        rule("denies", "deny", of="b", priority=2),
        rule("alone", "allow", of="b", priority=2, stateless=True),
        rule("a", "allow", of="a", priority=2),
        rule("b", "allow", of="a", priority=2),
        rule("early-list", "deny", of="a", priority=3),
    ]
    sets = [rule_set("a"), rule_set("b")]
    for mixed in list(permutations(in_order))[::7]:
        assert merged(sets, mixed, "in").rules == tuple(in_order)


def test_a_level_has_the_rules_of_its_direction_only() -> None:
    inward, outward = rule("i"), rule("o", direction="out")
    assert merged([rule_set()], [inward, outward], "in").rules == (inward,)
    assert merged([rule_set()], [inward, outward], "out").rules == (outward,)


@pytest.mark.parametrize(
    ("defaults", "allows"),
    [((), True), (("allow",), True), (("deny",), False), (("allow", "deny"), False)],
)
def test_a_level_denies_by_default_if_any_of_its_lists_does(
    defaults: tuple[str, ...], allows: bool
) -> None:
    sets = [rule_set(f"s{n}", one, "allow") for n, one in enumerate(defaults)]
    assert merged(sets, [], "in").allow_by_default is allows
    assert merged(sets, [], "out").allow_by_default is True


def test_a_level_without_rules_that_allows_is_open_and_no_other_is() -> None:
    assert merged([rule_set()], [], "in").is_open
    assert not merged([rule_set("s", "deny")], [], "in").is_open
    assert not merged([rule_set()], [rule(action="deny")], "in").is_open


def test_a_level_has_a_stateless_rule_if_one_allows_something() -> None:
    def level(*rules: Rule) -> Level:
        return merged([rule_set()], rules, "in")

    assert level(rule("a", "allow", stateless=True), rule("d")).has_stateless
    assert not level(rule("d", "deny", stateless=True)).has_stateless
    assert not level(rule("a", "allow")).has_stateless


def test_ports_of_a_rule_of_any_protocol_are_those_of_tcp_and_udp() -> None:
    assert protocols(rule(protocol=ANY_PROTOCOL)) == (ANY_PROTOCOL,)
    assert protocols(rule(protocol=ANY_PROTOCOL, ports="80-80")) == (6, 17)
    assert protocols(rule(protocol=ANY_PROTOCOL, source_ports="1-9")) == (6, 17)
    assert protocols(rule(protocol=132, ports="80-80")) == (132,)


def test_a_rule_speaks_of_its_own_protocol_or_of_all() -> None:
    assert [speaks_of(rule(protocol=6), number) for number in (6, 17)] == [True, False]
    everything = rule(protocol=ANY_PROTOCOL)
    assert [speaks_of(everything, number) for number in (0, 6, 47, 255)] == [True] * 4
    ported = rule(protocol=ANY_PROTOCOL, ports="80-80")
    assert [speaks_of(ported, number) for number in (6, 17, 132, 1)] == [True, True, False, False]


def test_an_end_of_a_rule_is_everything_a_prefix_or_what_its_word_says() -> None:
    def texts(end: str, family: int) -> list[str]:
        return [str(one) for one in networks(end, family, SPACE, ROUTERS)]

    assert texts("", 4) == ["0.0.0.0/0"]
    assert texts("", 6) == ["::/0"]
    assert texts("192.0.2.0/24", 4) == ["192.0.2.0/24"]
    assert texts("192.0.2.0/24", 6) == []
    assert texts(VIRTUAL_NETWORK, 4) == ["10.0.0.0/16"]
    assert texts(VIRTUAL_NETWORK, 6) == ["fd00::/48"]
    assert texts(LOAD_BALANCER, 4) == ["10.0.1.1/32"]
    assert texts(LOAD_BALANCER, 6) == ["fd00::1/128"]


_prefixes = st.builds(
    lambda number, length: str(ip_network((number >> (32 - length) << (32 - length), length))),
    st.integers(0, (1 << 32) - 1),
    st.integers(1, 32),
)


@given(st.lists(_prefixes, max_size=5), st.integers(0, (1 << 32) - 1))
def test_the_internet_is_every_address_outside_the_network(space: list[str], number: int) -> None:
    address = ip_address(number)
    inside = any(address in ip_network(one) for one in space)
    outside = any(address in one for one in networks(INTERNET, 4, space, ()))
    assert outside is not inside
