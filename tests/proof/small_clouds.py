# SPDX-License-Identifier: Apache-2.0
"""Small clouds, in each of which one part of the pipeline that decides who reaches whom has all its
work to do: every rule is hit from this host and from another, and what it keeps out is tried.

Most ports are on h1; h2 speaks VXLAN to it, h3 NVGRE.
"""

from __future__ import annotations

from collections.abc import Iterable

from isthmus.policy.rows import Port, Rule, RuleSet
from tests.proof.clouds import Cloud, Place, allow, deny, port

_WEB = ("interface * web",)
_SPACE = "VIRTUALNETWORK"


def _cloud(placed: Iterable[tuple[Port, str]], *rules: RuleSet | Rule) -> Cloud:
    placed = tuple(placed)
    ports = tuple(one for one, _ in placed)
    places = tuple(Place(one.id, host, n) for n, (one, host) in enumerate(placed, 1))
    return Cloud(ports, rules, places)


def levels() -> Cloud:
    """Rules of connections at both levels, for all addresses and for one; two tenants alike."""
    return _cloud(
        (
            (
                port("red/a", 4, "10.0.1.40", rule_sets=(*_WEB, "subnet 10.0.1.40 fence")),
                "h1",
            ),
            (port("red/a", 5, rule_sets=("interface * client",)), "h1"),
            (port("red/b", 4, rule_sets=(*_WEB, "subnet * fence")), "h1"),
            (port("red/a", 8), "h1"),
            (port("red/a", 6), "h2"),
            (port("red/b", 8), "h2"),
            (port("red/b", 7, rule_sets=("interface * client", "subnet * web")), "h3"),
            (port("blue/a", 4, rule_sets=(*_WEB, "subnet * client")), "h1"),
            (port("blue/a", 6), "h2"),
        ),
        RuleSet(id="web", in_default="deny"),
        allow("web", "in", 100, protocol=6, destination_ports="80-80"),
        allow("web", "in", 110, protocol=6, destination_ports="1000-2001", source=_SPACE),
        allow("web", "in", 120, protocol=1, family=4, icmp_type=8, source="10.0.0.0/21"),
        allow("web", "in", 130, protocol=58, family=6, icmp_type=128, icmp_code=0),
        deny("web", "in", 90, protocol=6, source="10.0.1.5/32", family=4),
        allow("web", "in", 140, protocol=47),
        deny("web", "out", 100, protocol=17, destination_ports="53-53"),
        RuleSet(id="client", in_default="allow", out_default="deny"),
        allow("client", "out", 100, protocol=6, destination_ports="80-2001"),
        allow("client", "out", 110, protocol=1, family=4, destination="AZURELOADBALANCER"),
        deny("client", "in", 100, family=6, source="fd00:0:0:2::/64", protocol=6),
        RuleSet(id="fence", in_default="allow", out_default="deny"),
        allow("fence", "out", 200, family=4),
        allow("fence", "out", 200, family=6, destination="fd00:0:0:1::/64"),
        deny("fence", "out", 100, protocol=6, destination_ports="25-25"),
        deny("fence", "in", 100, protocol=6, source_ports="0-1023"),
    )


CLOUDS = {one.__name__: one for one in (levels,)}
