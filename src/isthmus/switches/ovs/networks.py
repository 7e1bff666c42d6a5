# SPDX-License-Identifier: Apache-2.0
"""Networks as features: their segments and routers before ports are known, and where the broadcasts
of a segment go, which follows from its ports (`domains`, `segments`, `routing`)."""

from __future__ import annotations

from isthmus.derive.engine import unit
from isthmus.policy.rows import Router, RouterPort, Segment, Subnet
from isthmus.switches.ovs.domains import router_domain, segment_facts
from isthmus.switches.ovs.facts import (
    DomainFacts,
    LocalMember,
    NoPeerZone,
    NoZone,
    PeerZone,
    RouterDomain,
    SegmentFacts,
)
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.routing import leg_flows, router_flows
from isthmus.switches.ovs.segments import (
    LOCAL_BY_DOMAIN,
    LOCAL_MEMBERS,
    REMOTE_MEMBERS,
    segment_flows,
)

ROUTING = Feature(
    "routing",
    units=(
        unit(Router, router_domain),
        unit(Segment, segment_facts),
        unit(Router, router_flows),
        unit(RouterPort, leg_flows),
    ),
    indexes=(LOCAL_BY_DOMAIN, LOCAL_MEMBERS, REMOTE_MEMBERS),
    tables=(
        *(Subnet, RouterDomain, DomainFacts, SegmentFacts, NoZone, NoPeerZone, PeerZone),
        LocalMember,
    ),
)

BROADCASTS = Feature("broadcasts", units=(unit(SegmentFacts, segment_flows),))
