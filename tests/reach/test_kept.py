# SPDX-License-Identifier: Apache-2.0
"""A world that is kept row by row is the one made of all rows at once, whatever changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    PhysicalNetwork,
    Port,
    PortStatus,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.reach.kept import KeptWorld
from isthmus.reach.world import World
from tests.names import HOSTILE
from tests.reach.cloud import contents

NAMES = st.sampled_from((*HOSTILE[:4], "in db", "segment db"))
SEGMENTS = st.sampled_from([f"{one}/{other}" for one in HOSTILE[:3] for other in HOSTILE[:2]])
HOSTS = st.sampled_from(("h1", "h2", HOSTILE[2]))
ADDRESSES = st.sampled_from(("10.0.1.4", "10.0.1.5", "fd00::1"))
PROVIDER_ADDRESSES = st.sampled_from(("192.0.2.1", "192.0.2.2", "0.0.0.0"))  # the last is none
MAC = "02:00:00:00:00:01"
GROUPS = st.lists(NAMES, unique=True, max_size=2).map(lambda found: tuple(sorted(found)))
APPLIED = st.lists(
    st.builds("{} {} {}".format, st.sampled_from(("subnet", "interface")), st.just("*"), NAMES),
    unique=True,
    max_size=2,
).map(lambda found: tuple(sorted(found)))

ROWS: st.SearchStrategy[Row] = st.one_of(
    st.builds(PhysicalNetwork, name=NAMES, mtu_bytes=st.sampled_from((1500, -1))),
    st.builds(Segment, id=SEGMENTS, physical_network=NAMES),
    st.builds(
        Subnet, segment=SEGMENTS, prefix=st.sampled_from(("10.0.1.0/24", "10.0.0.0/8", "none"))
    ),
    st.builds(Router, id=NAMES, rdid=st.sampled_from((1, 2)), mac=st.just(MAC)),
    st.builds(
        RouterPort,
        router=NAMES,
        segment=SEGMENTS,
        addresses=st.sampled_from((("10.0.1.1/24",), ())),
        kind=st.sampled_from(("internal", "peer")),
    ),
    st.builds(
        Port,
        id=NAMES,
        segment=SEGMENTS,
        mac=st.just(MAC),
        addresses=st.lists(ADDRESSES, unique=True, max_size=2).map(tuple),
        hosts=st.sampled_from(((), ("h1",))),
        profile_id=st.sampled_from(("", "profile")),
        rule_sets=APPLIED,
        groups=GROUPS,
    ),
    st.builds(RuleSet, id=NAMES, in_default=st.sampled_from(("allow", "deny"))),
    st.builds(
        Rule,
        rule_set=NAMES,
        id=NAMES,
        direction=st.sampled_from(("in", "out")),
        priority=st.just(100),
        action=st.sampled_from(("allow", "deny", "perhaps")),
        source_groups=GROUPS,
        destination_groups=GROUPS,
    ),
    st.builds(Host, id=HOSTS, certificate_name=HOSTS),
    st.builds(
        HostStatus,
        host=HOSTS,
        provider_addresses=st.lists(PROVIDER_ADDRESSES, unique=True, max_size=2).map(tuple),
    ),
    st.builds(Heartbeat, host=HOSTS, at_s=st.sampled_from((1, -1))),
    st.builds(
        Claim,
        port=NAMES,
        host=HOSTS,
        segment=SEGMENTS,
        provider_address=PROVIDER_ADDRESSES,
        state=st.sampled_from(("active", "standby", "maybe")),
        sequence=st.sampled_from((0, 1)),
    ),
    st.builds(
        PortStatus,
        port=NAMES,
        host=HOSTS,
        segment=SEGMENTS,
        state=st.sampled_from(("up", "error", "odd")),
    ),
    st.builds(
        LearnedAddress,
        address=ADDRESSES,
        port=NAMES,
        host=HOSTS,
        segment=SEGMENTS,
        mac=st.sampled_from((MAC, "none")),
    ),
)
STEPS = st.lists(st.tuples(ROWS, st.booleans()), max_size=40)
"""Rows that come, or go if they are there."""

Held = dict[tuple[type[Row], object], Row]


def changes_of(steps: list[tuple[Row, bool]], held: Held) -> list[tuple[Row | None, Row | None]]:
    """What a replica would tell of these steps; `held` is what it holds after them."""
    found: list[tuple[Row | None, Row | None]] = []
    for row, goes in steps:
        place = type(row), row.key
        old = held.pop(place, None)
        new = None if goes and old is not None else row
        if new is not None:
            held[place] = new
        found.append((old, new))
    return found


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_whatever_changes_a_kept_world_is_the_one_made_of_all_rows(
    steps: list[tuple[Row, bool]],
) -> None:
    held: Held = {}
    kept = KeptWorld()
    for old, new in changes_of(steps, held):
        kept.change(old, new)
    assert contents(kept.now) == contents(World(held.values()))


@settings(max_examples=300, deadline=None)
@given(STEPS, STEPS, STEPS)
def test_a_world_laid_over_another_is_the_one_made_of_its_rows_and_the_lower_one_stays(
    first: list[tuple[Row, bool]], then: list[tuple[Row, bool]], last: list[tuple[Row, bool]]
) -> None:
    held: Held = {}
    below = World()
    for change in changes_of(first, held):
        below.change(*change)
    before = contents(below)
    over = below.changed(changes_of(then, held))
    middle = contents(over)
    assert middle == contents(World(held.values()))
    assert answers(over) == answers(World(held.values()))
    again = over.changed(changes_of(last, held))
    assert contents(again) == contents(World(held.values()))
    assert (contents(below), contents(over)) == (before, middle)


def answers(world: World) -> list[object]:
    """What is asked of a world, whatever it is made of."""
    domains = {world.domain_of(segment) for segment in world.segments} | {*world.routers}
    groups = {group for _, group in world.ports_by_group}
    return [
        {domain: sorted(world.segments_of(domain)) for domain in domains},
        {(d, a): world.port_at(d, a) for d in domains for a in ("10.0.1.4", "fd00::1")},
        {(d, g): world.members(d, g) for d in domains for g in groups},
        {port: (world.claim_of(port), world.status_of(port)) for port in world.ports},
        world.unknown_claims(),
        {address: world.host_at(address) for address in world.hosts_by_address},
    ]


@settings(max_examples=200, deadline=None)
@given(STEPS, STEPS, STEPS)
def test_who_looks_for_long_sees_no_change_and_all_others_do(
    first: list[tuple[Row, bool]], meanwhile: list[tuple[Row, bool]], then: list[tuple[Row, bool]]
) -> None:
    held: Held = {}
    kept = KeptWorld()
    for change in changes_of(first, held):
        kept.change(*change)
    with kept.still() as world:
        seen = contents(world)
        for change in changes_of(meanwhile, held):
            kept.change(*change)
        assert contents(world) == seen
        assert contents(kept.now) == contents(World(held.values()))
    assert kept.now is world, "what was laid over it has gone"
    assert contents(kept.now) == contents(World(held.values()))
    for change in changes_of(then, held):
        kept.change(*change)
    assert contents(kept.now) == contents(World(held.values()))


def test_two_do_not_look_for_long_at_once() -> None:
    kept = KeptWorld()
    with kept.still(), pytest.raises(AssertionError, match="already"), kept.still():
        pass
