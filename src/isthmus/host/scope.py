# SPDX-License-Identifier: Apache-2.0
"""What a host reads of the south store: what its own ports need, and nothing else.

In scope are the segments of the local ports, every segment that a router joins to one of them, and
the rule sets that local ports are under. What routing domain a segment is in follows from all its
routers: where several have legs in one segment, further ones are read with their legs, and not what
else is in the segments of these.
The scope grows with what has been read: a port names its segment, the segment's leg its router, the
router's other legs further segments. It is derived by units like everything else, so following it
costs O(change).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from isthmus.derive.engine import Engine, Item, Read, unit
from isthmus.host.domains import adjacent, routers_joined_to
from isthmus.host.facts import Adjacent, LocalPort
from isthmus.host.indexes import LEGS_BY_ROUTER, LEGS_BY_SEGMENT
from isthmus.host.interfaces import port_read
from isthmus.policy.rows import (
    Claim,
    Heartbeat,
    Host,
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    Probe,
    Query,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.policy.topology import is_peer

Clause = tuple[str, str, str]
"""An OVSDB condition (RFC 7047 section 5.1): column, function, value. Several are joined by OR."""

Conditions = Mapping[type[Row], tuple[Clause, ...]]
"""By table; an empty tuple asks for no row, an absent table for all."""


class Unresolved(NamedTuple):
    """An interface whose port is not known: it is asked for by name."""

    iface_id: str


class LocalSegment(NamedTuple):
    segment: str


class InScope(NamedTuple):
    segment: str


class RouterInScope(NamedTuple):
    router: str


class PeerRouter(NamedTuple):
    """The router of a peered network: it is read, and not followed further."""

    router: str


class DomainRouter(NamedTuple):
    """A router of a routing domain with several."""

    router: str


class LegsInScope(NamedTuple):
    """A segment of such a router, of which legs are read."""

    segment: str


class RulesInScope(NamedTuple):
    """A rule set that a local port is under."""

    rule_set: str


def resolve(local: LocalPort, read: Read) -> Iterator[Item]:
    """Over LocalPort: the segment of its port, or that it is unknown."""
    port = port_read(local.iface_id, read)
    if port is None:
        yield Item(Unresolved, local.iface_id, Unresolved(local.iface_id))
    else:
        yield Item(LocalSegment, port.segment, LocalSegment(port.segment))
        yield Item(InScope, port.segment, InScope(port.segment))
        for one in port.rule_sets:
            yield Item(RulesInScope, one.rule_set, RulesInScope(one.rule_set))


def join(local: LocalSegment, read: Read) -> Iterator[Item]:
    """Over LocalSegment: the routers that it is attached to."""
    for key in read.find(LEGS_BY_SEGMENT, local.segment):
        leg = read.get(RouterPort, key)
        if leg is not None and not is_peer(leg):
            yield Item(RouterInScope, leg.router, RouterInScope(leg.router))


def widen(joined: RouterInScope, read: Read) -> Iterator[Item]:
    """Over RouterInScope: every segment that the router reaches."""
    for key in read.find(LEGS_BY_ROUTER, joined.router):
        leg = read.get(RouterPort, key)
        if leg is None:
            continue
        yield Item(InScope, leg.segment, InScope(leg.segment))
        if is_peer(leg):
            # Its own router numbers the routing domain that the segment is in.
            for other_key in read.find(LEGS_BY_SEGMENT, leg.segment):
                other = read.get(RouterPort, other_key)
                if other is not None and not is_peer(other):
                    yield Item(PeerRouter, other.router, PeerRouter(other.router))


def follow(joined: RouterInScope, read: Read) -> Iterator[Item]:
    """Over RouterInScope: the routers of its routing domain, where there are several, and all
    segments that these have legs in. Cost: their legs."""
    routers = routers_joined_to(joined.router, read)
    for name in sorted(routers) if len(routers) > 1 else ():
        yield Item(DomainRouter, name, DomainRouter(name))
        for key in read.find(LEGS_BY_ROUTER, name):
            leg = read.get(RouterPort, key)
            if leg is not None and not is_peer(leg):
                yield Item(LegsInScope, leg.segment, LegsInScope(leg.segment))


UNITS = (
    unit(LocalPort, resolve),
    unit(LocalSegment, join),
    unit(RouterInScope, widen),
    unit(RouterPort, adjacent),
    unit(RouterInScope, follow),
)
TABLES: tuple[type, ...] = (
    Unresolved,
    LocalSegment,
    InScope,
    RouterInScope,
    PeerRouter,
    Adjacent,
    DomainRouter,
    LegsInScope,
    RulesInScope,
)


def conditions(engine: Engine, host: str, second_name: str) -> Conditions:
    """The conditional monitor (ovsdb-server(7) 4.1.12) for the scope that the engine holds.
    `second_name` is what the agent says that it is if `host` is another."""
    segments = sorted(row.segment for row in engine.rows(InScope).values())
    routers = sorted(row.router for row in engine.rows(RouterInScope).values())
    peers = {row.router for row in engine.rows(PeerRouter).values()}
    others = {row.router for row in engine.rows(DomainRouter).values()}
    legs = {row.segment for row in engine.rows(LegsInScope).values()}
    rule_sets = sorted(row.rule_set for row in engine.rows(RulesInScope).values())
    names = sorted(row.iface_id for row in engine.rows(Unresolved).values())
    of_segment: tuple[Clause, ...] = tuple(("segment", "==", name) for name in segments)
    return {
        Segment: tuple(("id", "==", name) for name in segments),
        Subnet: of_segment,
        Router: tuple(("id", "==", name) for name in sorted({*routers, *peers, *others})),
        RouterPort: (
            *(("segment", "==", name) for name in sorted({*segments, *legs})),
            *(("router", "==", name) for name in sorted({*routers, *others})),
        ),
        Port: (
            *of_segment,
            *((column, "==", name) for name in names for column in ("id", "profile_id")),
        ),
        RuleSet: tuple(("id", "==", name) for name in rule_sets),
        Rule: tuple(("rule_set", "==", name) for name in rule_sets),
        Claim: (*of_segment, ("host", "==", host)),
        LearnedAddress: (*of_segment, ("host", "==", host)),
        PortStatus: (("host", "==", host),),
        Heartbeat: (("host", "==", host), ("host", "==", second_name)),
        Query: (("host", "==", host),),
    }


COLUMNS: Mapping[type[Row], tuple[str, ...]] = {
    **dict.fromkeys((Segment, Router, RuleSet), ("id",)),
    Subnet: ("segment",),
    RouterPort: ("segment", "router"),
    Port: ("segment", "id", "profile_id"),
    Rule: ("rule_set",),
    **dict.fromkeys((Claim, LearnedAddress), ("segment", "host")),
    **dict.fromkeys((PortStatus, Heartbeat, Query), ("host",)),
}
"""What conditions speak of."""


def covers(asked: Conditions, wanted: Conditions) -> bool:
    """Whether all that is wanted is among what has been asked for."""
    return asked is wanted or all(
        table not in asked or (table in wanted and set(wanted[table]) <= set(asked[table]))
        for table in {*asked, *wanted}
    )


def union(one: Conditions, other: Conditions) -> Conditions:
    """What asks for all that either asks for, of the tables of `other`."""
    return {
        table: tuple(sorted({*one.get(table, ()), *clauses})) for table, clauses in other.items()
    }


READ: tuple[type[Row], ...] = (
    *(Segment, Subnet, Router, RouterPort, Port, RuleSet, Rule, Host, Probe),
    *(HostStatus, Heartbeat, Claim, LearnedAddress, PortStatus, Query),
)
"""The tables that a host monitors; those without a condition grow with hosts alone."""
