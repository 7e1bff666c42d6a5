# SPDX-License-Identifier: Apache-2.0
"""What a change of rules opens and closes: exact for all packets, and said in few words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.policy.rows import Port, Rule
from isthmus.policy.rules import Level, merged
from isthmus.policy.values import Direction, PortRange
from isthmus.reach.cells import cells
from isthmus.reach.differences import Difference, difference, shadowed
from isthmus.reach.rulings import ICMP, ICMPV6, Packet, matches
from isthmus.reach.world import World
from tests.names import NAMES
from tests.reach.cloud import port, rule, rule_set, world

ALLOW, DENY = "allow", "deny"


def level(*rules: Rule, default: str = DENY) -> Level:
    return merged([rule_set("web", default, default)], rules, Direction.IN)


def changed(
    before: Level, after: Level, *ports: Port, then: Sequence[Port] | None = None
) -> Difference:
    worlds = world(*ports), world(*(ports if then is None else then))
    return difference((worlds[0], before), (worlds[1], after), "red", Direction.IN)


def test_a_rule_that_comes_is_gained_and_one_that_goes_is_lost() -> None:
    opened = level(rule("https", ALLOW, ports="443-443"))
    assert changed(level(), opened) == Difference(("tcp 443 from any",), (), True)
    assert changed(opened, level()) == Difference((), ("tcp 443 from any",), True)
    assert changed(opened, opened) == Difference((), (), True)


def test_what_an_earlier_rule_decides_is_no_difference() -> None:
    first = rule("first", ALLOW, ports="443-443", priority=50)
    assert changed(level(first), level(first, rule("no", DENY, ports="443-443"))) == (
        Difference((), (), True)
    )


def test_neighbouring_ranges_are_one_and_distant_ones_are_not() -> None:
    two = level(rule("a", ALLOW, ports="80-89"), rule("b", ALLOW, ports="90-99"))
    assert changed(level(), two).gained == ("tcp 80-99 from any",)
    apart = level(rule("a", ALLOW, ports="80-80"), rule("b", ALLOW, ports="443-443"))
    assert changed(level(), apart).gained == ("tcp 80 from any", "tcp 443 from any")
    one = level(rule("a", DENY, ports="85-85"), rule("b", ALLOW, ports="80-99", priority=200))
    assert changed(level(), one).gained == ("tcp 80-84 from any", "tcp 86-99 from any")


def test_all_ports_are_not_told_one_by_one() -> None:
    everything = level(rule("all", ALLOW, protocol=17))
    assert changed(level(rule("dns", ALLOW, ports="53-53", protocol=17)), everything).gained == (
        "udp 0-52 from any",
        "udp 54-65535 from any",
    )
    assert changed(level(), everything).gained == ("udp from any",)


def test_source_ports_are_told_where_not_all_of_them_are_meant() -> None:
    low = level(rule("low", ALLOW, ports="53-53", protocol=17, source_ports="0-1023"))
    assert changed(level(), low).gained == ("udp 53 (source port 0-1023) from any",)
    both = level(
        *low.rules, rule("h", ALLOW, ports="53-53", protocol=17, source_ports="1024-65535")
    )
    assert changed(level(), both).gained == ("udp 53 from any",)


def test_a_default_that_changes_is_everything() -> None:
    assert changed(level(), level(default=ALLOW)).gained == (
        "icmp from any",
        "tcp from any",
        "udp from any",
        "other protocols from any",
        "icmpv6 from any",
    )


def test_a_protocol_that_a_rule_names_is_named_and_the_others_stay_others() -> None:
    gre = level(rule("gre", ALLOW, protocol=47))
    assert changed(level(), gre).gained == ("protocol 47 from any",)
    odd = level(rule("odd", DENY, protocol=253, priority=1), rule("all", ALLOW, protocol=-1))
    gained = changed(level(), odd).gained
    assert "other protocols from any" in gained
    assert "protocol 253 from any" not in gained


def test_icmp_is_told_by_type_and_code() -> None:
    echo = level(rule("ping", ALLOW, protocol=ICMP, family=4, icmp_type=8))
    assert changed(level(), echo).gained == ("icmp type 8 from any",)
    code = level(rule("net", ALLOW, protocol=ICMP, family=4, icmp_type=3, icmp_code=1))
    assert changed(level(), code).gained == ("icmp type 3 code 1 from any",)
    all_but = level(
        rule("no", DENY, protocol=ICMP, family=4, icmp_type=8, priority=1),
        rule("yes", ALLOW, protocol=ICMP, family=4),
    )
    assert changed(level(), all_but).gained == ("icmp other types from any",)
    six = level(rule("ping", ALLOW, protocol=ICMPV6, family=6, icmp_type=128))
    assert changed(level(), six).gained == ("icmpv6 type 128 from any",)


def test_a_rule_of_one_family_is_told_so() -> None:
    four = level(rule("four", ALLOW, ports="443-443", family=4))
    assert changed(level(), four).gained == ("tcp 443 from any (IPv4)",)
    six = level(rule("six", ALLOW, ports="443-443", family=6))
    assert changed(level(), six).gained == ("tcp 443 from any (IPv6)",)


def test_prefixes_and_keywords_are_called_as_the_rule_calls_them() -> None:
    near = level(rule("near", ALLOW, ports="22-22", source="10.0.2.0/24"))
    assert changed(level(), near).gained == ("tcp 22 from 10.0.2.0/24",)
    inside = level(rule("inside", ALLOW, ports="22-22", source="VIRTUALNETWORK"))
    assert changed(level(), inside).gained == ("tcp 22 from VIRTUALNETWORK",)
    outside = level(rule("outside", ALLOW, ports="22-22", source="INTERNET"))
    assert changed(level(), outside).gained == ("tcp 22 from INTERNET",)
    both = level(rule("b", ALLOW, ports="22-22", source="10.0.2.0/24", destination="10.0.1.4/32"))
    assert changed(level(), both).gained == ("tcp 22 from 10.0.2.0/24 to 10.0.1.4/32",)


def test_of_a_prefix_inside_another_only_its_own_part_is_told() -> None:
    wide = rule("wide", ALLOW, ports="22-22", source="10.0.0.0/16")
    for inner in ("10.0.2.0/24", "10.0.255.0/24", "10.0.255.255/32", "10.0.0.0/24"):
        hole = rule("hole", DENY, ports="22-22", source=inner, priority=50)
        assert changed(level(wide), level(wide, hole)) == (
            Difference((), (f"tcp 22 from {inner}",), True)
        )
        assert changed(level(), level(wide, hole)).gained == ("tcp 22 from 10.0.0.0/16",)


def test_a_group_is_told_by_its_name() -> None:
    members = port("b", 5, groups=("app",)), port("b", 6, groups=("app",))
    opened = level(rule("app", ALLOW, ports="5432-5432", source_groups=("app",)))
    assert changed(level(), opened, *members).gained == ("tcp 5432 from group app",)
    assert changed(level(), opened).gained == ()  # nobody is in it


def test_new_members_of_a_group_are_named_and_many_are_counted() -> None:
    opened = level(rule("app", ALLOW, ports="5432-5432", source_groups=("app",)))
    others = [port("b", number) for number in range(10, 18)]
    members = [msgspec.structs.replace(one, groups=("app",)) for one in others]
    old = port("b", 5, groups=("app",))
    one = changed(opened, opened, old, others[0], then=(old, members[0]))
    assert one == Difference(("tcp 5432 from red-b-10",), (), True)
    two = changed(opened, opened, old, *others[:2], then=(old, *members[:2]))
    assert two.gained == ("tcp 5432 from red-b-10, red-b-11",)
    many = changed(opened, opened, old, *others, then=(old, *members))
    assert many.gained == (
        "tcp 5432 from red-b-10, red-b-11, red-b-12, red-b-13, red-b-14 and 3 more",
    )
    gone = changed(opened, opened, old, members[0], then=(old, others[0]))
    assert gone == Difference((), ("tcp 5432 from red-b-10",), True)


def test_members_of_a_group_inside_and_outside_a_prefix_are_looked_at_apart() -> None:
    members = port("a", 5, groups=("app",)), port("b", 6, groups=("app",))
    before = level(
        rule("hole", DENY, ports="22-22", source="10.0.1.0/24", priority=50),
        rule("app", ALLOW, ports="22-22", source_groups=("app",)),
    )
    assert changed(level(), before, *members).gained == ("tcp 22 from group app",)
    near = level(*before.rules[1:])
    assert changed(before, near, *members).gained == ("tcp 22 from group app in 10.0.1.0/24",)
    assert changed(before, level(*before.rules[:1]), *members).lost == ("tcp 22 from group app",)


def crossing(n: int) -> list[Rule]:
    """Every source meets every destination."""
    places = [f"{k // 250}.{k % 250}/32" for k in range(n)]
    return [
        *(rule(f"s{k}", ALLOW, source=f"10.0.{one}") for k, one in enumerate(places)),
        *(rule(f"d{k}", ALLOW, destination=f"10.1.{one}") for k, one in enumerate(places)),
    ]


def test_a_list_with_too_many_cells_says_that_it_is_not_whole() -> None:
    many = crossing(500)
    found = changed(level(), level(*many))
    assert not found.whole
    assert found.gained
    assert shadowed(world(), level(*many), "red") == []


def long_list(n_rules: int) -> list[Rule]:
    """As people write them: a service and from where."""
    return [
        rule(
            f"r{n}",
            DENY if n % 3 == 0 else ALLOW,
            ports=f"{1000 + n}-{1000 + n}",
            source=f"10.{n // 256}.{n % 256}.0/24",
            priority=100 + n,
        )
        for n in range(n_rules)
    ]


@pytest.mark.parametrize("n_rules", [20, 2_000])
def test_one_changed_rule_costs_the_same_in_a_long_list(n_rules: int) -> None:
    rules = long_list(n_rules)
    other = msgspec.structs.replace(rules[10], destination_ports=PortRange(7, 9))
    before, after = level(*rules), level(*rules[:10], other, *rules[11:])
    found = difference((world(), before), (world(), after), "red", Direction.IN, most=40)
    assert found == Difference(
        ("tcp 7-9 from 10.0.10.0/24",), ("tcp 1010 from 10.0.10.0/24",), True
    )


def test_a_long_list_is_looked_at_as_a_whole() -> None:
    """A new list of 1,000 rules: every rule has changed."""
    found = changed(level(), level(*long_list(1_000)))
    assert found.whole
    assert len(found.gained) == sum(n % 3 != 0 for n in range(1_000))
    hidden = [*long_list(1_000), rule("late", ALLOW, ports="1003-1003", source="10.0.3.0/25")]
    hidden[-1] = msgspec.structs.replace(hidden[-1], priority=5_000)
    assert never(*hidden) == [("late", ["r3"])]


def never(*rules: Rule, ports: Sequence[Port] = ()) -> list[tuple[str, list[str]]]:
    found = shadowed(world(*ports), level(*rules), "red")
    return [(one.rule.id, [other.id for other in one.by]) for one in found]


def test_a_rule_that_an_earlier_one_hides_is_named_with_it() -> None:
    wide = rule("wide", DENY, priority=50)
    assert never(wide, rule("late", ALLOW, ports="443-443")) == [("late", ["wide"])]
    assert never(rule("late", ALLOW, ports="443-443", priority=1), wide) == []


def test_two_rules_together_can_hide_a_third() -> None:
    halves = rule("low", DENY, ports="0-500"), rule("high", DENY, ports="501-65535")
    assert never(*halves, rule("late", ALLOW, ports="400-600", priority=200)) == [
        ("late", ["low", "high"])
    ]


def test_a_wider_prefix_after_a_narrower_one_still_decides() -> None:
    for inner in ("10.0.0.0/24", "10.0.255.0/24", "10.0.255.255/32"):
        narrow = rule("narrow", ALLOW, source=inner, priority=50)
        assert never(narrow, rule("wide", DENY, source="10.0.0.0/16")) == []


def test_a_group_without_members_hides_nothing_and_is_not_hidden() -> None:
    empty = rule("empty", DENY, source_groups=("nobody",), priority=1)
    assert never(empty, rule("late", ALLOW)) == []
    assert never(rule("first", DENY, priority=0), empty) == []


# -- for all lists and packets -------------------------------------------------------------------

PREFIXES = (
    *("10.0.0.0/16", "10.0.1.0/24", "10.0.1.128/25", "10.0.1.4/32", "10.0.255.255/32"),
    *("198.51.100.0/24", "0.0.0.0/1", "fd00:1::/64", "fd00:1::4/128", "2001:db8::/32"),
    *("VIRTUALNETWORK", "INTERNET", "AZURELOADBALANCER"),
)
GROUPS = ("app", "app db", "none")
RANGES = (
    "",
    "0-0",
    "0-1023",
    "80-80",
    "80-443",
    "443-443",
    "1024-65535",
    "49152-50000",
    "65535-65535",
)
PROTOCOLS = (-1, 6, 17, 132, ICMP, ICMPV6, 47, 253)
ADDRESSES = (
    *("10.0.1.4", "10.0.1.5", "10.0.1.200", "10.0.2.6", "10.0.1.1", "10.0.255.255", "10.1.0.0"),
    *("198.51.100.7", "198.51.101.7", "203.0.113.9", "0.0.0.0", "255.255.255.255"),
    *("fd00:1::4", "fd00:1::5", "fd00:2::6", "2001:db8::7", "2001:db9::7", "fd00:1::1"),
)
NUMBERS = (0, 1, 79, 80, 81, 443, 444, 1023, 1024, 49151, 49152, 50000, 50001, 65534, 65535)

_end = st.one_of(
    st.tuples(st.sampled_from(("", "", *PREFIXES)), st.just(())),
    st.tuples(
        st.just(""), st.sets(st.sampled_from(GROUPS), min_size=1).map(lambda s: tuple(sorted(s)))
    ),
)


@st.composite
def _rules(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from(PROTOCOLS))
    (source, source_groups), (destination, destination_groups) = draw(_end), draw(_end)
    has_ports, is_icmp = protocol in (6, 17, 132), protocol in (ICMP, ICMPV6)
    kind = draw(st.sampled_from((-1, 3, 8, 128))) if is_icmp else -1
    return rule(
        draw(st.sampled_from("abcdefgh") | NAMES),
        draw(st.sampled_from((ALLOW, DENY))),
        priority=draw(st.integers(1, 5)),
        protocol=protocol,
        family=draw(st.sampled_from((0, 0, 4, 6))),
        source=source,
        source_groups=source_groups,
        destination=destination,
        destination_groups=destination_groups,
        ports=draw(st.sampled_from(RANGES)) if has_ports else "",
        source_ports=draw(st.sampled_from(RANGES)) if has_ports else "",
        icmp_type=kind,
        icmp_code=draw(st.sampled_from((-1, 0, 1))) if kind >= 0 else -1,
    )


_levels = st.builds(
    lambda rules, default: level(*rules, default=default),
    # The same rule twice is one row.
    st.lists(_rules(), max_size=5, unique_by=lambda one: one.key),
    st.sampled_from((ALLOW, DENY)),
)
_groups = st.sets(st.sampled_from(GROUPS[:2])).map(lambda groups: tuple(sorted(groups)))


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    places = (("a", 4), ("a", 5), ("a", 200), ("b", 6))
    return world(*(port(*place, groups=draw(_groups), six=True) for place in places))


@st.composite
def _packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from((4, 6)))
    ours = [ip_address(text) for text in ADDRESSES if (":" in text) == (family == 6)]
    # Of ICMP there is one in each family; the other one is a protocol as others.
    protocol = draw(
        st.sampled_from((6, 17, 132, ICMP if family == 4 else ICMPV6, 47, 50, 253, 254))
    )
    numbers: Sequence[int] = NUMBERS
    if protocol in (ICMP, ICMPV6):
        numbers = (0, 1, 3, 4, 8, 128, 129, 255)
    if protocol in (47, 50, 253, 254):
        numbers = (0,)
    ends = draw(st.sampled_from(ours)), draw(st.sampled_from(ours))
    return Packet(protocol, *ends, draw(st.sampled_from(numbers)), draw(st.sampled_from(numbers)))


def _allows(where: World, by: Level, packet: Packet) -> bool:
    for one in by.rules:
        if matches(where, "red", one, packet):
            return one.action == ALLOW
    return by.allow_by_default


_ports_said = re.compile(r"(?<![.\w/])(\d+)(?:-(\d+))? (?:\(|from)")


def _speaks_of(text: str, packet: Packet) -> bool:
    """Whether a text's protocol and ports can be those of a packet."""
    names = {6: "tcp", 17: "udp", 132: "sctp", ICMP: "icmp", ICMPV6: "icmpv6"}
    named = names.get(packet.protocol, f"protocol {packet.protocol}")
    if not text.startswith((f"{named} ", "other protocols ")):
        return False
    if packet.protocol not in (6, 17, 132):
        return True
    said = _ports_said.search(text.split(" ", 1)[1] if text.startswith(named) else "")
    return said is None or int(said[1]) <= packet.destination_port <= int(said[2] or said[1])


