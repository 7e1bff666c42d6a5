# SPDX-License-Identifier: Apache-2.0
"""What a change of policy comes to, before it is made."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from isthmus.policy.rows import Port, Router, Row
from isthmus.policy.values import Direction
from isthmus.reach.plan import Effect, Report, RowChange, plan
from isthmus.reach.world import World
from tests.reach.cloud import SPACE, port, red, rule, rule_set, world
from tests.texts import applied

ALLOW, DENY = "allow", "deny"
CLOSED = rule_set("web", DENY, ALLOW)
HTTPS = rule("https", ALLOW, ports="443-443")
WEB = port("a", 4, rules=("interface * web",))
OTHER = port("a", 5, rules=("interface * web",))


def planned(before: World, *changes: tuple[Row | None, Row | None]) -> Report:
    return plan(before, [RowChange(*change) for change in changes])


def effect(
    gained: tuple[str, ...] = (),
    lost: tuple[str, ...] = (),
    *,
    sets: tuple[str, ...] = ("web",),
    ports: tuple[str, ...] = (WEB.id,),
    direction: str = "in",
) -> Effect:
    return Effect("red", Direction(direction), sets, ports, gained, lost, True)


def test_ports_that_come_go_and_move_are_named() -> None:
    before = world(WEB, OTHER)
    moved = msgspec.structs.replace(OTHER, hosts=("h2",))
    report = planned(before, (None, port("b", 6)), (WEB, None), (OTHER, moved))
    assert (report.added, report.removed, report.moved) == (("red-b-6",), (WEB.id,), (OTHER.id,))
    assert (report.effects, report.reruled, report.rows) == ((), (), 3)


def test_a_new_revision_alone_is_no_move() -> None:
    report = planned(world(WEB), (WEB, msgspec.structs.replace(WEB, revision="r2")))
    assert report == Report((), (), (), (), (), (), 1)


def test_a_rule_that_comes_or_goes_says_what_it_opens_for_which_ports() -> None:
    before = world(WEB, OTHER, CLOSED)
    both = (WEB.id, OTHER.id)
    report = planned(before, (None, HTTPS))
    assert report.effects == (effect(("tcp 443 from any",), ports=both),)
    assert report.reruled == both
    back = planned(before.changed([(None, HTTPS)]), (HTTPS, None))
    assert back.effects == (effect((), ("tcp 443 from any",), ports=both),)


def test_a_rule_of_a_list_that_nobody_is_under_changes_nothing() -> None:
    report = planned(world(port("a", 4), CLOSED), (None, HTTPS))
    assert (report.effects, report.reruled) == ((), ())


def test_ports_under_further_lists_are_told_apart() -> None:
    two = port("a", 5, rules=("interface * more", "interface * web"))
    before = world(WEB, two, CLOSED, rule_set("more"), rule("no", of="more", ports="400-500"))
    report = planned(before, (None, HTTPS))
    # Under both lists 443 stays closed.
    assert report.effects == (effect(("tcp 443 from any",)),)
    assert report.reruled == (WEB.id,)


def test_a_new_member_of_a_group_is_what_lists_that_speak_of_it_gain() -> None:
    by_group = rule("app", ALLOW, ports="5432-5432", source_groups=("app",))
    stranger = port("b", 6)
    before = world(WEB, CLOSED, by_group, port("b", 5, groups=("app",)), stranger)
    member = msgspec.structs.replace(stranger, groups=("app",))
    joined = planned(before, (stranger, member))
    assert joined.effects == (effect(("tcp 5432 from red-b-6",)),)
    left = planned(before.changed([(stranger, member)]), (member, stranger))
    assert left.effects == (effect((), ("tcp 5432 from red-b-6",)),)
    created = planned(before, (None, port("b", 7, groups=("app",))))
    assert created.added == ("red-b-7",)
    assert created.effects == (effect(("tcp 5432 from red-b-7",)),)


@pytest.mark.parametrize(("name", "told"), [("any", '"any"'), ("the router", '"the router"')])
def test_a_name_that_says_something_else_is_in_quotes(name: str, told: str) -> None:
    by_group = rule("app", ALLOW, ports="22-22", source_groups=("app",))
    member = msgspec.structs.replace(port("b", 7, groups=("app",)), id=name)
    created = planned(world(WEB, CLOSED, by_group, port("b", 5, groups=("app",))), (None, member))
    assert created.effects == (effect((f"tcp 22 from {told}",)),)


def test_two_groups_are_not_the_one_of_both_names() -> None:
    both = rule("r", ALLOW, ports="22-22", source_groups=("a and group b",))
    each = rule("s", ALLOW, ports="23-23", source_groups=("a", "b"))
    one = port("b", 5, groups=("a and group b",))
    other = port("b", 6, groups=("a", "b"))
    report = planned(world(WEB, CLOSED, one, other), (None, both), (None, each))
    assert report.effects == (
        effect(('tcp 22 from group "a and group b"', "tcp 23 from group a and group b")),
    )


def test_a_member_with_another_address_is_gained_and_lost() -> None:
    by_group = rule("app", ALLOW, ports="5432-5432", source_groups=("app",))
    member = port("b", 5, groups=("app",))
    moved = msgspec.structs.replace(member, addresses=("10.0.2.9",))
    report = planned(world(WEB, CLOSED, by_group, member), (member, moved))
    assert report.moved == (member.id,)
    (found,) = report.effects
    assert found.gained == found.lost == ("tcp 5432 from red-b-5",)


def test_a_network_that_grows_means_more_by_its_keywords() -> None:
    inside = rule("inside", ALLOW, ports="22-22", source="VIRTUALNETWORK")
    router = next(row for row in red() if isinstance(row, Router))
    wider = msgspec.structs.replace(router, prefixes=(*SPACE, "192.168.0.0/16"))
    report = planned(world(WEB, CLOSED, inside), (router, wider))
    assert report.effects == (effect(("tcp 22 from VIRTUALNETWORK",)),)


def test_a_port_that_comes_under_another_list_gains_and_loses_by_both() -> None:
    shut = rule_set("shut", DENY, ALLOW)
    before = world(WEB, CLOSED, HTTPS, shut, rule("ssh", ALLOW, of="shut", ports="22-22"))
    after = msgspec.structs.replace(WEB, rule_sets=applied("interface * shut"))
    report = planned(before, (WEB, after))
    assert report.effects == (effect(("tcp 22 from any",), ("tcp 443 from any",), sets=("shut",)),)
    assert (report.moved, report.reruled) == ((), (WEB.id,))


def test_a_port_that_is_freed_of_its_list_gains_all_that_it_forbade() -> None:
    deny = rule("no", DENY, ports="23-23")
    before = world(WEB, rule_set(), deny)
    free = msgspec.structs.replace(WEB, rule_sets=())
    assert planned(before, (WEB, free)).effects == (effect(("tcp 23 from any",)),)
    again = before.changed([(WEB, free)])
    assert planned(again, (free, WEB)).effects == (effect((), ("tcp 23 from any",)),)


def test_a_list_on_one_of_two_addresses_is_exchanged_for_that_address_alone() -> None:
    two = port("a", 4, more=("10.0.1.44",), rules=("interface 10.0.1.4 web",))
    rows = rule_set(), rule("no", DENY, ports="23-23"), rule_set("db"), rule("d", of="db")
    more = (*two.rule_sets, *applied("interface 10.0.1.44 db"))
    report = planned(world(two, *rows), (two, msgspec.structs.replace(two, rule_sets=more)))
    assert report.effects == (effect((), ("tcp from any",), sets=("db",)),)
    everywhere = msgspec.structs.replace(two, rule_sets=applied("interface * web"))
    (found,) = planned(world(two, *rows), (two, everywhere)).effects
    assert found == effect((), ("tcp 23 from any",))


def test_a_list_that_changes_speaks_for_who_was_under_it_and_still_is() -> None:
    leaving = msgspec.structs.replace(OTHER, rule_sets=())
    report = planned(world(WEB, OTHER, CLOSED), (None, HTTPS), (OTHER, leaving))
    by_ports = {one.ports: one for one in report.effects}
    assert by_ports[(WEB.id,)].gained == ("tcp 443 from any",)
    assert "tcp from any" in by_ports[(OTHER.id,)].gained
    assert len(by_ports) == 2


def test_a_set_that_goes_closes_who_is_still_under_it() -> None:
    (found,) = planned(
        world(WEB, rule_set(out_default=DENY)), (rule_set(out_default=DENY), None)
    ).effects
    assert (found.direction, found.gained) == ("in", ())
    assert "tcp from any" in found.lost


def test_rules_that_would_never_decide_are_named_with_what_does() -> None:
    wide = rule("wide", DENY, priority=50)
    report = planned(world(WEB, CLOSED, wide), (None, HTTPS))
    assert report.effects == ()
    assert report.shadowed == ("web/https never decides: web/wide does before it",)


def test_a_report_is_the_same_in_whatever_order_changes_come() -> None:
    before = world(WEB, OTHER, CLOSED)
    changes: list[tuple[Row | None, Row | None]] = [
        (None, HTTPS),
        (None, rule("ssh", ALLOW, ports="22-22", direction="out")),
        (OTHER, msgspec.structs.replace(OTHER, rule_sets=())),
        (None, port("b", 9)),
    ]
    assert planned(before, *changes) == planned(before, *reversed(changes))


N_PORTS = 10_000


def _many() -> Iterator[Port]:
    for number in range(N_PORTS):
        yield msgspec.structs.replace(
            WEB, id=f"p{number:05}", addresses=(f"10.0.{number // 250}.{number % 250}",)
        )


class CountedWorld(World):
    """Counts how often rules are looked at: each time, what keywords stand for is asked."""

    asked = 0

    def gateways(self, domain: str) -> list[str]:
        self.asked += 1
        return super().gateways(domain)


def test_a_list_that_ten_thousand_ports_are_under_is_looked_at_once() -> None:
    counts = []
    for ports in (list(_many()), [WEB]):
        before = CountedWorld((*red(), *ports, CLOSED))
        (found,) = planned(before, (None, HTTPS)).effects
        assert len(found.ports) == len(ports)
        assert found.gained == ("tcp 443 from any",)
        counts.append(before.asked)
    assert counts[0] == counts[1]
