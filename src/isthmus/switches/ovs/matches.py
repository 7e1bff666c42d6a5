# SPDX-License-Identifier: Apache-2.0
"""What a rule matches: its ends' prefixes or groups, its protocol and its ports.

Ranges of ports are masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import msgspec

from isthmus.derive.engine import Read
from isthmus.host.indexes import LEGS_BY_ROUTER
from isthmus.policy.rows import Router, Rule
from isthmus.policy.rules import Network, networks, protocols, span
from isthmus.policy.topology import gateways
from isthmus.policy.values import PortRange
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.domains import legs_of
from isthmus.switches.ovs.groups import ENDS, PLAIN_ENDS, GroupEnd, GroupUse, group_bit
from isthmus.switches.ovs.profiles import Profile
from isthmus.switches.ovs.tuple_fields import ETHERNET, Fields
from isthmus.wire import oxm

NOT_LATER = oxm.ip_frag(0, oxm.FRAGMENT_LATER)
"""Later fragments of a packet have no ports to look at. Where connections are followed, they share
the fate of the first (`tracking`); for a rule that looks at packets alone, they do not match."""


def looks_inside(rule: Rule) -> bool:
    """Whether the rule looks at more than the header of IP."""
    has_ports = rule.source_ports is not None or rule.destination_ports is not None
    return has_ports or rule.icmp_type >= 0


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
        if rule.protocol in fields.ports and looks_inside(rule):
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
        bits = (group_bit(GroupUse(profile.domain, seen, group), read) for group in groups)
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