@given(_worlds(), _worlds(), _levels, _levels, st.lists(_packets(), min_size=1, max_size=8))
@settings(max_examples=120, deadline=None)
def test_every_packet_is_gained_or_lost_exactly_if_the_lists_decide_differently(
    one: World, other: World, before: Level, after: Level, packets: list[Packet]
) -> None:
    found = difference((one, before), (other, after), "red", Direction.IN)
    assert found.whole
    rules = [*before.rules, *after.rules]
    cell_by_side = {
        (cell.packet.family, cell.protocol, *_side(one, other, rules, cell.packet)): cell.packet
        for cell in cells(rules, (one, other), "red")
    }
    sides = {key[2:] for key in cell_by_side}
    for packet in packets:
        # Some packet that was looked at stands for this one: all rules say the same of both.
        assert _side(one, other, rules, packet) in sides, packet
        was, now = _allows(one, before, packet), _allows(other, after, packet)
        if now and not was:
            assert any(_speaks_of(text, packet) for text in found.gained), packet
        if was and not now:
            assert any(_speaks_of(text, packet) for text in found.lost), packet
    decided = [
        (_allows(one, before, packet), _allows(other, after, packet))
        for packet in cell_by_side.values()
    ]
    assert bool(found.gained) == ((False, True) in decided)
    assert bool(found.lost) == ((True, False) in decided)


def _side(one: World, other: World, rules: Sequence[Rule], packet: Packet) -> tuple[bool, ...]:
    return tuple(matches(where, "red", r, packet) for where in (one, other) for r in rules)


@given(_worlds(), _levels, st.lists(_packets(), min_size=1, max_size=12))
@settings(max_examples=120, deadline=None)
def test_a_rule_that_decides_over_any_packet_is_never_called_hidden(
    where: World, by: Level, packets: list[Packet]
) -> None:
    hidden = {one.rule for one in shadowed(where, by, "red")}
    for packet in packets:
        first = next((one for one in by.rules if matches(where, "red", one, packet)), None)
        assert first not in hidden


@pytest.mark.parametrize("n_members", [100, 5_000])
def test_a_group_of_many_members_is_as_many_cells_as_one_of_few(n_members: int) -> None:
    members = [
        msgspec.structs.replace(
            port("b", 5, groups=("app",)),
            id=f"m{n}",
            addresses=(f"10.0.{n // 250}.{n % 250}",),
        )
        for n in range(n_members)
    ]
    where = world(*members)
    rules = [rule("app", ALLOW, ports="5432-5432", source_groups=("app",))]
    assert sum(1 for _ in cells(rules, (where, where), "red")) == 13
