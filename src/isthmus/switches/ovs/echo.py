# SPDX-License-Identifier: Apache-2.0
"""The router's answer to an echo request, at DELIVER: the packet goes back to where it came from.

RFC 4443 section 4.1: "The data received in the ICMPv6 Echo Request message MUST be returned
entirely and unmodified"; RFC 792 says the same. So it is in fragments: each goes back as it came,
but for the type in the first, and they are put together by who has sent them.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.ground import LATER_FRAGMENTS
from isthmus.switches.ovs.pipeline import TARGET6, Out, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def echo_flows(flows: Flows) -> Iterator[Item]:
    """What is led to `Out.GATEWAY` was asked of the router (`ground.leg_flows`)."""
    asked = oxm.reg(Register.OUT, Out.GATEWAY)
    hardware = oxm.XREG[Register.INITIATOR // 2]
    spare, wide = oxm.REG[Register.TARGET], oxm.XXREG[TARGET6]
    to_sender = (
        act.move(oxm.ETH_SRC, 0, hardware, 0, 48),
        act.move(oxm.ETH_DST, 0, oxm.ETH_SRC, 0, 48),
        act.move(hardware, 0, oxm.ETH_DST, 0, 48),
        act.set_field(oxm.ip_ttl(64)),
    )
    turned4 = (
        act.move(oxm.IPV4_SRC, 0, spare, 0, 32),
        act.move(oxm.IPV4_DST, 0, oxm.IPV4_SRC, 0, 32),
        act.move(spare, 0, oxm.IPV4_DST, 0, 32),
    )
    turned6 = (
        act.move(oxm.IPV6_SRC, 0, wide, 0, 128),
        act.move(oxm.IPV6_DST, 0, oxm.IPV6_SRC, 0, 128),
        act.move(wide, 0, oxm.IPV6_DST, 0, 128),
    )
    for ethernet, request, turned, reply in (
        (0x0800, (oxm.ip_proto(1), oxm.icmp_type(8)), turned4, oxm.icmp_type(0)),
        (0x86DD, (oxm.ip_proto(58), oxm.icmpv6_type(128)), turned6, oxm.icmpv6_type(129)),
    ):
        parts = ((request, (act.set_field(reply),)), (LATER_FRAGMENTS[ethernet], ()))
        for what, answer in parts:
            yield flows.add(
                Stage.DELIVER,
                120,
                oxm.match(asked, oxm.eth_type(ethernet), *what),
                apply=(*to_sender, *turned, *answer, act.in_port()),
            )
        # Not once more through connection tracking, which others wait in for their first fragment:
        # all would leave it by the flow of the last one, and the first be no reply. These come to
        # nobody but who has sent them, whatever became of the first.
        fragment = oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY)
        yield flows.add(
            *(Stage.COMMIT, 125),
            oxm.match(asked, oxm.eth_type(ethernet), fragment),
            goto=Stage.DELIVER,
        )
