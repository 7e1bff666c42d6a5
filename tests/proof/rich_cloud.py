# SPDX-License-Identifier: Apache-2.0
"""One cloud in which every part of the pipeline that decides who reaches whom has work to do."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.policy.rows import Port, Rule, RuleSet
from tests.proof.clouds import Cloud, Place, port
from tests.proof.random_clouds import PAIR_MAC


def rich_cloud() -> Cloud:
    """Two tenants alike and one without a router, on three hosts: ports of one family and of both,
    with several addresses, pairs, guards, and rules at either level, for all and for one address;
    and on every host a port of each tenant that is free to speak.
    """
    placed = tuple(_ports())
    ports = tuple(one for one, _ in placed)
    places = tuple(Place(one.id, host, n) for n, (one, host) in enumerate(placed, 1))
    return Cloud(ports, _rules(), places)


def _ports() -> Iterator[tuple[Port, str]]:
    pairs = (f"10.0.1.192/28 {PAIR_MAC}", f"fd00:0:0:1::c8/128 {PAIR_MAC}")
    far = ("192.168.7.0/24 02:00:5e:00:00:02",)
    web, all_groups = ("interface * web",), ("db", "office", "web")
    more = (*web, "subnet 10.0.1.40 fence")
    yield port("red/a", 4, "10.0.1.40", rule_sets=more, groups=("web",)), "h1"
    yield port("red/a", 5, rule_sets=("interface * client",), groups=("office",)), "h2"
    yield port("red/a", 6, pairs=pairs, guards=("mac-spoofing",), groups=("web",)), "h3"
    yield port("red/a", 7, rule_sets=("interface * client",), groups=("db",), pairs=far), "h1"
    yield port("red/a", 8, rule_sets=("interface * plain", "subnet * plain")), "h2"
    yield port("red/a", 22, groups=("office", "web")), "h2"
    yield port("red/b", 4, rule_sets=("interface * db", "subnet * fence"), groups=("db",)), "h3"
    yield port("red/b", 5, rule_sets=("interface * plain",), groups=("db",)), "h1"
    yield port("red/b", 6, families="4", rule_sets=("subnet * fence",), guards=_GUARDED), "h2"
    yield port("red/b", 7, groups=all_groups), "h1"
    yield port("red/b", 10, rule_sets=web, groups=("web",)), "h1"
    yield port("red/b", 9, groups=("office", "web")), "h3"
    yield port("red/b", 11, rule_sets=web), "h3"
    yield port("blue/a", 4, rule_sets=web, groups=("web",)), "h1"
    yield port("blue/a", 5, families="6", groups=all_groups), "h2"
    yield port("blue/a", 6, groups=all_groups), "h3"
    yield port("blue/b", 4, rule_sets=("interface * db",), groups=("db",)), "h2"
    yield port("blue/b", 6, rule_sets=("interface * client", "subnet * fence")), "h3"
    yield port("blue/b", 7, groups=all_groups), "h1"
    yield port("lone/a", 4, rule_sets=web, groups=("web",)), "h1"
    yield port("lone/a", 5, rule_sets=("interface * open",)), "h2"
    yield port("lone/a", 6, families="4"), "h3"


_GUARDED = ("dhcp-guard",)


def _rules() -> tuple[RuleSet | Rule, ...]:
    return (
        RuleSet(id="open"),
        RuleSet(id="web", in_default="deny"),
        allow("web", "in", 100, protocol=6, destination_ports="80-80"),
        allow("web", "in", 110, protocol=6, destination_ports="1000-2001", source=_SPACE),
        allow("web", "in", 120, protocol=1, family=4, icmp_type=8, source="10.0.0.0/21"),
        allow("web", "in", 130, protocol=58, family=6, icmp_type=128, icmp_code=0),
        deny("web", "in", 90, protocol=6, source="10.0.2.4/31", family=4),
        deny("web", "out", 100, protocol=17, destination_ports="53-53"),
        RuleSet(id="db", in_default="deny", out_default="deny"),
        allow("db", "in", 100, protocol=6, destination_ports="5432-5433", source_groups=("web",)),
        allow("db", "in", 110, protocol=47, source_groups=("web", "office")),
        allow("db", "out", 100, protocol=17, family=4, destination="INTERNET"),
        allow("db", "out", 110, protocol=17, destination_groups=("office",)),
        RuleSet(id="client", in_default="allow", out_default="deny"),
        allow("client", "out", 100, destination_groups=("db", "web")),
        deny("client", "out", 90, protocol=132, destination_ports="5000-5003"),
        allow("client", "out", 110, protocol=1, family=4, destination="AZURELOADBALANCER"),
        allow("client", "out", 120, protocol=58, family=6, destination="AZURELOADBALANCER"),
        deny("client", "in", 100, family=6, source="fd00:0:0:2::/64", protocol=6),
        RuleSet(id="fence", in_default="allow", out_default="deny"),
        allow("fence", "out", 200, family=4),
        allow("fence", "out", 200, family=6, destination="fd00:0:0:1::/64"),
        deny("fence", "out", 100, protocol=6, destination_ports="25-25"),
        deny("fence", "in", 100, protocol=17, source_groups=("office",)),
        deny("fence", "in", 100, protocol=6, source_ports="0-1023"),
        RuleSet(id="plain", in_default="deny", out_default="deny"),
        allow("plain", "in", 100, protocol=6, destination_ports="80-80", stateless=True),
        allow("plain", "out", 100, protocol=6, source_ports="80-80", stateless=True),
        allow("plain", "in", 110, protocol=17, source_groups=("office",), stateless=True),
        allow("plain", "out", 110, protocol=17, destination_groups=("web",), stateless=True),
        deny("plain", "in", 105, protocol=17, source_ports="0-1023"),
        # What goes out unfollowed, and is answered under a rule of connections.
        allow("plain", "out", 115, protocol=6, destination_ports="80-80", stateless=True),
        allow("plain", "in", 115, protocol=6, source_ports="80-80"),
        allow("plain", "in", 125, protocol=17, source_groups=("web",)),
        allow("plain", "out", 120, protocol=1, family=4, icmp_type=8, stateless=True),
        allow("plain", "in", 120, protocol=1, family=4, icmp_type=8, stateless=True),
        allow("plain", "in", 120, protocol=1, family=4, icmp_type=0, stateless=True),
    )


_SPACE = "VIRTUALNETWORK"


def _rule(rule_set: str, direction: str, priority: int, action: str, **others: object) -> Rule:
    named = sorted(f"{column}={value}" for column, value in others.items())
    name = f"{direction} {priority} {action} {' '.join(named)}"
    values: dict[str, object] = {
        **others,
        "rule_set": rule_set,
        "id": name,
        "direction": direction,
        "priority": priority,
        "action": action,
    }
    return Rule(**values)  # type: ignore[arg-type]  # columns by name


def allow(rule_set: str, direction: str, priority: int, **others: object) -> Rule:
    """A rule whose name says what it is."""
    return _rule(rule_set, direction, priority, "allow", **others)


def deny(rule_set: str, direction: str, priority: int, **others: object) -> Rule:
    """Likewise."""
    return _rule(rule_set, direction, priority, "deny", **others)
