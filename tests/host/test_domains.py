# SPDX-License-Identifier: Apache-2.0
"""Which routers are in one routing domain, and what a host reads for it."""

from __future__ import annotations

from isthmus.addresses import parse_mac
from isthmus.derive.engine import Engine
from isthmus.host.gateways import speaking_address, speaking_mac
from isthmus.host.program import Program, engine_of
from isthmus.host.scope import DomainRouter, InScope, LegsInScope, conditions
from isthmus.policy.rows import Port, Router, RouterPort, Row, Segment, Subnet
from isthmus.policy.values import LegKind
from tests.switches.policy_rows import local, network_rows, port, put

OWN = port("red", "a", 4)
EDGE = Router(id="edge", rdid=9, mac="02:00:00:00:ee:01")
FAR = Router(id="far", rdid=10, mac="02:00:00:00:ee:02")


def leg(router: str, segment: str, number: int, *, peer: bool = False) -> RouterPort:
    kind = LegKind.PEER if peer else LegKind.INTERNAL
    return RouterPort(router=router, segment=segment, addresses=(f"10.0.{number}.2/24",), kind=kind)


CHAIN: tuple[Row, ...] = (
    *(EDGE, leg("edge", "red/b", 2), leg("edge", "c", 3)),
    *(FAR, leg("far", "c", 3), leg("far", "d", 4)),
)
"""Behind the other segment of the own network, another router, and another behind that."""


def host(*rows: Row) -> Engine:
    engine = engine_of(Program())
    put(engine, *network_rows("red"), OWN, *rows, local(OWN, 3))
    engine.settle()
    assert not engine.failures
    return engine


def names(engine: Engine, table: type) -> set[object]:
    return set(engine.rows(table))


def test_of_routers_behind_others_legs_are_read_and_no_ports() -> None:
    engine = host(*CHAIN)
    assert names(engine, InScope) == {"red/a", "red/b"}
    assert names(engine, DomainRouter) == {"red", "edge", "far"}
    assert names(engine, LegsInScope) == {"red/a", "red/b", "c", "d"}
    asked = conditions(engine, "h1", "h1")
    assert {clause[2] for clause in asked[Router]} == {"red", "edge", "far"}
    for name in ("c", "d"):
        assert ("segment", "==", name) in asked[RouterPort]
        for table in (Port, Subnet):
            assert ("segment", "==", name) not in asked[table]
        assert ("id", "==", name) not in asked[Segment]
    assert ("router", "==", "far") in asked[RouterPort]


def test_a_network_with_one_router_reads_what_it_always_has() -> None:
    engine = host(leg("blue", "red/b", 2, peer=True), Router(id="blue", rdid=2, mac=EDGE.mac))
    assert names(engine, DomainRouter) == names(engine, LegsInScope) == set()


def test_a_second_router_in_a_port_s_own_segment_is_followed_like_the_first() -> None:
    engine = host(EDGE, leg("edge", "red/a", 1), leg("edge", "c", 3))
    assert names(engine, InScope) == {"red/a", "red/b", "c"}


def test_a_host_speaks_as_the_first_router_by_number_once_it_knows_all() -> None:
    first = Router(id="zero", rdid=0, mac="02:00:00:00:ee:03")
    here = leg("zero", "red/a", 1)
    assert speaking_mac(host(here), "red/a") is None
    engine = host(first, here)
    assert speaking_mac(engine, "red/a") == parse_mac(first.mac)
    assert str(speaking_address(engine, "red/a")) == "10.0.1.2"
    assert str(speaking_address(engine, "red/b")) == "10.0.2.1"
