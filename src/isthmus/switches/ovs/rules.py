# SPDX-License-Identifier: Apache-2.0
"""Rules as flows, on the original tuple of a connection, stateless ones also on the packet itself;
and the members of groups.

Each profile has a flow of the lowest priority for its default, and above it its rules in order: the
first that matches decides. Ranges of ports are masks. A group is one bit of a register: a member
costs a host one flow for each end that rules look at, however many rules there are; and a rule
costs one flow, however many members there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from itertools import product
from typing import NamedTuple

import msgspec

from isthmus.addresses import ipv4_number
from isthmus.derive.engine import Item, Read
from isthmus.host.indexes import LEGS_BY_ROUTER
from isthmus.policy.joined import joined
from isthmus.policy.rows import Port, Router, Rule
from isthmus.policy.rules import Network, networks, protocols, span
from isthmus.policy.topology import gateways
from isthmus.policy.values import Action, PortRange, RuleLevel
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.allowed import noted
from isthmus.switches.ovs.bands import Groups, Rules
from isthmus.switches.ovs.domains import legs_of
from isthmus.switches.ovs.facts import Assigned, SegmentFacts
from isthmus.switches.ovs.filters import (
    ENDS,
    PLAIN_ENDS,
    USES_BY_GROUP,
    Compiled,
    GroupEnd,
    GroupUse,
    Profile,
    enforced,
)
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.rule_stages import PLAIN_STAGES, STAGES
from isthmus.wire import oxm

ETHERNET = {4: 0x0800, 6: 0x86DD}

FOLLOWED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
"""Open vSwitch wants it in every match on the original tuple."""


class Fields(NamedTuple):
    """Which fields hold the tuple that rules look at. `ports`: by protocol, those that are in the
    packet itself; `plain`: all of them are."""

    source: Mapping[int, oxm.Field]
    destination: Mapping[int, oxm.Field]
    ports: Mapping[int, tuple[oxm.Field, oxm.Field]]
    plain: bool


TCP, UDP, SCTP = 6, 17, 132
_PORTS = {
    TCP: (oxm.TCP_SRC, oxm.TCP_DST),
    UDP: (oxm.UDP_SRC, oxm.UDP_DST),
    SCTP: (oxm.SCTP_SRC, oxm.SCTP_DST),
}
_ICMP = {1: (oxm.ICMP_TYPE, oxm.ICMP_CODE), 58: (oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE)}
"""Of ICMP, connection tracking keeps type and code in the place of ports."""

PACKET = Fields(
    {4: oxm.IPV4_SRC, 6: oxm.IPV6_SRC},
    {4: oxm.IPV4_DST, 6: oxm.IPV6_DST},
    {**_PORTS, **_ICMP},
    plain=True,
)
ORIGINAL = Fields(
    {4: oxm.CT_NW_SRC, 6: oxm.CT_IPV6_SRC},
    {4: oxm.CT_NW_DST, 6: oxm.CT_IPV6_DST},
    {},
    plain=False,
)
"""Of the connection."""

QUESTION = ORIGINAL._replace(ports={SCTP: (oxm.SCTP_SRC, oxm.SCTP_DST)})
ANSWER = ORIGINAL._replace(ports={SCTP: (oxm.SCTP_DST, oxm.SCTP_SRC)})
"""Likewise, in either direction. Open vSwitch's own connection tracking, as of 3.1, keeps of SCTP
the addresses alone and gives ports of 0: what the packet has is looked at."""

NOT_LATER = oxm.ip_frag(0, oxm.FRAGMENT_LATER)
"""Later fragments of a packet have no ports to look at. Where connections are followed, they share
the fate of the first (`tracking`); for a rule that looks at packets alone, they do not match."""

NO_REPLY = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL)
REPLY = oxm.ct_state(oxm.CT_TRK | oxm.CT_RPL, oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL)


def rule_flows(compiled: Compiled, read: Read) -> Iterator[Item]:
    """Over Compiled: its rules at both levels, for ports may have it at either."""
    profile, number = compiled.profile, compiled.number
    if not number:
        return
    compiled = compiled._replace(level=enforced(compiled, read))
    for level in RuleLevel:
        stage, its_number, following = STAGES[profile.direction, level]
        mine = its_number.match(number)
        default = Flows("rule_flows", flows_name(profile, level))
        place = profile.direction, level
        if compiled.level.allow_by_default:
            note = noted(*place, profile.sets, None, read)
            yield default.add(
                stage, Rules.DEFAULT, oxm.match(mine), apply=note or None, goto=following
            )
        else:
            yield default.drop(stage, Rules.DEFAULT, oxm.match(mine), read)
        if profile.plain:
            yield from _plain_flows(compiled, level, read)
        for priority, rule in _by_priority(compiled.level.rules):
            flows = Flows("rule_flows", flows_name(profile, level, rule))
            note = noted(*place, profile.sets, rule, read)
            for followed, fields, passes in _verdicts(rule):
                for match in matches(profile, rule, fields, read):
                    whole = oxm.match(mine, *followed, *match)
                    if passes:
                        yield flows.add(stage, priority, whole, apply=note or None, goto=following)
                    else:
                        yield flows.drop(stage, priority, whole, read)


def flows_name(profile: Profile, level: RuleLevel, rule: Rule | None = None) -> str:
    """What the cookies of a rule's flows are made of; without a rule, of its list's default."""
    word = "default" if rule is None else f"{joined(rule.rule_set)}/{joined(rule.id)}"
    return f"{profile.key.text} {level} {word}"


def _by_priority(rules: Iterable[Rule]) -> Iterator[tuple[int, Rule]]:
    for rank, rule in enumerate(rules):
        yield max(Rules.RULE.last - rank, Rules.RULE), rule


def _verdicts(rule: Rule) -> tuple[tuple[tuple[bytes, ...], Fields, bool], ...]:
    """Of which packets of a connection a rule speaks, where its tuple is in them, and whether it
    lets them pass."""
    allows = rule.action is Action.ALLOW
    if rule.stateless and allows:
        return (
            ((NO_REPLY, reg.TURNED.match(0)), QUESTION, True),
            ((NO_REPLY, reg.TURNED.match(1)), QUESTION, False),
            ((REPLY,), ANSWER, False),
        )
    if rule.protocol == SCTP and _looks_inside(rule):
        return ((NO_REPLY,), QUESTION, allows), ((REPLY,), ANSWER, allows)
    return (((FOLLOWED,), ORIGINAL, allows),)


def _looks_inside(rule: Rule) -> bool:
    """Whether at more than the header of IP."""
    has_ports = rule.source_ports is not None or rule.destination_ports is not None
    return has_ports or rule.icmp_type >= 0


_Verdict = tuple[Stage, tuple[bytes, ...] | None]
"""Where a packet goes on, and what is done to it before."""


def _plain_flows(compiled: Compiled, level: RuleLevel, read: Read) -> Iterator[Item]:
    """On the packet, taken for itself. What both levels allow and a stateless rule is among, passes
    at this end, and nobody follows it; of what else they allow it is remembered that they do.
    """
    profile, number = compiled.profile, compiled.number
    assert number, "who calls it has a number"
    here = PLAIN_STAGES[profile.direction, level]
    stage, mine = here.stage, here.number.match(number)
    stateful = (here.following, (here.allowed.copy_to(here.end),) if here.is_last else None)
    stateless = (here.following, ((here.end if here.is_last else here.allowed).load(0),))
    by_default = stateful if compiled.level.allow_by_default else (here.denied, None)
    flows = Flows("rule_flows", f"{profile.key.text} {level} plain")
    place = profile.direction, level
    allows = compiled.level.allow_by_default
    note = noted(*place, profile.sets, None, read) if allows else ()
    default = _with(note, by_default)
    yield flows.add(stage, Rules.DEFAULT, oxm.match(mine), apply=default[1], goto=default[0])
    for priority, rule in _by_priority(compiled.level.rules):
        allowing = stateless if rule.stateless else stateful
        allows = rule.action is Action.ALLOW
        # What it lets pass here no other flow of its counts; what goes on is judged and counted.
        is_counted = allows and rule.stateless
        its = Flows("rule_flows", flows_name(profile, level, rule)) if is_counted else flows
        note = noted(*place, profile.sets, rule, read) if allows else ()
        goto, apply = _with(note, allowing if allows else (here.denied, None))
        for match in matches(profile, rule, PACKET, read):
            yield its.add(stage, priority, oxm.match(mine, *match), apply=apply, goto=goto)


def _with(note: tuple[bytes, ...], verdict: _Verdict) -> _Verdict:
    goto, apply = verdict
    return goto, (*note, *(apply or ())) or None


def matches(
    profile: Profile, rule: Rule, fields: Fields, read: Read
) -> Iterator[tuple[bytes, ...]]:
    """What a rule matches, without the number of its profile."""
    for number in protocols(rule):
        yield from _matches(profile, msgspec.structs.replace(rule, protocol=number), fields, read)


def _matches(
    profile: Profile, rule: Rule, fields: Fields, read: Read
) -> Iterator[tuple[bytes, ...]]:
    """For one protocol, or any: a product of its ends' prefixes or groups, and of the masks of its
    ports."""
    for family in (4, 6) if rule.family == 0 else (rule.family,):
        fixed = [oxm.eth_type(ETHERNET[family])]
        if rule.protocol >= 0:
            proto = oxm.ip_proto if fields.plain else oxm.ct_nw_proto
            fixed.append(proto(rule.protocol))
        if rule.protocol in fields.ports and _looks_inside(rule):
            fixed.append(NOT_LATER)
            if not fields.plain:
                fixed.append(oxm.ip_proto(rule.protocol))
        source, destination = (_end(profile, rule, end, family, fields, read) for end in ENDS)
        from_ports, to_ports = _port_matches(rule, fields)
        for ours, theirs, *choice in product(source, destination, from_ports, to_ports):
            yield (*fixed, *filter(None, (ours, theirs, *choice)))


def _port_matches(rule: Rule, fields: Fields) -> tuple[list[bytes], list[bytes]]:
    ours, theirs = fields.ports.get(rule.protocol, (oxm.CT_TP_SRC, oxm.CT_TP_DST))
    from_ports = [oxm.masked(ours, *pair) for pair in masks(rule.source_ports)]
    to_ports = [oxm.masked(theirs, *pair) for pair in masks(rule.destination_ports)]
    if rule.icmp_type >= 0:
        from_ports = [oxm.exact(ours, rule.icmp_type)]
        if rule.icmp_code >= 0:
            to_ports = [oxm.exact(theirs, rule.icmp_code)]
    return from_ports, to_ports


def _end(
    profile: Profile, rule: Rule, end: GroupEnd, family: int, fields: Fields, read: Read
) -> Sequence[bytes]:
    is_source = end is GroupEnd.SOURCE
    groups = rule.source_groups if is_source else rule.destination_groups
    if groups:
        seen = PLAIN_ENDS[end] if fields.plain else end
        bits = (_bit(GroupUse(profile.domain, seen, group), read) for group in groups)
        return [reg.GROUP_BITS[bit].match(1) for bit in bits if bit is not None]
    text = rule.source if is_source else rule.destination
    field = (fields.source if is_source else fields.destination)[family]
    known = [row for name in profile.routers if (row := read.get(Router, name)) is not None]
    space = [prefix for router in known for prefix in router.prefixes]
    routers = [
        address
        for name in (profile.routers if text.isalpha() else ())
        for address in gateways(legs_of(LEGS_BY_ROUTER, name, read))
    ]
    found = networks(text, family, list(dict.fromkeys(space)), list(dict.fromkeys(routers)))
    return [_prefix(field, one) for one in found]


def _prefix(field: oxm.Field, one: Network) -> bytes:
    return oxm.prefix(field, int(one.network_address), one.prefixlen) if one.prefixlen else b""


def _bit(use: GroupUse, read: Read) -> int | None:
    assigned = read.get(Assigned, use.wanted)
    return None if assigned is None else assigned.number


def masks(ports: PortRange | None) -> Iterator[tuple[int, int]]:
    """A range of ports as values and masks of 16 bits, as few as there can be; a mask of 0 for all
    ports."""
    first, last = span(ports)
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        yield first, 0x10000 - size & 0xFFFF
        first += size


class _Members(NamedTuple):
    """Where the members of groups are looked up, as one end of packets: in which fields, among
    packets that match `followed`, and what looks next."""

    stage: Stage
    following: Stage
    fields: Mapping[int, oxm.Field]
    followed: bytes


_MEMBERS = {
    GroupEnd.SOURCE: _Members(Stage.SOURCE_GROUPS, Stage.TARGET_GROUPS, ORIGINAL.source, FOLLOWED),
    GroupEnd.DESTINATION: _Members(
        Stage.TARGET_GROUPS, Stage.INITIATOR, ORIGINAL.destination, FOLLOWED
    ),
    GroupEnd.PLAIN_SOURCE: _Members(
        Stage.PLAIN_SOURCE_GROUPS, Stage.PLAIN_TARGET_GROUPS, PACKET.source, b""
    ),
    GroupEnd.PLAIN_DESTINATION: _Members(
        Stage.PLAIN_TARGET_GROUPS, Stage.PLAIN_SENDER, PACKET.destination, b""
    ),
}
"""By the `end` of a `GroupUse`."""


def membership(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: the bits of the groups that its addresses are in, for each end that rules on this
    host look at."""
    facts = read.get(SegmentFacts, port.segment) if port.groups else None
    if facts is None:
        return
    loads: dict[GroupEnd, list[bytes]] = {}
    for group in port.groups:
        for use in read.find(USES_BY_GROUP, (facts.domain, group)):
            assert isinstance(use, GroupUse), "it is its own key"
            bit = _bit(use, read)
            if bit is not None:
                loads.setdefault(use.end, []).append(reg.GROUP_BITS[bit].load(1))
    if not loads:
        return
    flows, domain = Flows("membership", port.id), reg.DOMAIN.match(facts.domain)
    for end, bits in loads.items():
        stage, following, fields, followed = _MEMBERS[end]
        for text in port.addresses:
            if ":" in text:
                family, number = 6, int(IPv6Address(text))
            else:
                family, number = 4, ipv4_number(text)
            member = oxm.exact(fields[family], number)
            here = oxm.match(domain, followed, oxm.eth_type(ETHERNET[family]), member)
            yield flows.add(stage, Groups.MEMBER, here, apply=tuple(bits), goto=following)
