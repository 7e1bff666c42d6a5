# SPDX-License-Identifier: Apache-2.0
"""The router's answer to an echo request, at DELIVER: the packet goes back to where it came from.

RFC 4443 section 4.1: "The data received in the ICMPv6 Echo Request message MUST be returned
entirely and unmodified"; RFC 792 says the same. So it is in fragments: each goes back as it came,
but for the type in the first, and they are put together by who has sent them.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Commit, Deliver
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Out, Stage
from isthmus.switches.ovs.routing import LATER_FRAGMENTS
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm


def echo_flows(flows: Flows) -> Iterator[Item]:
    """What is led to `Out.GATEWAY` was asked of the router (`routing.leg_flows`)."""
    asked = reg.OUT.match(Out.GATEWAY)
    to_sender = (*reg.exchange(oxm.ETH_SRC, oxm.ETH_DST), act.set_field(oxm.ip_ttl(64)))
    turned4 = reg.exchange(oxm.IPV4_SRC, oxm.IPV4_DST)
    turned6 = reg.exchange(oxm.IPV6_SRC, oxm.IPV6_DST)
    for ethernet, request, turned, reply in (
        (0x0800, (oxm.ip_proto(1), oxm.icmp_type(8)), turned4, oxm.icmp_type(0)),
        (0x86DD, (oxm.ip_proto(58), oxm.icmpv6_type(128)), turned6, oxm.icmpv6_type(129)),
    ):
        parts = ((request, (act.set_field(reply),)), (LATER_FRAGMENTS[ethernet], ()))
        for what, answer in parts:
            yield flows.add(
                Stage.DELIVER,
                Deliver.GATEWAY_ECHO,
                oxm.match(asked, oxm.eth_type(ethernet), *what),
                apply=(*to_sender, *turned, *answer, act.in_port()),
            )
        # Not once more through connection tracking, which others wait in for their first fragment:
        # all would leave it by the flow of the last one, and the first be no reply. These come to
        # nobody but who has sent them, whatever became of the first.
        fragment = oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY)
        yield flows.add(
            *(Stage.COMMIT, Commit.GATEWAY_FRAGMENT),
            oxm.match(asked, oxm.eth_type(ethernet), fragment),
            goto=Stage.DELIVER,
        )
