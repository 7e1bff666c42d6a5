# SPDX-License-Identifier: Apache-2.0
"""How packets leave for other hosts, and the flows that every host has."""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item, Read
from isthmus.switches.ovs.facts import THIS, Reach, ThisHost
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import RESOLVED_MAC, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def tunnel(reach: Reach, read: Read) -> Iterator[Item]:
    """Over Reach: the way to one other host, in the encapsulation chosen for the pair."""
    this = read.get(ThisHost, THIS)
    ofport = dict(this.tunnel_ports).get(reach.encapsulation) if this else None
    if ofport is None:
        return
    vsid = oxm.REG[Register.VSID]
    if reach.encapsulation == "nvgre":
        # RFC 7637 section 3.2: key = VSID << 8 | FlowID. The FlowID is one per sending MAC address,
        # because one per connection would make every connection a flow of its own in both
        # datapaths.
        key: tuple[bytes, ...] = (
            act.load(0, oxm.TUNNEL_ID),
            act.move(vsid, 0, oxm.TUNNEL_ID, 8, 24),
            act.multipath("eth_src", 1024, 255, 0, oxm.TUNNEL_ID, 0, 8),
        )
    else:
        key = (act.load(0, oxm.TUNNEL_ID), act.move(vsid, 0, oxm.TUNNEL_ID, 0, 24))
    yield Flows("tunnel", str(reach.provider_address)).add(
        Stage.TUNNEL,
        100,
        oxm.match(oxm.reg(Register.PEER, reach.provider_address)),
        apply=(
            *key,
            act.set_field(oxm.tun_dst(reach.provider_address)),
            act.output(ofport),
        ),
    )


def fixed_flows(this: ThisHost, read: Read) -> Iterator[Item]:
    """Over ThisHost: what does not depend on policy."""
    flows = Flows("fixed_flows", "")
    for stage in Stage:
        yield flows.add(stage, 0, oxm.match())
    target = oxm.REG[Register.TARGET]
    yield flows.add(
        Stage.DISPATCH,
        100,
        oxm.match(oxm.eth_type(0x0806), oxm.arp_op(1)),
        apply=(act.move(oxm.ARP_TPA, 0, target, 0, 32),),
        goto=Stage.NEIGHBOUR,
    )
    yield flows.add(Stage.DISPATCH, 50, oxm.match(oxm.eth_type(0x0800)), goto=Stage.FORWARD)
    mac = oxm.XREG[RESOLVED_MAC]
    # RFC 826: the answer goes back where the question came from, with both pairs of addresses
    # exchanged.
    yield flows.add(
        Stage.RESOLVED,
        100,
        oxm.match(oxm.eth_type(0x0806)),
        apply=(
            act.move(oxm.ETH_SRC, 0, oxm.ETH_DST, 0, 48),
            act.move(mac, 0, oxm.ETH_SRC, 0, 48),
            act.set_field(oxm.arp_op(2)),
            act.move(oxm.ARP_SHA, 0, oxm.ARP_THA, 0, 48),
            act.move(mac, 0, oxm.ARP_SHA, 0, 48),
            act.move(oxm.ARP_SPA, 0, oxm.ARP_TPA, 0, 32),
            act.move(target, 0, oxm.ARP_SPA, 0, 32),
            act.in_port(),
        ),
    )
    yield flows.add(
        Stage.RESOLVED,
        100,
        oxm.match(oxm.eth_type(0x0800)),
        apply=(act.move(mac, 0, oxm.ETH_DST, 0, 48),),
        goto=Stage.FORWARD,
    )
    yield flows.add(
        Stage.OUTPUT,
        100,
        oxm.match(),
        apply=(act.output_reg(oxm.REG[Register.OUT], 0, 16),),
    )
