# SPDX-License-Identifier: Apache-2.0
"""A small network as rows: ``red`` with the segments ``a`` (10.0.1.0/24, fd00:1::/64) and ``b``
(10.0.2.0/24, fd00:2::/64) on hosts that speak what `tests.switches.policy_rows` says."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet, Subnet
from isthmus.policy.values import Action, Direction
from isthmus.reach.world import World
from tests.switches import policy_rows
from tests.texts import applied
from tests.texts import ports as ports_of

SPACE = ("10.0.0.0/16", "fd00::/16")


def red() -> Iterator[Row]:
    """Hosts, and the network without ports."""
    yield from policy_rows.host_rows()
    for row in policy_rows.network_rows("red"):
        match row:
            case Router():
                yield msgspec.structs.replace(row, prefixes=SPACE, origin="/virtualNetworks/red")
            case RouterPort():
                yield msgspec.structs.replace(
                    row, addresses=(*row.addresses, f"fd00:{_number(row.segment)}::1/64")
                )
            case Subnet():
                yield row
                prefix = f"fd00:{_number(row.segment)}::/64"
                yield Subnet(segment=row.segment, prefix=prefix)
            case _:
                yield row


def _number(segment: str) -> int:
    return policy_rows.SEGMENTS.index(segment[-1]) + 1


def port(
    segment: str = "a",
    number: int = 4,
    *,
    rules: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
    six: bool = False,
    more: tuple[str, ...] = (),
) -> Port:
    """``red-a-4`` of 10.0.1.4 (and fd00:1::4), under ``level address set`` each."""
    one = policy_rows.port("red", segment, number)
    addresses = (*one.addresses, *more)
    if six:
        addresses = (*addresses, f"fd00:{policy_rows.SEGMENTS.index(segment) + 1}::{number:x}")
    return msgspec.structs.replace(
        one,
        addresses=addresses,
        rule_sets=applied(*rules),
        groups=groups,
        origin=f"/networkInterfaces/{one.id}",
    )


def rule_set(name: str = "web", in_default: str = "allow", out_default: str = "allow") -> RuleSet:
    return RuleSet(
        id=name,
        in_default=Action(in_default),
        out_default=Action(out_default),
        origin=f"/accessControlLists/{name}",
    )


def rule(
    name: str = "r",
    action: str = "deny",
    *,
    of: str = "web",
    direction: str = "in",
    priority: int = 100,
    ports: str = "",
    source_ports: str = "",
    protocol: int = 6,
    family: int = 0,
    source: str = "",
    destination: str = "",
    source_groups: tuple[str, ...] = (),
    destination_groups: tuple[str, ...] = (),
    icmp_type: int = -1,
    icmp_code: int = -1,
    stateless: bool = False,
) -> Rule:
    return Rule(
        rule_set=of,
        id=name,
        direction=Direction(direction),
        priority=priority,
        action=Action(action),
        family=family,
        protocol=protocol,
        source=source,
        destination=destination,
        source_groups=source_groups,
        destination_groups=destination_groups,
        source_ports=ports_of(source_ports),
        destination_ports=ports_of(ports),
        icmp_type=icmp_type,
        icmp_code=icmp_code,
        stateless=stateless,
        origin=f"/accessControlLists/{of}/aclRules/{name}",
    )


def world(*rows: Row) -> World:
    return World((*red(), *rows))
