# SPDX-License-Identifier: Apache-2.0
"""Segments and routing domains in the program: what several routers in one segment change, and what
they do not. What packets do then is in `tests.proof.test_several_routers`."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.engine import Engine
from isthmus.host.facts import Problem
from isthmus.policy.rows import Router, RouterPort, Row, RuleSet
from isthmus.policy.values import Action, LegKind
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import DomainFacts, RouterDomain, SegmentFacts, Wanted
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import ISOLATED, Programmed
from tests.switches.policy_rows import (
    NETWORKS,
    ROUTER_MAC,
    claim,
    compiled,
    flow_texts,
    host_rows,
    local,
    network_rows,
    new_engine,
    port,
    put,
)
from tests.texts import applied, pairs

OWN, PEER = port("red", "a", 4), port("red", "b", 5)
RULED = msgspec.structs.replace(
    port("blue", "a", 6),
    rule_sets=applied("interface * web"),
    pairs=pairs("10.0.1.64/28 02:00:00:00:00:99"),
)
GROUND: list[Row] = [
    *host_rows(),
    *(row for network in NETWORKS for row in network_rows(network)),
    RuleSet(id="web", in_default=Action.DENY),
    *(OWN, PEER, RULED),
    *(claim(OWN, "h1"), claim(PEER, "h2"), claim(RULED, "h2")),
]
EDGE = Router(id="edge", rdid=9, mac="02:00:00:00:ee:01")


def leg(router: str, segment: str, address: str, *, peer: bool = False) -> RouterPort:
    kind = LegKind.PEER if peer else LegKind.INTERNAL
    return RouterPort(router=router, segment=segment, addresses=(address,), kind=kind)


AT_RED = leg("edge", "red/a", "10.0.1.2/24")


def program(*rows: Row) -> Engine:
    return compiled("h1", [*GROUND, *rows, local(OWN, 3), local(RULED, 4)])


def domains(engine: Engine) -> dict[object, int]:
    return {row.segment: row.domain for row in engine.rows(SegmentFacts).values()}


def test_each_routing_domain_has_one_zone_and_its_segments_are_in_it() -> None:
    engine = program()
    assert domains(engine) == {"red/a": 1, "red/b": 1, "blue/a": 2, "blue/b": 2}
    facts = engine.rows(DomainFacts)
    assert {name: row.routers for name, row in facts.items()} == {
        (1, "red"): ("red",),
        (2, "blue"): ("blue",),
    }
    assert facts[1, "red"].zone != facts[2, "blue"].zone


def test_a_segment_without_a_router_is_a_domain_by_itself() -> None:
    rows = [row for row in GROUND if not isinstance(row, Router | RouterPort)]
    engine = compiled("h1", [*rows, local(OWN, 3)])
    assert domains(engine)["red/a"] == ISOLATED | 5001
    assert engine.rows(DomainFacts)[ISOLATED | 5001, "red/a"].routers == ()


def test_a_router_that_joins_changes_no_number_of_the_domain() -> None:
    """Its connections go on in the zone that they have."""
    before, after = program(), program(EDGE, AT_RED)
    assert domains(after) == domains(before)
    assert after.rows(DomainFacts)[1, "red"].routers == ("red", "edge")
    assert after.rows(DomainFacts)[1, "red"].zone == before.rows(DomainFacts)[1, "red"].zone
    assert set(after.rows(Wanted)) == set(before.rows(Wanted))


def test_domains_that_a_router_joins_become_that_of_the_lowest_number() -> None:
    engine = program(EDGE, AT_RED, leg("edge", "blue/b", "10.0.2.2/24"))
    assert set(domains(engine).values()) == {1}
    assert {row.domain for row in engine.rows(RouterDomain).values()} == {1}
    wanted = engine.rows(Wanted).values()
    assert [need.name for need in wanted if need.kind == ZONES] == [(1,)]


def test_a_peering_joins_no_domains() -> None:
    engine = program(leg("red", "blue/a", "10.0.1.1/24", peer=True))
    assert domains(engine)["blue/a"] == 2
    assert {row.routers for row in engine.rows(DomainFacts).values()} == {("red",), ("blue",)}


def test_a_router_elsewhere_changes_no_flow_of_a_domain_with_one() -> None:
    """Nor does a second one change what has to do with ports alone."""
    alone = flow_texts(program())
    both = flow_texts(program(EDGE, AT_RED))
    blue = {text for text in alone if "DOMAIN=0x2" in text or "VSID=0x1393" in text}
    assert blue
    assert blue <= set(both)
    assert not any("ROUTER" in text for text in alone)
    assert any("ROUTER=0x9" in text for text in both)


def test_routers_that_peer_as_well_dispute_no_flow() -> None:
    """Two of one domain lead to the same segments of another, and that one back."""
    core = Router(id="core", rdid=12, mac="02:00:00:00:ee:02")
    engine = program(
        *(EDGE, AT_RED, core, leg("core", "red/b", "10.0.2.3/24")),
        *(leg("red", "blue/a", "10.7.1.1/24", peer=True),),
        *(leg("edge", "blue/a", "10.7.1.1/24", peer=True),),
        *(leg("edge", "red/b", "10.0.2.2/24", peer=True),),
        *(leg("blue", "red/a", "10.6.1.1/24", peer=True),),
    )
    assert not engine.conflicts()
    zones = {need.name for need in engine.rows(Wanted).values() if need.kind == ZONES}
    assert zones == {(1,), (1, 2), (2,)}


def test_the_second_router_with_a_mac_address_does_not_route_and_ports_there_say_so() -> None:
    alike = msgspec.structs.replace(EDGE, mac=ROUTER_MAC)
    engine = program(alike, AT_RED)
    (problem,) = engine.rows(Problem).values()
    assert problem.port == OWN.id
    assert problem.closes == ""
    assert problem.detail == (
        f"the router edge does not route in red/a: red, which routes there, has the MAC address"
        f" {ROUTER_MAC} too: give edge another"
    )
    texts = flow_texts(engine)
    assert not any("TARGET=10.0.1.2" in text or "TARGET=0xa000102" in text for text in texts)
    assert not program(EDGE, AT_RED).rows(Problem)


def test_a_segment_waits_for_all_of_its_routers() -> None:
    """What domain it is in is not known before."""
    engine = program(AT_RED)
    assert "red/a" not in domains(engine)
    put(engine, EDGE)
    Numbers().follow(engine, release=False)
    assert domains(engine)["red/a"] == 1


_ROUTERS = st.sampled_from(
    [
        EDGE,
        msgspec.structs.replace(EDGE, mac=ROUTER_MAC),
        msgspec.structs.replace(EDGE, rdid=0x30),
        Router(id="core", rdid=5, mac="02:00:00:00:ee:02"),
        *(row for row in GROUND if isinstance(row, Router)),
    ]
)
_LEGS = st.builds(
    lambda router, segment, number, is_peer: leg(
        router,
        segment,
        f"10.0.{1 + 'ab'.index(segment[-1])}.{1 if is_peer else number}/24",
        peer=is_peer and not segment.startswith(router),
    ),
    st.sampled_from(("red", "blue", "edge", "core")),
    st.sampled_from(("red/a", "red/b", "blue/a", "blue/b")),
    st.integers(1, 3),
    st.booleans(),
)
_STEPS = st.lists(
    st.tuples(st.one_of(_ROUTERS, _LEGS, st.sampled_from(GROUND)), st.booleans()), max_size=25
)


@given(_STEPS, st.sets(st.integers(0, 24), max_size=5))
@settings(max_examples=60, deadline=None)
def test_routers_that_come_and_go_leave_the_program_made_from_nothing(
    steps: list[tuple[Row, bool]], pauses: set[int]
) -> None:
    engine, numbers = new_engine(), Numbers()
    plugged = local(OWN, 3), local(RULED, 4)
    put(engine, *GROUND, *plugged)
    now = {(type(row), row.key): row for row in GROUND}
    for number, (row, present) in enumerate(steps):
        engine.put(type(row), row.key, row if present else None)
        now.pop((type(row), row.key), None)
        if present:
            now[type(row), row.key] = row
        if number in pauses:
            numbers.follow(engine, release=True)
            numbers.programmed()
    numbers.follow(engine, release=True)
    assert not engine.failures
    again = compiled("h1", [*now.values(), *plugged], Numbers(numbers.text()))
    for table in (Programmed, Problem, SegmentFacts, DomainFacts):
        assert dict(engine.rows(table)) == dict(again.rows(table))
