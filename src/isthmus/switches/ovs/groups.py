# SPDX-License-Identifier: Apache-2.0
"""Groups that rules speak of: as which end of packets, and who is in them.

A group is one bit of a register: a member costs a host one flow for each end that rules look at,
however many rules there are; and a rule costs one flow, however many members there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from ipaddress import IPv6Address
from typing import NamedTuple

from isthmus.addresses import ipv4_number
from isthmus.derive.engine import Index, Item, Key, Read
from isthmus.policy.rows import Port
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Groups
from isthmus.switches.ovs.facts import Assigned, SegmentFacts, Wanted
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.tuple_fields import ETHERNET, FOLLOWED, ORIGINAL, PACKET
from isthmus.wire import oxm

GROUPS = "group"
"""Each routing domain has such a space of its own."""


class GroupEnd(StrEnum):
    """An end of packets whose groups rules look at: of those of a connection, or, for a plain
    profile, of each packet."""

    SOURCE = "source"
    DESTINATION = "destination"
    PLAIN_SOURCE = "plain source"
    PLAIN_DESTINATION = "plain destination"


ENDS = (GroupEnd.SOURCE, GroupEnd.DESTINATION)
PLAIN_ENDS = {
    GroupEnd.SOURCE: GroupEnd.PLAIN_SOURCE,
    GroupEnd.DESTINATION: GroupEnd.PLAIN_DESTINATION,
}


class GroupUse(NamedTuple):
    """That rules on this host speak of a group's members, as an end of packets."""

    domain: int
    end: GroupEnd
    group: str

    @property
    def wanted(self) -> Wanted:
        return Wanted(GROUPS, self)


def _group_of(_key: Key, row: object) -> Iterable[Key]:
    assert isinstance(row, GroupUse)
    return ((row.domain, row.group),)


USES_BY_GROUP = Index(GroupUse, "group", _group_of)


def group_bit(use: GroupUse, read: Read) -> int | None:
    """The number of the bit; None until there is one."""
    assigned = read.get(Assigned, use.wanted)
    return None if assigned is None else assigned.number


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
            bit = group_bit(use, read)
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
