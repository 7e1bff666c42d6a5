# SPDX-License-Identifier: Apache-2.0
"""Answers to probes that were sent in the place of a guest: they go to the guest, and are shown to
the agent, which has their flows only while it waits (`agent.ovs.probing`)."""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.addresses import Address
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Deliver
from isthmus.switches.ovs.feature import Feature, given_to
from isthmus.switches.ovs.pipeline import PROBED, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow

PROBING = "probing"


def shown_answers(ofport: int, target: Address) -> Flow:
    """What comes back from the target goes to the guest, and is shown to us."""
    if isinstance(target, IPv4Address):
        source = (oxm.eth_type(0x0800), oxm.ipv4_src(target))
    else:
        source = (oxm.eth_type(0x86DD), oxm.ipv6_src(target))
    actions = (
        act.controller(PROBED, max_len=128),
        reg.OUT.output(),
    )
    match = oxm.match(reg.OUT.match(ofport), *source)
    return Flow(Stage.DELIVER, Deliver.PROBED, match, act.instructions(apply=actions), 0)


FEATURE = Feature(PROBING, packets={PROBED: given_to(PROBING)})
