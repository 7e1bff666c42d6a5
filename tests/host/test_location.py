# SPDX-License-Identifier: Apache-2.0
"""Where ports are and how their hosts are reached, as any host derives it of the policy."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS, LocalPort, Location, Plugged, Problem, Reach, ThisHost
from isthmus.host.program import Program, engine_of
from isthmus.policy.rows import Row
from tests.switches.policy_rows import claim, host_rows, port, provider_address, put, this_host

WEB = port("red", "a", 4)
H1, H2, H3 = (int(IPv4Address(provider_address(name))) for name in ("h1", "h2", "h3"))


def derived(*rows: Row | LocalPort) -> Engine:
    engine = engine_of(Program())
    engine.put(ThisHost, THIS, this_host("h1"))
    put(engine, *host_rows(), *rows)
    engine.settle()
    assert not engine.failures
    return engine


def located(*rows: Row | LocalPort) -> Location | None:
    return derived(*rows).rows(Location).get(WEB.id)


def test_a_port_is_where_its_claim_says() -> None:
    assert located(WEB) is None
    assert located(WEB, claim(WEB, "h2")) == Location(WEB.id, "h2", H2, (), False)


def test_a_port_that_is_plugged_here_is_ours_at_once() -> None:
    engine = derived(WEB, LocalPort(WEB.id, 7))
    assert engine.rows(Location)[WEB.id] == Location(WEB.id, "h1", H1, (), False)
    assert engine.rows(Plugged)[WEB.id] == Plugged(WEB.id, 7)


def test_the_highest_sequence_has_it_and_the_others_are_told() -> None:
    claims = claim(WEB, "h2", "active", 1), claim(WEB, "h3", "active", 2)
    assert located(WEB, *claims) == Location(WEB.id, "h3", H3, (H2,), False)


def test_what_another_host_has_won_is_superseded_here() -> None:
    claims = claim(WEB, "h1", "active", 1), claim(WEB, "h2", "active", 2)
    found = located(WEB, LocalPort(WEB.id, 7), *claims)
    assert found == Location(WEB.id, "h2", H2, (H1,), True)


def test_our_claim_of_a_port_that_has_left_is_not_believed() -> None:
    assert located(WEB, claim(WEB, "h1")) is None


def test_a_claim_of_a_host_that_may_not_have_the_port_is_not_believed() -> None:
    bound = msgspec.structs.replace(WEB, hosts=("h3",))
    assert located(bound, claim(WEB, "h2")) is None
    engine = derived(bound, LocalPort(WEB.id, 7))
    assert not engine.rows(Location)
    ((_, problem),) = engine.rows(Problem).items()
    assert (problem.port, problem.code, problem.closes) == (WEB.id, "PortBlocked", "port")


def test_other_hosts_are_reached_by_an_encapsulation_that_both_speak() -> None:
    reached = derived().rows(Reach)
    assert H1 not in reached
    assert {reach.host for reach in reached.values()} >= {"h2", "h3"}
    assert all(reach.encapsulation for reach in reached.values())
