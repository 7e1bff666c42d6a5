# SPDX-License-Identifier: Apache-2.0
"""Small clouds, in each of which one part of the pipeline that decides who reaches whom has all its
work to do: every rule is hit from this host and from another, what it keeps out is tried, and where
rules of packets stand beside rules of connections, each has one of the other kind in the opposite
direction, for that is where a flag or a mark matters.

Most ports are on h1; h2 speaks VXLAN to it, h3 NVGRE.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from isthmus.policy.rows import Port, Rule, RuleSet
from isthmus.policy.values import Action, Direction, PortGuard
from tests.proof.clouds import Deployment, Place, allow, deny, port
from tests.proof.random_clouds import PAIR_MAC
from tests.texts import applied

_WEB = ("interface * web",)
_SPACE = "VIRTUALNETWORK"


def _cloud(placed: Iterable[tuple[Port, str]], *rules: RuleSet | Rule) -> Deployment:
    placed = tuple(placed)
    ports = tuple(one for one, _ in placed)
    places = tuple(Place(one.id, host, n) for n, (one, host) in enumerate(placed, 1))
    return Deployment(ports, rules, places)


def levels() -> Deployment:
    """Rules of connections at both levels, for all addresses and for one; two tenants alike."""
    return _cloud(
        (
            (
                port("red/a", 4, "10.0.1.40", rule_sets=(*_WEB, "subnet 10.0.1.40 fence")),
                "h1",
            ),
            (port("red/a", 5, rule_sets=("interface * client",)), "h1"),
            (port("red/b", 4, rule_sets=(*_WEB, "subnet * fence")), "h1"),
            (port("red/b", 5, rule_sets=_WEB), "h1"),
            (port("red/a", 8), "h1"),
            (port("red/a", 6), "h2"),
            (port("red/b", 8), "h2"),
            (port("red/b", 7, rule_sets=("interface * client", "subnet * web")), "h3"),
            (port("red/b", 9), "h3"),
            (port("blue/a", 4, rule_sets=(*_WEB, "subnet * client")), "h1"),
            (port("blue/a", 8), "h1"),
            (port("blue/a", 6), "h2"),
        ),
        RuleSet(id="web", in_default=Action.DENY),
        allow("web", "in", 100, protocol=6, destination_ports="80-80"),
        allow("web", "in", 110, protocol=6, destination_ports="1000-2001", source=_SPACE),
        allow("web", "in", 120, protocol=1, family=4, icmp_type=8, source="10.0.0.0/21"),
        allow("web", "in", 130, protocol=58, family=6, icmp_type=128, icmp_code=0),
        deny("web", "in", 90, protocol=6, source="10.0.1.5/32", family=4),
        allow("web", "in", 140, protocol=47),
        deny("web", "out", 100, protocol=17, destination_ports="53-53"),
        RuleSet(id="client", in_default=Action.ALLOW, out_default=Action.DENY),
        allow("client", "out", 100, protocol=6, destination_ports="80-2001"),
        allow("client", "out", 110, protocol=1, family=4, destination="AZURELOADBALANCER"),
        deny("client", "in", 100, family=6, source="fd00:0:0:2::/64", protocol=6),
        RuleSet(id="fence", in_default=Action.ALLOW, out_default=Action.DENY),
        allow("fence", "out", 200, family=4),
        allow("fence", "out", 200, family=6, destination="fd00:0:0:1::/64"),
        deny("fence", "out", 100, protocol=6, destination_ports="25-25"),
        deny("fence", "in", 100, protocol=6, source_ports="0-1023"),
    )


def groups() -> Deployment:
    """Rules that speak of groups at either end; members here and elsewhere, alone and together."""
    both = ("office", "web")
    return _cloud(
        (
            (port("red/a", 4, rule_sets=("interface * db",), groups=("db",)), "h1"),
            (port("red/a", 5, groups=("web",)), "h1"),
            (port("red/b", 4, rule_sets=("interface * client",), groups=both), "h1"),
            (port("red/a", 6, groups=both), "h2"),
            (port("red/b", 8), "h2"),
            (port("red/b", 9, groups=("office",)), "h2"),
            (port("red/b", 7, rule_sets=("subnet * db",), groups=("office",)), "h3"),
            (port("red/a", 7, rule_sets=("interface * db",), groups=("web",)), "h3"),
            (port("blue/a", 4, rule_sets=("interface * db",), groups=("db",)), "h1"),
            (port("blue/a", 5, rule_sets=("interface * client",), groups=("office",)), "h1"),
            (port("blue/a", 8), "h1"),
            (port("blue/a", 6, groups=both), "h2"),
        ),
        RuleSet(id="db", in_default=Action.DENY, out_default=Action.DENY),
        allow("db", "in", 100, protocol=6, destination_ports="5432-5433", source_groups=("web",)),
        allow("db", "in", 105, protocol=132, source_groups=("web",)),
        allow("db", "in", 110, protocol=47, source_groups=("web", "office")),
        deny("db", "in", 90, protocol=6, source_groups=("office",), family=6),
        allow("db", "out", 110, protocol=17, destination_groups=("office",)),
        allow("db", "out", 120, protocol=47, destination_groups=("office", "web")),
        # Of the two ports of h3 one may open this to the other, and not the other to it: what both
        # may open passes either way, whether the host keeps connections or not.
        allow(
            "db",
            "out",
            130,
            protocol=6,
            destination_ports="5433-5433",
            destination_groups=("office",),
        ),
        RuleSet(id="client", in_default=Action.DENY, out_default=Action.DENY),
        allow("client", "out", 100, destination_groups=("db", "web"), protocol=6),
        allow("client", "out", 105, destination_groups=("db",), protocol=132),
        allow("client", "out", 110, protocol=47),
        deny("client", "in", 100, protocol=17, source_groups=("web",), destination_ports="80-80"),
        allow("client", "in", 110, protocol=17),
    )


def plain() -> Deployment:
    """Stateless rules beside others: what they let pass brings no answer of its own, so that each
    answer needs a rule, which is one of connections."""
    own = ("interface * plain",)
    return _cloud(
        (
            (port("red/a", 4, rule_sets=own, groups=("g",)), "h1"),
            (port("red/a", 5, rule_sets=("interface * watched",), groups=("g",)), "h1"),
            (port("red/b", 4, rule_sets=(*own, "subnet * more")), "h1"),
            (port("red/b", 5, rule_sets=("interface * watched",)), "h1"),
            (port("red/a", 8), "h1"),
            (port("red/a", 6, groups=("g",)), "h2"),
            (port("red/b", 7, rule_sets=(*own, "subnet * more")), "h3"),
            (port("red/b", 9, rule_sets=("interface * watched",)), "h3"),
            (port("red/a", 9, rule_sets=("interface * watched",), groups=("g",)), "h3"),
            (port("blue/a", 4, rule_sets=own), "h1"),
            (port("blue/a", 5, rule_sets=("interface * watched",), groups=("g",)), "h1"),
            (port("blue/b", 5, rule_sets=("interface * watched",)), "h1"),
            (port("blue/a", 6), "h2"),
            (port("blue/b", 6), "h2"),
        ),
        RuleSet(id="watched", in_default=Action.ALLOW, out_default=Action.ALLOW),
        deny("watched", "in", 100, protocol=132, destination_ports="6000-6000"),
        deny("watched", "in", 110, protocol=6, source_ports="80-80", destination_ports="80-80"),
        deny("watched", "in", 120, protocol=17, destination_ports="1100-1100"),
        RuleSet(id="plain", in_default=Action.DENY, out_default=Action.DENY),
        *_udp("out", 100, {4: "10.0.1.0/24", 6: "fd00:0:0:1::/64"}, "destination", stateless=True),
        *_udp("out", 105, {4: "10.0.2.0/24", 6: "fd00:0:0:2::/64"}, "destination", **_SOME),
        deny("plain", "out", 90, protocol=17, destination_ports="1040-1041"),
        deny("plain", "in", 90, protocol=17, source_ports="1280-1283"),
        *_udp("in", 95, {4: "10.0.2.0/24", 6: "fd00:0:0:2::/64"}, "source", stateless=True),
        allow("plain", "in", 100, protocol=17, source_ports="1024-2047"),
        allow("plain", "in", 110, protocol=6, stateless=True),
        allow("plain", "out", 120, protocol=6, source_ports="80-80"),
        allow("plain", "in", 120, protocol=47, source_groups=("g",), stateless=True),
        allow("plain", "in", 125, protocol=132, source_groups=("g",)),
        allow("plain", "out", 125, protocol=132, destination_ports="1024-1025", stateless=True),
        allow("plain", "out", 130, protocol=47),
        allow("plain", "in", 130, protocol=1, family=4, icmp_type=8, icmp_code=0),
        allow("plain", "in", 130, protocol=58, family=6, icmp_type=128, icmp_code=0),
        RuleSet(id="more", in_default=Action.ALLOW, out_default=Action.DENY),
        deny("more", "out", 90, protocol=17, destination_ports="1536-2047"),
        allow("more", "out", 100, protocol=17),
        allow("more", "out", 110, protocol=6),
        allow("more", "out", 120, protocol=47),
        deny("more", "in", 100, protocol=17, source_ports="1500-1500"),
    )


def _udp(
    direction: str, priority: int, ends: dict[int, str], end: str, **others: object
) -> list[Rule]:
    """Of `plain`, for an end of either family."""
    return [
        allow("plain", direction, priority, family=family, protocol=17, **{end: prefix}, **others)
        for family, prefix in ends.items()
    ]


_SOME = {"destination_ports": "1024-2047"}


def pairs() -> Deployment:
    """Address pairs and guards; ports of one family; a network without a router."""
    here = (f"10.0.1.192/28 {PAIR_MAC}", f"fd00:0:0:1::c8/128 {PAIR_MAC}")
    floating = ("10.0.1.208/29 02:00:00:00:00:04", "fd00:0:0:1::d8/125 02:00:00:00:00:04")
    there = (f"10.0.1.224/28 {PAIR_MAC}", f"fd00:0:0:1::e8/128 {PAIR_MAC}")
    far = ("192.168.7.0/24 02:00:5e:00:00:02",)
    return _cloud(
        (
            (port("red/a", 4, rule_sets=_CLOSED, pairs=(*here, *floating)), "h1"),
            (
                port(
                    "red/a", 5, rule_sets=_CLOSED, guards=(PortGuard.DHCP, PortGuard.MAC_SPOOFING)
                ),
                "h1",
            ),
            (port("red/b", 4, families="4", pairs=far), "h1"),
            (port("red/a", 6, pairs=there), "h2"),
            (port("red/b", 8, families="6", rule_sets=_CLOSED), "h2"),
            (port("red/b", 7, pairs=far), "h3"),
            (port("lone/a", 4, rule_sets=_CLOSED), "h1"),
            (port("lone/a", 5, rule_sets=_CLOSED), "h1"),
            (port("lone/a", 6, pairs=there), "h2"),
            (port("lone/a", 7, families="4"), "h3"),
        ),
        RuleSet(id="closed", in_default=Action.DENY),
        allow("closed", "in", 100, protocol=6, destination_ports="80-80"),
        deny("closed", "out", 100, protocol=17, destination_ports="53-53"),
        deny("closed", "out", 110, protocol=6, source_ports="80-80"),
    )


_CLOSED = ("interface * closed",)


def shut(cloud: Deployment, segment: str, direction: str) -> Deployment:
    """Of the ports under rules of a segment of each tenant, all is denied in a direction and
    allowed in the other; a stateless rule holds for them still, if only of a protocol that nobody
    speaks."""
    defaults = {
        f"{one}_default": Action.DENY if one == direction else Action.ALLOW for one in Direction
    }
    ports = (
        msgspec.structs.replace(
            port, rule_sets=applied(*["interface * shut"][: len(port.rule_sets)])
        )
        for port in cloud.ports
        if port.segment.endswith(f"/{segment}")
    )
    changed = {port.id: port for port in ports}
    return replace(
        cloud,
        ports=tuple(changed.get(port.id, port) for port in cloud.ports),
        rules=(
            *cloud.rules,
            RuleSet(id="shut", **defaults),
            allow("shut", direction, 100, protocol=253, stateless=True),
        ),
    )


CLOUDS = {one.__name__: one for one in (levels, groups, pairs, plain)}


def changes_of(cloud: Deployment) -> list[Deployment]:
    """What the policy becomes while connections are open; where they say which ends follow them."""
    if not any(isinstance(row, Rule) and row.stateless for row in cloud.rules):
        return []
    return [shut(cloud, segment, direction) for segment in "ab" for direction in ("in", "out")]
