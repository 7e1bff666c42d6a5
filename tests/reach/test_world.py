# SPDX-License-Identifier: Apache-2.0
"""The network as one value: what it finds, and that it costs no more than its rows."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address

import msgspec

from isthmus.policy.rows import Claim, Port, Router, RouterPort, Row, Segment, Subnet
from isthmus.reach.trace import DELIVERED, Question, trace
from isthmus.reach.world import World
from tests.reach.cloud import contents, port, red, rule, rule_set, world
from tests.switches.policy_rows import claim
from tests.texts import applied

WEB = port("a", 4, groups=("app",), six=True)


def test_a_changed_world_is_another_and_the_first_stays_as_it_was() -> None:
    before = world(WEB)
    moved = msgspec.structs.replace(WEB, addresses=("10.0.1.7",))
    after = before.changed([(WEB, moved), (None, port("b", 5))])
    assert before.owner_of("10.0.1.4", "red") == WEB.id
    assert after.owner_of("10.0.1.4", "red") == ""
    assert after.owner_of("10.0.1.7", "red") == WEB.id
    assert after.members("red", "app") == {"10.0.1.7"}
    assert set(after.ports) == {WEB.id, "red-b-5"}
    assert set(after.changed([(port("b", 5), None)]).ports) == {WEB.id}


def test_a_changed_world_is_the_one_made_of_its_rows() -> None:
    rows = [*red(), WEB, claim(WEB, "h1"), rule_set(), rule()]
    stepwise = World(()).changed((None, row) for row in rows)
    assert contents(stepwise) == contents(World(rows))


def test_who_has_an_address_is_a_port_or_the_router_or_nobody() -> None:
    found = world(WEB)
    assert found.owner_of("fd00:1::4", "red") == WEB.id
    assert found.owner_of("10.0.2.1", "red") == "the router"
    assert found.owner_of("10.0.2.2", "red") == ""
    assert found.owner_of("10.0.1.4", "blue") == ""


def test_a_segment_of_no_router_is_a_domain_of_its_own() -> None:
    found = world(Segment(id="lone", physical_network="underlay"))
    assert (found.domain_of("red/a"), found.domain_of("lone")) == ("red", "segment lone")
    assert found.routers_of("lone") == []
    assert found.segment_of("red", ip_address("10.0.2.77")) == "red/b"
    assert found.segment_of("red", ip_address("10.0.3.77")) is None


def test_of_claims_the_active_one_of_the_highest_sequence_on_a_server_that_may_wins() -> None:
    claims = (
        claim(WEB, "h1", "standby", 9),
        claim(WEB, "h2", "active", 1),
        claim(WEB, "h3", "active", 2),
        claim(WEB, "h4", "active", 8),
    )
    found = world(WEB, *claims).claim_of(WEB.id)
    assert found is not None
    assert found.host == "h3"
    bound = world(msgspec.structs.replace(WEB, hosts=("h1", "h4")), *claims).claim_of(WEB.id)
    assert bound is not None
    assert bound.host == "h1"
    assert world(WEB).claim_of(WEB.id) is None


N_PORTS = 10_000


def _many() -> Iterator[Row]:
    for number in range(N_PORTS):
        one = Port(
            id=f"p{number}",
            segment="red/a",
            mac="02:00:00:00:00:01",
            addresses=(f"10.0.{128 + number // 250}.{number % 250}",),
            rule_sets=applied("interface * web"),
            groups=("all",),
        )
        yield one
        yield Claim(
            port=one.id,
            host="h1",
            segment="red/a",
            provider_address=IPv4Address("192.0.2.1"),
            sequence=1,
        )


EDGE = Router(id="edge", rdid=9, mac="02:00:00:00:ee:01", prefixes=("10.9.0.0/16",))
JOINED = (
    EDGE,
    RouterPort(router="edge", segment="red/b", addresses=("10.0.2.2/24",)),
    RouterPort(router="edge", segment="c", addresses=("10.9.0.1/24",)),
)


def test_routers_with_a_segment_in_common_are_one_domain() -> None:
    found = world(*JOINED)
    assert {found.domain_of(name) for name in ("red/a", "red/b", "c")} == {"red"}
    assert found.domain_of_router("edge") == "red"
    assert sorted(found.segments_of("red")) == ["c", "red/a", "red/b"]
    assert [one.id for one in found.routers_of("red/b")] == ["red", "edge"]
    assert found.prefixes("red") == ("10.0.0.0/16", "fd00::/16", "10.9.0.0/16")
    assert {"10.0.1.1", "10.0.2.2", "10.9.0.1"} <= {*found.gateways("red")}
    assert found.gateways_of("edge") == ["10.0.2.2", "10.9.0.1"]


def test_a_router_s_leg_that_goes_takes_its_domain_apart() -> None:
    found = world(*JOINED)
    found.change(JOINED[1], None)
    assert (found.domain_of("red/b"), found.domain_of("c")) == ("red", "edge")
    assert contents(found) == contents(world(JOINED[0], JOINED[2]))
    changed = found.changed([(None, JOINED[1])])
    assert changed.domain_of("c") == "red"
    assert found.domain_of("c") == "edge"


def test_guests_leave_a_segment_by_the_router_that_dhcp_tells_them() -> None:
    told = Subnet(segment="red/b", prefix="10.0.2.0/24", gateway="10.0.2.2")
    away = ip_address("10.0.2.5"), ip_address("10.9.0.7")
    by_default, by_edge = world(*JOINED), world(*JOINED, told)
    for found, router in ((by_default, "red"), (by_edge, "edge")):
        chosen = found.router_for("red/b", *away)
        assert chosen is not None
        assert chosen.id == router


class CountedWorld(World):
    """Counts the ports that somebody asks for the claim of."""

    asked = 0

    def claim_of(self, port_id: str) -> Claim | None:
        self.asked += 1
        return super().claim_of(port_id)


def test_ten_thousand_ports_are_read_once_and_a_packet_asks_for_two_of_them() -> None:
    passes = 0

    def rows() -> Iterator[Row]:
        nonlocal passes
        passes += 1
        for row in red():
            wide = msgspec.structs.replace
            yield (
                wide(row, addresses=("10.0.0.1/16",))
                if row.TABLE == "Router_Port" and row.key == ("red", "red/a")
                else row
            )
        yield from _many()
        yield rule_set("web", "deny")
        yield rule("r", "allow", source_groups=("all",))

    found = CountedWorld(rows())
    assert passes == 1
    assert len(found.members("red", "all")) == N_PORTS
    answer = trace(found, Question("p1", "p9999", 6, 80))
    assert answer.verdict == DELIVERED
    # Sender and receiver: for where they are, and for what their hosts say of them.
    assert found.asked <= 8
