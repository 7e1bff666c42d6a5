# SPDX-License-Identifier: Apache-2.0
"""Desired rows that no deriver has written: what cannot be read closes, and opens nothing."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.observed import MOST_COUNT, MOST_QUESTION, believable
from isthmus.policy.rows import (
    DESIRED,
    Host,
    PhysicalNetwork,
    Port,
    Probe,
    Query,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.policy.rules import merged
from isthmus.policy.values import Action, Direction
from tests.policy.test_observed import ADDRESSES, NUMBERS, SEGMENT, SETS, TEXTS
from tests.switches.policy_rows import network_rows, port
from tests.texts import applied, as_stored, pairs, ports, routes

PREFIXES = st.one_of(ADDRESSES, st.sampled_from(["10.0.1.0/24", "10.0.1.1/24", "fd00::/64", "::"]))
MACS = st.one_of(TEXTS, st.sampled_from(["02:00:00:00:00:01", "02-00-00-00-00-01"]))
SEGMENTS = st.one_of(st.just(SEGMENT), TEXTS)
IDS = st.one_of(st.sampled_from(["red-a-4", "red-a-5", "red-a-6", "set"]), TEXTS)
TWO = st.one_of(
    st.tuples(PREFIXES, st.one_of(ADDRESSES, MACS)).map(" ".join),
    TEXTS,
    st.just("nonsense"),
)
PAIRS = st.lists(TWO, max_size=3).map(lambda found: tuple(sorted(set(found))))
APPLIED = st.lists(
    st.one_of(TEXTS, st.sampled_from(["subnet * set", "interface 10.0.1.4 set", "interface *"])),
    max_size=3,
).map(lambda found: tuple(sorted(set(found))))
WORDS = st.one_of(TEXTS, st.sampled_from(["allow", "deny", "in", "out", "internal", "peer"]))
SPANS = st.one_of(TEXTS, st.sampled_from(["80-80", "0-65535", "90-80", "1-70000", "-", "٣-٤"]))

DESIRED_ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(partial(as_stored, PhysicalNetwork), name=TEXTS, transports=SETS, mtu_bytes=NUMBERS),
    st.builds(
        partial(as_stored, Segment),
        id=SEGMENTS,
        physical_network=TEXTS,
        transport=TEXTS,
        vsid=NUMBERS,
        mtu_bytes=NUMBERS,
    ),
    st.builds(
        partial(as_stored, Subnet),
        segment=SEGMENTS,
        prefix=PREFIXES,
        gateway=st.one_of(st.none(), ADDRESSES),
        dns=SETS,
        host_routes=PAIRS,
        lease_s=NUMBERS,
    ),
    st.builds(
        partial(as_stored, Router),
        id=st.one_of(st.just("red"), TEXTS),
        rdid=NUMBERS,
        mac=MACS,
        prefixes=SETS,
    ),
    st.builds(
        partial(as_stored, RouterPort),
        router=st.one_of(st.just("red"), TEXTS),
        segment=SEGMENTS,
        addresses=st.lists(PREFIXES, max_size=3).map(lambda f: tuple(sorted(set(f)))),
        kind=WORDS,
    ),
    st.builds(
        partial(as_stored, Port),
        id=IDS,
        segment=SEGMENTS,
        mac=MACS,
        addresses=SETS,
        dhcp_address=ADDRESSES,
        profile_id=TEXTS,
        dns=SETS,
        rule_sets=APPLIED,
        groups=SETS,
        pairs=PAIRS,
        guards=SETS,
        storm_pps=NUMBERS,
    ),
    st.builds(
        partial(as_stored, RuleSet),
        id=st.one_of(st.just("set"), TEXTS),
        in_default=WORDS,
        out_default=WORDS,
    ),
    st.builds(
        partial(as_stored, Rule),
        rule_set=st.one_of(st.just("set"), TEXTS),
        id=TEXTS,
        direction=WORDS,
        priority=NUMBERS,
        action=WORDS,
        family=st.one_of(NUMBERS, st.sampled_from([0, 4, 6])),
        protocol=st.one_of(NUMBERS, st.sampled_from([-1, 1, 6, 17, 132])),
        source=PREFIXES,
        destination=st.one_of(PREFIXES, st.sampled_from(["INTERNET", "VIRTUALNETWORK"])),
        source_groups=SETS,
        source_ports=SPANS,
        destination_ports=SPANS,
        icmp_type=NUMBERS,
        icmp_code=NUMBERS,
        stateless=st.booleans(),
    ),
    st.builds(
        partial(as_stored, Host), id=st.sampled_from(["h1", "h2", "h3"]), certificate_name=TEXTS
    ),
)


@given(DESIRED_ROWS)
def test_what_is_read_keeps_its_key_and_reading_it_again_changes_nothing(row: Row) -> None:
    found = believable(row)
    if found is None:
        return
    assert isinstance(found, DESIRED)
    assert found.key == row.key
    assert believable(found) is found


def test_what_a_deriver_writes_is_read_as_it_is() -> None:
    rows: list[Row] = [
        *network_rows("red"),
        msgspec.structs.replace(
            port("red", "a", 4),
            pairs=pairs("10.0.1.0/24 02:00:00:00:00:01", "fd00::/64 02:00:00:00:00:01"),
            rule_sets=applied("subnet * acl with spaces", "interface fd00::4 acl"),
        ),
        RuleSet(id="acl", in_default=Action.DENY),
        Rule(
            rule_set="acl",
            id="1",
            direction=Direction.IN,
            priority=100,
            action=Action.ALLOW,
            family=4,
        ),
        Rule(
            rule_set="acl",
            id="2",
            direction=Direction.OUT,
            priority=65000,
            action=Action.DENY,
            protocol=17,
            source="INTERNET",
            destination="fd00::/64",
            source_ports=ports("0-65535"),
            destination_ports=ports("53-53"),
        ),
        Probe(number=MOST_COUNT),
        Query(id="1", host="h1", question="counters", deadline_s=-1),
    ]
    assert [believable(row) is row for row in rows] == [True] * len(rows)


@pytest.mark.parametrize(
    "row",
    [
        Segment(id="s", physical_network="p", vsid=-5),
        Segment(id="s", physical_network="p", vsid=1 << 24),
        msgspec.structs.replace(port("red", "a", 4), pairs=pairs("nonsense")),
        msgspec.structs.replace(port("red", "a", 4), mac="02"),
        msgspec.structs.replace(port("red", "a", 4), rule_sets=applied("interface *")),
        Subnet(segment="s", prefix="10.0.1.1/24"),
        Subnet(segment="s", prefix="10.0.1.0/24", host_routes=routes("10.0.0.0/8")),
        Router(id="r", rdid=1 << 24, mac="02:00:00:00:00:01"),
        RouterPort(router="r", segment="s", addresses=("10.0.1.999/24",)),
        Probe(number=(1 << 53) + 5),
        Probe(number=-1),
        Query(id="1", host="h1", question="x" * (MOST_QUESTION + 1), deadline_s=0),
        Query(id="\x1b[2J", host="h1", question="counters", deadline_s=0),
    ],
    ids=repr,
)
def test_a_row_that_cannot_be_computed_with_is_none(row: Row) -> None:
    assert believable(row) is None


def test_a_rule_that_cannot_be_read_denies_and_a_default_that_is_no_word_too() -> None:
    sets = as_stored(RuleSet, id="acl", in_default="Allow", out_default="")
    rule = Rule(
        rule_set="acl",
        id="1",
        direction=Direction.IN,
        priority=7,
        action=Action.ALLOW,
        source="10.0.0.0/33",
        protocol=6,
        destination_ports=ports("80-80"),
    )
    found = [believable(rule)]
    assert found == [
        Rule(rule_set="acl", id="1", direction=Direction.IN, priority=7, action=Action.DENY)
    ]
    default = believable(sets)
    assert default is not None
    for direction in Direction:
        assert not merged([default], [], direction).allow_by_default
