# SPDX-License-Identifier: Apache-2.0
"""Networks as features: their segments and routers before ports are known, and where the broadcasts
of a segment go, which follows from its ports (`ground`)."""

from __future__ import annotations

from isthmus.derive.engine import unit
from isthmus.policy.rows import Router, RouterPort, Segment, Subnet
from isthmus.switches.ovs.facts import Ground, LocalMember, NoPeerZone, NoZone, PeerZone
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.ground import (
    LOCAL_BY_DOMAIN,
    LOCAL_MEMBERS,
    REMOTE_MEMBERS,
    ground,
    leg_flows,
    router_flows,
    segment_flows,
)

ROUTING = Feature(
    "routing",
    units=(unit(Segment, ground), unit(Router, router_flows), unit(RouterPort, leg_flows)),
    indexes=(LOCAL_BY_DOMAIN, LOCAL_MEMBERS, REMOTE_MEMBERS),
    tables=(Subnet, Ground, NoZone, NoPeerZone, PeerZone, LocalMember),
)

BROADCASTS = Feature("broadcasts", units=(unit(Ground, segment_flows),))
