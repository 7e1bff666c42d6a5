# SPDX-License-Identifier: Apache-2.0
"""Access control lists and their rules: a list is a rule set; a security tag that one is applied to
is a group, known by its name only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.derive.engine import Index, Item, Key, Read, unit
from isthmus.derive.from_intent.family import Family, item, reader
from isthmus.derive.from_intent.names import name_of, named
from isthmus.intent.fields import decode
from isthmus.intent.kinds import access_control_lists, acl_rules
from isthmus.intent.kinds.access_control_lists import AccessControlList
from isthmus.intent.kinds.acl_rules import WITH_PORTS, AclRule, Direction
from isthmus.intent.model import Stored
from isthmus.intent.references import key_of
from isthmus.intent.rule_values import ANY, HIGHEST_PORT, ports, protocol_number
from isthmus.policy.rows import Rule, RuleSet


class RuleSetFact(NamedTuple):
    """An access control list, without its rules."""

    ref: str
    name: str
    in_default: str
    out_default: str
    tags: tuple[str, ...]
    """Keys of the tags that it is applied to."""


class RuleFact(NamedTuple):
    """A rule is derived from nothing but itself."""

    row: Rule


def rule_set_fact(stored: Stored) -> RuleSetFact:
    acl = decode(stored, AccessControlList)
    return RuleSetFact(
        ref=stored.ref,
        name=name_of(stored),
        in_default=_ACTION[acl.inbound_default_action],
        out_default=_ACTION[acl.outbound_default_action],
        tags=tuple(sorted(map(key_of, acl.security_tags))),
    )


def rule_fact(stored: Stored) -> RuleFact:
    return RuleFact(row=_rule(stored, decode(stored, AclRule)))


_ACTION: dict[str, str] = {"Permit": "allow", "Allow": "allow", "Deny": "deny"}
_DIRECTION = {Direction.INBOUND: "in", Direction.OUTBOUND: "out"}


def _rule(stored: Stored, rule: AclRule) -> Rule:
    number = protocol_number(rule.protocol)
    # All with a range of ports is TCP and UDP with these (`policy.rules.protocols`)
    with_ports = number is None or number in WITH_PORTS
    every = number is None
    return Rule(
        rule_set=named(stored.parent),
        id=stored.resource_id.lower(),
        direction=_DIRECTION[rule.type],
        priority=rule.priority,
        action=_ACTION[rule.action],
        family=rule.ip_version or 0,
        protocol=-1 if number is None else number,
        source=_end(rule.source_address_prefix),
        destination=_end(rule.destination_address_prefix),
        source_groups=tuple(sorted(map(named, rule.source_security_tags))),
        destination_groups=tuple(sorted(map(named, rule.destination_security_tags))),
        source_ports=_ports(rule.source_port_range, every) if with_ports else "",
        destination_ports=_ports(rule.destination_port_range, every) if with_ports else "",
        icmp_type=-1 if rule.icmp_type is None else rule.icmp_type,
        icmp_code=-1 if rule.icmp_code is None else rule.icmp_code,
        stateless=rule.stateless,
        origin=stored.ref,
    )


def _end(prefix: str | None) -> str:
    """``0.0.0.0/0`` stays: it is any address of one family."""
    return "" if prefix is None or prefix == ANY else prefix


def _ports(text: str, every_protocol: bool) -> str:
    """Empty for all ports. 1-65535 is what the text of MS-NCNBI section 3.1.5.1 calls all of them,
    so that with protocol All it is every protocol; port 0 of TCP and UDP is left out where one of
    these is named."""
    first, last = ports(text)
    lowest = 1 if every_protocol else 0
    return "" if first <= lowest and last == HIGHEST_PORT else f"{first}-{last}"


def access_control_list(acl: RuleSetFact, read: Read) -> Iterator[Item]:
    """Over RuleSetFact: the rule set, without its rules."""
    yield item(
        RuleSet(
            id=acl.name,
            in_default=acl.in_default,
            out_default=acl.out_default,
            origin=acl.ref,
        )
    )


def acl_rule(rule: RuleFact, read: Read) -> Iterator[Item]:
    """Over RuleFact: the rule."""
    yield item(rule.row)


def _tags_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, RuleSetFact)
    return row.tags


RULE_SETS_BY_TAG = Index(RuleSetFact, "tag", _tags_of)

FAMILY = Family(
    readers=(
        reader(access_control_lists.KIND, RuleSetFact, rule_set_fact),
        reader(acl_rules.KIND, RuleFact, rule_fact),
    ),
    units=(unit(RuleSetFact, access_control_list), unit(RuleFact, acl_rule)),
    indexes=(RULE_SETS_BY_TAG,),
)
