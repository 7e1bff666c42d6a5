# SPDX-License-Identifier: Apache-2.0
"""ARP answers and neighbour advertisements, and where a routed packet goes on (RESOLVED)."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Advertise, Resolved
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.routing import SOLICITATION
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

ALL_NODES, ALL_NODES_MAC = 0xFF02 << 112 | 1, 0x333300000001
"""RFC 4291 section 2.7.1, RFC 2464 section 7."""


def neighbour_flows(flows: Flows) -> Iterator[Item]:
    """ARP answers and neighbour advertisements, and where a routed packet goes on."""
    mac = reg.RESOLVED_MAC
    # RFC 826: the answer goes back where the question came from, with both pairs of addresses
    # exchanged.
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ANSWER,
        oxm.match(oxm.eth_type(0x0806)),
        apply=(
            act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
            mac.give(oxm.ETH_SRC),
            act.set_field(oxm.arp_op(2)),
            act.move(oxm.ARP_SHA, 0, oxm.ARP_THA, 0, 48),
            mac.give(oxm.ARP_SHA),
            act.move(oxm.ARP_SPA, 0, oxm.ARP_TPA, 0, 32),
            reg.TARGET.give(oxm.ARP_SPA),
            act.in_port(),
        ),
    )
    # RFC 4861 section 7.2.4: to a solicitation without a source (RFC 4862 section 5.4.3, somebody
    # looks whether the address is free) the answer goes to all nodes, and is not solicited.
    advertised = (
        mac.give(oxm.ETH_SRC),
        act.move(oxm.ND_TARGET, 0, oxm.IPV6_SRC, 0, 128),
        act.set_field(oxm.icmpv6_type(136)),
        act.set_field(oxm.nd_options_type(2)),
    )
    solicited, override = 0x40000000, 0x20000000
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ADDRESS_PROBE,
        oxm.match(*SOLICITATION, oxm.ipv6_src(0)),
        apply=(
            act.set_field(oxm.eth_dst(ALL_NODES_MAC)),
            act.set_field(oxm.ipv6_dst(ALL_NODES)),
            *advertised,
            act.set_field(oxm.nd_reserved(override)),
        ),
        goto=Stage.ADVERTISE,
    )
    yield flows.add(
        Stage.RESOLVED,
        Resolved.ANSWER,
        oxm.match(*SOLICITATION),
        apply=(
            act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
            act.move(oxm.IPV6_SRC, 0, oxm.IPV6_DST, 0, 128),
            *advertised,
            act.set_field(oxm.nd_reserved(solicited | override)),
        ),
        goto=Stage.ADVERTISE,
    )
    # The option can be set only where the type has been matched: Open vSwitch checks this so.
    yield flows.add(
        Stage.ADVERTISE,
        Advertise.ANSWER,
        oxm.match(
            *(oxm.eth_type(0x86DD), oxm.ip_proto(58)), *(oxm.icmpv6_type(136), oxm.icmpv6_code(0))
        ),
        apply=(mac.give(oxm.ND_TLL), act.in_port()),
    )
    for priority, ethernet in ((Resolved.ANSWER, 0x0800), (Resolved.FORWARDED, 0x86DD)):
        yield flows.add(
            Stage.RESOLVED,
            priority,
            oxm.match(oxm.eth_type(ethernet)),
            apply=(mac.give(oxm.ETH_DST), *reg.NOT_LOOKED_FOR),
            goto=Stage.FORWARD,
        )
