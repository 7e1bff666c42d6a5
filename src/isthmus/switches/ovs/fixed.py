# SPDX-License-Identifier: Apache-2.0
"""The flows that every host has, whatever its policy."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT, Mac
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Problem, ThisHost
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import END, Admission, Classify, Dispatch, Source
from isthmus.switches.ovs.echo import echo_flows
from isthmus.switches.ovs.facts import Assigned, Meter, Refused, ThisBridge, Wanted, Watching
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.neighbours import neighbour_flows
from isthmus.switches.ovs.pipeline import WATCH_METER, Programmed, Stage, unit_cookie
from isthmus.switches.ovs.routing import SOLICITATION
from isthmus.switches.ovs.tracking import tracking_flows
from isthmus.wire import oxm


def fixed_flows(this: ThisHost, read: Read) -> Iterator[Item]:
    """Over ThisHost: what does not depend on policy."""
    flows = Flows("fixed_flows", "")
    watching = read.get(Watching, THIS)
    if watching is not None:
        rate = watching.rate_pps
        yield Item(Meter, WATCH_METER, Meter(WATCH_METER, rate, rate))
    for stage in Stage:
        yield flows.drop(stage, END, oxm.match(), read)
    yield flows.add(
        Stage.DISPATCH,
        Dispatch.ROUTED,
        oxm.match(oxm.eth_type(0x0806), oxm.arp_op(1)),
        apply=(reg.TARGET.take(oxm.ARP_TPA),),
        goto=Stage.NEIGHBOUR,
    )
    yield flows.add(
        Stage.DISPATCH,
        Dispatch.SOLICITATION,
        oxm.match(*SOLICITATION),
        apply=(reg.TARGET6.take(oxm.ND_TARGET),),
        goto=Stage.NEIGHBOUR,
    )
    # Neighbour discovery is answered here and goes nowhere else (RFC 4861, RFC 4890 section 4.4).
    # What a port may say beyond its host has flows above those of SOURCE.
    for kind in range(133, 138):
        match = oxm.match(oxm.eth_type(0x86DD), oxm.ip_proto(58), oxm.icmpv6_type(kind))
        yield flows.drop(Stage.DISPATCH, Dispatch.NEIGHBOUR_DISCOVERY, match, read)
        yield flows.drop(Stage.SOURCE, Source.NEIGHBOUR_DISCOVERY, match, read)
    yield from _malformed(flows, read)
    for ethernet in (0x0800, 0x86DD):
        yield flows.add(
            Stage.DISPATCH, Dispatch.BRIDGED, oxm.match(oxm.eth_type(ethernet)), goto=Stage.FORWARD
        )
    yield from neighbour_flows(flows)
    yield from tracking_flows(flows, read)
    yield from echo_flows(flows)


def _malformed(flows: Flows, read: Read) -> Iterator[Item]:
    """What no check after it could judge."""
    # A guest's port is no trunk, and nor is a tunnel. RFC 7348 section 6.1: "Decapsulated VXLAN
    # frames with the inner VLAN tag SHOULD be discarded"; RFC 7637 section 3.3 of NVGRE: MUST.
    tagged = oxm.match(oxm.vlan_vid(oxm.VLAN_PRESENT, oxm.VLAN_PRESENT))
    yield flows.drop(Stage.CLASSIFY, Classify.MALFORMED, tagged, read)
    # IEEE 802.3 section 3.2.3: nothing comes from a group, not even where any MAC address may.
    group = Mac(MULTICAST_BIT)
    yield flows.drop(Stage.CLASSIFY, Classify.MALFORMED, oxm.match(oxm.eth_src(group, group)), read)
    # RFC 7112 section 5: the first fragment holds all headers. Where it does not, Open vSwitch
    # gives protocol 0, or ICMPv6 of type 0, and neighbour discovery would pass as something else.
    for stage, priority in (
        (Stage.ADMISSION, Admission.MALFORMED),
        (Stage.SOURCE, Source.MALFORMED),
    ):
        for what in ((oxm.ip_proto(0),), (oxm.ip_proto(58), oxm.icmpv6_type(0))):
            yield flows.drop(stage, priority, oxm.match(oxm.eth_type(0x86DD), *what), read)


TABLE_ENDS = unit_cookie("fixed_flows", "")
"""Of the flows that end each table, and count what was dropped there."""

FEATURE = Feature(
    "pipeline",
    units=(unit(ThisHost, fixed_flows),),
    tables=(*(ThisBridge, Wanted, Assigned, Refused), *(Meter, Problem, Programmed)),
)
