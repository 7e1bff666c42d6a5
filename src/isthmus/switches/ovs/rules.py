# SPDX-License-Identifier: Apache-2.0
"""Rules as flows, on the original tuple of a connection; and the members of groups.

Each profile has a flow of the lowest priority for its default, and above it its rules in order: the
first that matches decides. Ranges of ports are masks. A group is one bit of a register: a member
costs a host one flow for each end that rules look at, however many rules there are; and a rule
costs one flow, however many members there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product

from isthmus.derive.engine import Item, Read
from isthmus.policy.rows import Port, Router, RouterPort, Rule
from isthmus.policy.rules import EVERYTHING, Network, networks, span
from isthmus.switches.ovs.facts import Assigned, Ground
from isthmus.switches.ovs.filters import ENDS, Compiled, GroupUse, Inexpressible, Profile
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.ground import LEGS_BY_ROUTER
from isthmus.switches.ovs.pipeline import GROUPS, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

ETHERNET = {4: 0x0800, 6: 0x86DD}

FOLLOWED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
"""Open vSwitch wants it in every match on the original tuple."""

TOP, BOTTOM = 60000, 2
"""Priorities of the first rule and of the last that there is room for; 1 is the default's."""

STAGES = {
    ("out", "interface"): (Stage.OUT_INTERFACE, Stage.OUT_SUBNET),
    ("out", "subnet"): (Stage.OUT_SUBNET, Stage.RESPONDER),
    ("in", "subnet"): (Stage.IN_SUBNET, Stage.IN_INTERFACE),
    ("in", "interface"): (Stage.IN_INTERFACE, Stage.COMMIT),
}
"""Where the rules of a direction and level are, and where goes what they let pass."""

_REGISTER = {"out": Register.OUT_RULES, "in": Register.IN_RULES}
_SOURCE = {4: oxm.CT_NW_SRC, 6: oxm.CT_IPV6_SRC}
_DESTINATION = {4: oxm.CT_NW_DST, 6: oxm.CT_IPV6_DST}


def rule_flows(compiled: Compiled, read: Read) -> Iterator[Item]:
    """Over Compiled: its rules at both levels, for ports may have it at either."""
    profile, number = compiled.profile, compiled.number
    if not number:
        return
    trouble = read.get(Inexpressible, profile.name)
    for level in ("interface", "subnet"):
        stage, following = STAGES[profile.direction, level]
        mine = _number(profile.direction, level, number)
        default = Flows("rule_flows", f"{profile.name} {level} default")
        allow = compiled.level.allow_by_default and trouble is None
        yield default.add(stage, 1, oxm.match(mine), goto=following if allow else None)
        if trouble is not None:
            continue
        for rank, rule in enumerate(compiled.level.rules):
            flows = Flows("rule_flows", f"{profile.name} {level} {rule.rule_set}/{rule.id}")
            for match in matches(profile, rule, read):
                yield flows.add(
                    stage,
                    max(TOP - rank, BOTTOM),
                    oxm.match(mine, *match),
                    goto=following if rule.action == "allow" else None,
                )


def _number(direction: str, level: str, number: int) -> bytes:
    register = _REGISTER[direction]
    if level == "interface":
        return oxm.reg(register, number << 16, 0xFFFF0000)
    return oxm.reg(register, number, 0xFFFF)


def matches(profile: Profile, rule: Rule, read: Read) -> Iterator[tuple[bytes, ...]]:
    """What a rule matches, without the number of its profile: a product of its ends' prefixes or
    groups, and of the masks of its ports."""
    for family in (4, 6) if rule.family == 0 else (rule.family,):
        fixed = [FOLLOWED, oxm.eth_type(ETHERNET[family])]
        if rule.protocol >= 0:
            fixed.append(oxm.ct_nw_proto(rule.protocol))
        source, destination = (_end(profile, rule, end, family, read) for end in ENDS)
        from_ports, to_ports = rule.source_ports, rule.destination_ports
        sources = [oxm.ct_tp_src(*pair) for pair in masks(from_ports)] if from_ports else [b""]
        destinations = [oxm.ct_tp_dst(*pair) for pair in masks(to_ports)] if to_ports else [b""]
        if rule.icmp_type >= 0:
            # Of ICMP, connection tracking keeps type and code in the place of ports.
            sources = [oxm.ct_tp_src(rule.icmp_type)]
            if rule.icmp_code >= 0:
                destinations = [oxm.ct_tp_dst(rule.icmp_code)]
        for choice in product(source, destination, sources, destinations):
            yield (*fixed, *filter(None, choice))


def _end(profile: Profile, rule: Rule, end: str, family: int, read: Read) -> list[bytes]:
    groups = rule.source_groups if end == "source" else rule.destination_groups
    if groups:
        bits = (_bit(GroupUse(profile.domain, end, group), read) for group in groups)
        return [_bit_match(bit) for bit in bits if bit is not None]
    text = rule.source if end == "source" else rule.destination
    field = (_SOURCE if end == "source" else _DESTINATION)[family]
    router = read.get(Router, profile.router)
    space = router.prefixes if router is not None else ()
    gateways = _gateways(profile.router, read) if text.isalpha() else ()
    return [_prefix(field, one) for one in networks(text, family, space, gateways)]


def _prefix(field: oxm.Field, one: Network) -> bytes:
    if one == EVERYTHING[one.version]:
        return b""
    return oxm.prefix(field, int(one.network_address), one.prefixlen)


def _gateways(router: str, read: Read) -> list[str]:
    found = []
    for key in read.find(LEGS_BY_ROUTER, router):
        leg = read.get(RouterPort, key)
        found += [text.partition("/")[0] for text in leg.addresses] if leg is not None else []
    return sorted(found)


def _bit(use: GroupUse, read: Read) -> int | None:
    assigned = read.get(Assigned, use.wanted)
    return None if assigned is None else assigned.number


def _bit_match(bit: int) -> bytes:
    return oxm.reg(GROUPS + bit // 32, 1 << bit % 32, 1 << bit % 32)


def masks(ports: str) -> Iterator[tuple[int, int]]:
    """A range of ports as values and masks of 16 bits, as few as there can be."""
    first, last = span(ports)
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        yield first, 0x10000 - size
        first += size


def membership(port: Port, read: Read) -> Iterator[Item]:
    """Over Port: the bits of the groups that its addresses are in, for each end that rules on this
    host look at."""
    if not port.groups:
        return
    ground = read.get(Ground, port.segment)
    if ground is None:
        return
    flows = Flows("membership", port.id)
    for end, stage, following in (
        ("source", Stage.SOURCE_GROUPS, Stage.TARGET_GROUPS),
        ("destination", Stage.TARGET_GROUPS, Stage.INITIATOR),
    ):
        bits = []
        for group in port.groups:
            use = GroupUse(ground.domain, end, group)
            bit = _bit(use, read) if read.get(GroupUse, use) is not None else None
            if bit is not None:
                bits.append(bit)
        if not bits:
            continue
        loads = tuple(act.load(1, oxm.REG[GROUPS + bit // 32], bit % 32, 1) for bit in bits)
        for text in port.addresses:
            address = ip_address(text)
            field = (_SOURCE if end == "source" else _DESTINATION)[address.version]
            yield flows.add(
                stage,
                100,
                oxm.match(
                    oxm.reg(Register.DOMAIN, ground.domain),
                    FOLLOWED,
                    oxm.eth_type(ETHERNET[address.version]),
                    oxm.exact(field, int(address)),
                ),
                apply=loads,
                goto=following,
            )
