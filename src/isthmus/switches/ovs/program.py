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
from isthmus.switches.ovs.facts import (
    Assigned,
    Ground,
    LocalMember,
    Meter,
    NoPeerZone,
    NoZone,
    PeerZone,
    Refused,
    RemoteMember,
    ThisBridge,
    TrackedAddress,
    Wanted,
    Watching,
    WatchingAllowed,
)
from isthmus.switches.ovs.filters import (
    Filter,
    FilterNumber,
    PortFilter,
    filter_flows,
    filter_problems,
    port_filters,
)
from isthmus.switches.ovs.fixed import fixed_flows
from isthmus.switches.ovs.flows import watched_drops
from isthmus.switches.ovs.fragments import zone_flows
from isthmus.switches.ovs.ground import (
    LOCAL_BY_DOMAIN,
    LOCAL_MEMBERS,
    REMOTE_MEMBERS,
    ground,
    leg_flows,
    router_flows,
    segment_flows,
)
from isthmus.switches.ovs.groups import USES_BY_GROUP, GroupUse, membership
from isthmus.switches.ovs.learned import learned_flows
from isthmus.switches.ovs.pipeline import Programmed
from isthmus.switches.ovs.places import place
from isthmus.switches.ovs.ports import local_flows
from isthmus.switches.ovs.profiles import (
    RULES_BY_SET,
    Compiled,
    Inexpressible,
    Profile,
    StatelessSet,
    compile_profile,
    stateless_set,
)
from isthmus.switches.ovs.rules import rule_flows
from isthmus.switches.ovs.tunnels import probe_flows, tunnel
from isthmus.switches.ovs.unreached import mismatch, unpeered

UNITS = (
    unit(ThisHost, fixed_flows),
    unit(ThisHost, probe_flows),
    unit(Segment, ground),
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
    unit(Ground, segment_flows),
    unit(Wanted, zone_flows),
    unit(Watching, watched_drops),
    unit(WatchingAllowed, allowed_flows),
)

INDEXES = (*(LOCAL_BY_DOMAIN, LOCAL_MEMBERS, REMOTE_MEMBERS, RULES_BY_SET, USES_BY_GROUP),)

TABLES: tuple[type, ...] = (
    *(Subnet, RuleSet, Rule, ThisBridge, Assigned),
    *(Ground, NoZone, LocalMember, Wanted, Meter, Problem, Programmed),
    *(FilterNumber, GroupUse, Inexpressible, TrackedAddress, Refused, Watching, StatelessSet),
    PeerZone,
)
