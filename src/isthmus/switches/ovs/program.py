# SPDX-License-Identifier: Apache-2.0
"""Policy → program of an Open vSwitch host: the units, in the order in which they feed each other,
below those of every host (`host.program`).

Inputs: the south rows of the segments that the host's own ports can reach and of the rule sets that
they are under, where ports are (`host.location`), `ThisBridge`, and `Assigned`: the numbers for
what the units say is `Wanted`. Outputs: `Programmed` (flows), `Meter`, and `Problem` (what is wrong
with a local port).
"""

from __future__ import annotations

from isthmus.derive.engine import unit
from isthmus.host.facts import Plugged, Problem, Reach, ThisHost
from isthmus.policy.rows import (
    LearnedAddress,
    Port,
    Router,
    RouterPort,
    Rule,
    RuleSet,
    Segment,
    Subnet,
)
from isthmus.switches.ovs.allowed import allowed_flows
from isthmus.switches.ovs.begun import zone_windows
from isthmus.switches.ovs.domains import (
    router_domain,
    segment_facts,
)
from isthmus.switches.ovs.facts import (
    Assigned,
    DomainFacts,
    LocalMember,
    Meter,
    NoPeerZone,
    NotRouting,
    NoZone,
    PeerZone,
    Refused,
    RemoteMember,
    RouterDomain,
    SegmentFacts,
    ThisBridge,
    TrackedAddress,
    Wanted,
    Watching,
    WatchingAllowed,
)
from isthmus.switches.ovs.filters import (
    RULES_BY_SET,
    USES_BY_GROUP,
    Compiled,
    Filter,
    FilterNumber,
    GroupUse,
    Inexpressible,
    PortFilter,
    Profile,
    StatelessSet,
    compile_profile,
    filter_flows,
    filter_problems,
    port_filters,
    stateless_set,
)
from isthmus.switches.ovs.flows import watched_drops
from isthmus.switches.ovs.fragments import zone_flows
from isthmus.switches.ovs.learned import learned_flows
from isthmus.switches.ovs.pipeline import Programmed
from isthmus.switches.ovs.ports import local_flows, mismatch, place, unpeered
from isthmus.switches.ovs.routing import leg_flows, not_routing, router_flows
from isthmus.switches.ovs.rules import membership, rule_flows
from isthmus.switches.ovs.segments import (
    LOCAL_BY_DOMAIN,
    LOCAL_MEMBERS,
    REMOTE_MEMBERS,
    segment_flows,
)
from isthmus.switches.ovs.tunnels import fixed_flows, probe_flows, tunnel

UNITS = (
    unit(ThisHost, fixed_flows),
    unit(ThisHost, probe_flows),
    unit(Router, router_domain),
    unit(Segment, segment_facts),
    unit(Reach, tunnel),
    unit(Router, router_flows),
    unit(RouterPort, leg_flows),
    unit(PeerZone, zone_windows),
    unit(RuleSet, stateless_set),
    unit(Plugged, port_filters),
    unit(Profile, compile_profile),
    unit(Filter, filter_flows),
    unit(PortFilter, filter_problems),
    unit(Compiled, rule_flows),
    unit(Port, membership),
    unit(Plugged, local_flows),
    unit(Port, place),
    unit(LearnedAddress, learned_flows),
    unit(RemoteMember, mismatch),
    unit(NoPeerZone, unpeered),
    unit(NotRouting, not_routing),
    unit(SegmentFacts, segment_flows),
    unit(Wanted, zone_flows),
    unit(Watching, watched_drops),
    unit(WatchingAllowed, allowed_flows),
)

INDEXES = (
    *(
        LOCAL_BY_DOMAIN,
        LOCAL_MEMBERS,
        REMOTE_MEMBERS,
        RULES_BY_SET,
        USES_BY_GROUP,
    ),
)

TABLES: tuple[type, ...] = (
    *(Subnet, RuleSet, Rule, ThisBridge, Assigned),
    *(
        RouterDomain,
        DomainFacts,
        SegmentFacts,
        NotRouting,
        NoZone,
        LocalMember,
        Wanted,
        Meter,
        Problem,
        Programmed,
    ),
    *(FilterNumber, GroupUse, Inexpressible, TrackedAddress, Refused, Watching, StatelessSet),
    PeerZone,
)
