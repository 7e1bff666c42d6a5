# SPDX-License-Identifier: Apache-2.0
"""Which rule of a port decides over a packet."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from isthmus.policy.addresses import leading
from isthmus.policy.rows import Port, Row, Rule
from isthmus.policy.values import Action, Direction
from isthmus.reach.rulings import ICMP, ICMPV6, SCTP, TCP, UDP, Packet, Ruling, rulings
from tests.reach.cloud import port, rule, rule_set, world

WEB = port("a", 4, rules=("interface * web",), six=True)
OUTSIDE = "198.51.100.9"


def packet(
    source: str = "10.0.2.5",
    destination: str = "10.0.1.4",
    protocol: int = TCP,
    ports: tuple[int, int] = (49152, 80),
) -> Packet:
    return Packet(protocol, ip_address(source), ip_address(destination), *ports)


def judged(of: Port, what: Packet, *rows: Row, direction: str = "in") -> list[Ruling]:
    address = what.destination if direction == "in" else what.source
    return rulings(world(of, *rows), of, str(address), Direction(direction), what)


def decides(*rows: Row, of: Port = WEB, what: Packet | None = None, direction: str = "in") -> str:
    """``allow`` or ``deny``, and the rule or ``default``, of the last level that was asked."""
    last = judged(of, what or packet(), *rows, direction=direction)[-1]
    word = "allow" if last.allowed else "deny"
    return f"{word} {last.rule.id if last.rule is not None else 'default'}"


def test_where_no_rule_set_is_applied_nothing_is_asked() -> None:
    assert judged(port("a", 4), packet(), rule_set(), rule()) == []


def test_the_lower_priority_number_decides() -> None:
    first, second = rule("first", "allow", priority=100), rule("second", priority=101)
    assert decides(rule_set(), second, first) == "allow first"


@pytest.mark.parametrize("action", ["allow", "deny"])
def test_any_protocol_with_ports_is_tcp_and_udp_with_them_and_nothing_else(action: str) -> None:
    other = "deny" if action == "allow" else "allow"
    sets = rule_set(in_default=other)
    named = rule(action=action, protocol=-1, ports="80-81")
    for protocol, ports, matched in (
        *((TCP, (49152, 80), True), (UDP, (49152, 81), True), (TCP, (80, 82), False)),
        *((SCTP, (49152, 80), False), (ICMP, (8, 80), False), (47, (0, 0), False)),
    ):
        expected = f"{action} r" if matched else f"{other} default"
        assert decides(sets, named, what=packet(protocol=protocol, ports=ports)) == expected
    whole = rule(action=action, protocol=-1)
    for protocol in (TCP, UDP, SCTP, ICMP, 47):
        assert decides(sets, whole, what=packet(protocol=protocol)) == f"{action} r"


def test_of_equal_priority_deny_comes_before_allow_whatever_their_names_and_sets() -> None:
    of = port("a", 4, rules=("interface * web", "interface * zoo"))
    allow = rule("a", "allow", of="web")
    deny = rule("z", "deny", of="zoo")
    assert decides(rule_set(), rule_set("zoo"), allow, deny, of=of) == "deny z"
    assert decides(rule_set(), rule_set("zoo"), deny, allow, of=of) == "deny z"


def test_a_level_denies_by_default_if_any_of_its_sets_does() -> None:
    of = port("a", 4, rules=("interface * web", "interface * zoo"))
    opened, closed = rule_set("web"), rule_set("zoo", in_default=Action.DENY)
    (ruling,) = judged(of, packet(), opened, closed)
    assert (ruling.allowed, ruling.sets, ruling.rule) == (False, ("web", "zoo"), None)
    assert decides(opened, rule_set("zoo", out_default=Action.DENY), of=of) == "allow default"


def test_both_levels_must_let_a_packet_pass_and_are_asked_in_the_order_in_which_it_meets_them() -> (
    None
):
    of = port("a", 4, rules=("interface * web", "subnet * zoo"))
    sets = (rule_set(), rule_set("zoo"))
    inward, outward = (rule("x", "allow", direction=word) for word in ("in", "out"))
    back = packet("10.0.1.4", "10.0.2.5")
    assert [one.level for one in judged(of, packet(), *sets, inward)] == ["subnet", "interface"]
    assert [one.level for one in judged(of, back, *sets, outward, direction="out")] == [
        "interface",
        "subnet",
    ]
    stopped = judged(of, packet(), *sets, rule("no", of="zoo"))
    assert [(one.level, one.allowed) for one in stopped] == [("subnet", False)]
    stopped = judged(of, packet(), *sets, rule("no"))
    assert [(one.level, one.allowed) for one in stopped] == [("subnet", True), ("interface", False)]


def test_a_rule_of_the_other_direction_says_nothing() -> None:
    assert decides(rule_set(), rule("r", direction="out")) == "allow default"


def test_a_set_for_one_address_holds_for_that_address_alone() -> None:
    of = port("a", 4, rules=("interface 10.0.1.44 web",), more=("10.0.1.44",))
    assert judged(of, packet(destination="10.0.1.4"), rule_set(), rule()) == []
    assert decides(rule_set(), rule(), of=of, what=packet(destination="10.0.1.44")) == "deny r"


def test_what_is_no_address_of_the_port_is_under_the_rules_of_the_one_that_leads() -> None:
    of = port("a", 4, rules=("interface 10.0.1.4 web",), more=("10.0.1.1",))
    assert leading(of, 4) == "10.0.1.4"  # the one that DHCP gives
    assert decides(rule_set(), rule(), of=of, what=packet(destination="10.0.1.200")) == "deny r"
    assert leading(of, 6) == ""
    six = packet("fd00:2::5", "fd00:1::9")
    assert judged(of, six, rule_set(), rule()) == []
    everywhere = port("a", 4, rules=("interface * web",))
    assert decides(rule_set(), rule(), of=everywhere, what=six) == "deny r"


def test_a_set_that_is_not_known_lets_nothing_pass() -> None:
    of = port("a", 4, rules=("interface * gone", "interface * web"))
    (ruling,) = judged(of, packet(), rule_set(), rule("r", "allow"))
    assert (ruling.allowed, ruling.rule, ruling.sets) == (False, None, ("gone", "web"))


@pytest.mark.parametrize(
    ("asked", "what", "matched"),
    [
        (rule(protocol=-1), packet(protocol=UDP), True),
        (rule(protocol=TCP), packet(protocol=UDP), False),
        (rule(ports="80-80"), packet(), True),
        (rule(ports="81-90"), packet(), False),
        (rule(ports="70-80"), packet(), True),
        (rule(source_ports="0-1023"), packet(), False),
        (rule(source_ports="49152-65535"), packet(), True),
        (rule(protocol=SCTP, ports="80-80"), packet(protocol=SCTP), True),
        (rule(family=6), packet(), False),
        (rule(family=6), packet("fd00:2::5", "fd00:1::4"), True),
        (rule(protocol=ICMP, icmp_type=8), packet(protocol=ICMP, ports=(8, 0)), True),
        (rule(protocol=ICMP, icmp_type=8), packet(protocol=ICMP, ports=(3, 0)), False),
        (rule(protocol=ICMP, icmp_type=3, icmp_code=1), packet(protocol=ICMP, ports=(3, 1)), True),
        (rule(protocol=ICMP, icmp_type=3, icmp_code=1), packet(protocol=ICMP, ports=(3, 4)), False),
        (rule(protocol=47), packet(protocol=47, ports=(0, 0)), True),
        (rule(source="10.0.2.0/24"), packet(), True),
        (rule(source="10.0.3.0/24"), packet(), False),
        (rule(source="10.0.2.5/32", destination="10.0.1.4/32"), packet(), True),
        (rule(source="10.0.2.5/32", destination="10.0.1.5/32"), packet(), False),
        (rule(source="fd00:2::/64"), packet(), False),
        (rule(source="fd00:2::/64"), packet("fd00:2::5", "fd00:1::4"), True),
    ],
)
def test_what_a_rule_speaks_of(asked: Rule, what: Packet, matched: bool) -> None:
    of = port("a", 4, rules=("interface * web",), six=True)
    expected = "deny r" if matched else "allow default"
    assert decides(rule_set(), asked, of=of, what=what) == expected


@pytest.mark.parametrize(
    ("word", "source", "matched"),
    [
        ("VIRTUALNETWORK", "10.0.2.5", True),
        ("VIRTUALNETWORK", OUTSIDE, False),
        ("VIRTUALNETWORK", "fd00:2::5", True),
        ("VIRTUALNETWORK", "2001:db8::5", False),
        ("INTERNET", "10.0.2.5", False),
        ("INTERNET", OUTSIDE, True),
        ("INTERNET", "10.1.0.0", True),
        ("INTERNET", "fd00:2::5", False),
        ("INTERNET", "2001:db8::5", True),
        ("AZURELOADBALANCER", "10.0.1.1", True),
        ("AZURELOADBALANCER", "fd00:2::1", True),
        ("AZURELOADBALANCER", "10.0.1.2", False),
    ],
)
def test_keywords_stand_for_the_space_of_the_network_all_outside_it_and_its_routers(
    word: str, source: str, matched: bool
) -> None:
    what = packet(source, "fd00:1::4" if ":" in source else "10.0.1.4")
    expected = "deny r" if matched else "allow default"
    assert decides(rule_set(), rule(source=word), what=what) == expected


def test_a_group_is_the_addresses_of_its_members_in_the_same_network() -> None:
    member = port("b", 5, groups=("app",), six=True)
    outsider = port("b", 6)
    by_group = rule(source_groups=("app",))
    for source, expected in (
        ("10.0.2.5", "deny r"),
        ("fd00:2::5", "deny r"),
        ("10.0.2.6", "allow default"),
        ("198.51.100.9", "allow default"),
    ):
        what = packet(source, "fd00:1::4" if ":" in source else "10.0.1.4")
        assert decides(rule_set(), by_group, member, outsider, what=what) == expected
    towards = rule(direction="out", destination_groups=("db", "app"))
    back = packet("10.0.1.4", "10.0.2.5")
    assert decides(rule_set(), towards, member, what=back, direction="out") == "deny r"
    assert decides(rule_set(), rule(source_groups=("nobody",))) == "allow default"


def test_a_network_s_members_mean_nothing_in_another_network() -> None:
    stranger = port("b", 5, groups=("app",))
    elsewhere = type(stranger)(
        **{**{n: getattr(stranger, n) for n in stranger.__struct_fields__}, "segment": "blue/b"}
    )
    assert decides(rule_set(), rule(source_groups=("app",)), elsewhere) == "allow default"


def test_of_icmp_the_answer_is_an_echo_reply_and_of_others_the_ports_change_places() -> None:
    echo = packet(protocol=ICMP, ports=(8, 0))
    assert echo.reply == packet("10.0.1.4", "10.0.2.5", ICMP, (0, 0))
    six = packet("fd00:2::5", "fd00:1::4", ICMPV6, (128, 0))
    assert six.reply == packet("fd00:1::4", "fd00:2::5", ICMPV6, (129, 0))
    assert packet().reply == packet("10.0.1.4", "10.0.2.5", TCP, (80, 49152))
