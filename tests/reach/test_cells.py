# SPDX-License-Identifier: Apache-2.0
"""The cells into which rules cut the space of packets: one packet of each tells all."""

from __future__ import annotations

import pytest

from isthmus.policy.rows import Rule
from isthmus.reach.cells import TooMany, cells, overlap
from tests.reach.cloud import port, rule, world

WEB = rule("web", ports="80-89", family=4)
PART = rule("part", ports="85-94", family=4)
DATAGRAMS = rule("datagrams", protocol=17, ports="80-89", family=4)
NEAR = rule("near", ports="80-89", source="10.0.1.0/24", family=4)
FAR = rule("far", ports="80-89", source="10.0.2.0/24", family=4)
SIX = rule("six", ports="80-89", family=6)
ANY = rule("any", protocol=-1)


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (WEB, PART, True),
        (WEB, rule("above", ports="90-99"), False),
        (rule(source_ports="1-9"), rule(source_ports="10-19"), False),
        (WEB, DATAGRAMS, False),
        (WEB, ANY, True),
        (NEAR, FAR, False),
        (NEAR, rule("inside", source="10.0.1.128/25"), True),
        (NEAR, rule("word", source="INTERNET"), True),
        (NEAR, rule("group", source_groups=("g",)), True),
        (WEB, SIX, False),
        (rule(destination="10.0.1.0/24"), rule(destination="fd00::/64"), False),
    ],
)
def test_rules_overlap_where_some_packet_may_match_both(one: Rule, other: Rule, meet: bool) -> None:
    assert overlap(one, other) is overlap(other, one) is meet


def matched_by_port(*rules: Rule) -> set[tuple[tuple[int, int], int]]:
    """Of IPv4 TCP: the ranges of ports of the cells, and the rules that match there."""
    where = world(port())
    return {
        (cell.ports, cell.matched[0])
        for cell in cells(rules, [where], "red")
        if cell.packet.protocol == 6 and ":" not in str(cell.packet.source)
    }


def test_ranges_of_ports_are_cut_where_either_rule_begins_or_ends() -> None:
    found = matched_by_port(WEB, PART)
    assert {one for one in found if one[1]} == {((80, 84), 1), ((85, 89), 3), ((90, 94), 2)}


def test_each_family_has_its_own_icmp_only() -> None:
    where = world(port(six=True))
    found = list(cells([rule("any", protocol=-1), rule("ping", protocol=1)], [where], "red"))
    kinds = {(cell.packet.source.version, cell.packet.protocol) for cell in found}
    assert (4, 1) in kinds and (6, 58) in kinds
    assert (4, 58) not in kinds and (6, 1) not in kinds


def test_a_part_that_nobody_wants_is_not_cut() -> None:
    where = world(port())
    wanted = list(cells([WEB, DATAGRAMS], [where], "red", lambda rules: rules & 2))
    assert {cell.packet.protocol for cell in wanted} == {17}


def test_who_would_wait_too_long_is_told_so() -> None:
    with pytest.raises(TooMany):
        list(cells([WEB, PART, NEAR, FAR], [world(port())], "red", most=5))
