# SPDX-License-Identifier: Apache-2.0
"""Connection tracking: when a packet needs it, who is who in its connection, and what is kept.

One zone per routing domain and host, one pass (prototyped: a second zone costs twice as much). A
packet is judged by the rules of whoever opened its connection and of whom it was opened to, on the
original tuple; so the direction of the connection decides, replies and related errors (RFC 792, RFC
4443) are judged by what they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT, Mac
from isthmus.derive.engine import Item
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import PASSED, TARGET6, Out, Register, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

_IP = (0x0800, 0x86DD)


def tracking_flows(flows: Flows) -> Iterator[Item]:
    """What is the same on every host, from RECEIVER to DELIVER."""
    yield from _plain(flows)
    yield from _track(flows)
    yield from _judge(flows)
    yield flows.add(Stage.SOURCE_GROUPS, 1, oxm.match(), goto=Stage.TARGET_GROUPS)
    yield flows.add(Stage.TARGET_GROUPS, 1, oxm.match(), goto=Stage.INITIATOR)
    yield from _rules(flows)
    yield from _commit(flows)
    yield from _deliver(flows)


def _plain(flows: Flows) -> Iterator[Item]:
    """The way past the stages of stateless rules."""
    for stage, following in (
        (Stage.RECEIVER, Stage.PLAIN_SOURCE_GROUPS),
        (Stage.PLAIN_SOURCE_GROUPS, Stage.PLAIN_TARGET_GROUPS),
        (Stage.PLAIN_TARGET_GROUPS, Stage.PLAIN_SENDER),
        (Stage.PLAIN_SENDER, Stage.PLAIN_RECEIVER),
        (Stage.PLAIN_RECEIVER, Stage.TRACK),
    ):
        yield flows.add(stage, 1, oxm.match(), goto=following)
    for stage, register, mask, following in (
        (Stage.PLAIN_OUT_INTERFACE, Register.OUT_RULES, 0xFFFF0000, Stage.PLAIN_OUT_SUBNET),
        (Stage.PLAIN_OUT_SUBNET, Register.OUT_RULES, 0xFFFF, Stage.PLAIN_RECEIVER),
        (Stage.PLAIN_IN_SUBNET, Register.IN_RULES, 0xFFFF, Stage.PLAIN_IN_INTERFACE),
        (Stage.PLAIN_IN_INTERFACE, Register.IN_RULES, 0xFFFF0000, Stage.TRACK),
    ):
        done = PASSED.get(stage)
        yield flows.add(
            stage,
            2,
            oxm.match(oxm.reg(register, 0, mask)),
            apply=None if done is None else (act.load(0, oxm.REG[done]),),
            goto=following,
        )


def _track(flows: Flows) -> Iterator[Item]:
    sender, receiver = oxm.reg(Register.SENDER, 0), oxm.reg(Register.RECEIVER, 0)
    yield flows.add(Stage.TRACK, 110, oxm.match(sender, receiver), goto=Stage.COMMIT)
    # What port security lets pass of ARP and neighbour discovery: announcements of address pairs,
    # and router advertisements. No rule speaks of these, and they are no connections.
    yield flows.add(Stage.TRACK, 130, oxm.match(oxm.eth_type(0x0806)), goto=Stage.COMMIT)
    for kind in (134, 136):
        yield flows.add(
            Stage.TRACK,
            130,
            oxm.match(
                *(oxm.eth_type(0x86DD), oxm.ip_ttl(255)),
                *(oxm.ip_proto(58), oxm.icmpv6_type(kind), oxm.icmpv6_code(0)),
            ),
            goto=Stage.COMMIT,
        )
    for ethernet in _IP:
        yield flows.add(
            Stage.TRACK,
            100,
            oxm.match(oxm.eth_type(ethernet)),
            apply=(act.ct(zone=oxm.REG[Register.ZONE], table=Stage.JUDGE),),
        )
        # It comes from FLOOD, judged for its sender: now for one of its receivers.
        yield flows.add(
            Stage.TRACK,
            120,
            oxm.match(oxm.eth_type(ethernet), oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK)),
            apply=(act.move(oxm.REG[Register.RECEIVER], 0, oxm.REG[Register.RESPONDER], 0, 32),),
            goto=Stage.RESPONDER,
        )


def _judge(flows: Flows) -> Iterator[Item]:
    no_groups = (act.load(0, oxm.XREG[2 * TARGET6]), act.load(0, oxm.XREG[2 * TARGET6 + 1]))
    sender, receiver = oxm.REG[Register.SENDER], oxm.REG[Register.RECEIVER]
    initiator, responder = oxm.REG[Register.INITIATOR], oxm.REG[Register.RESPONDER]
    state = oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL
    for ethernet in _IP:
        kind = oxm.eth_type(ethernet)
        for reply, one, other in ((0, initiator, responder), (oxm.CT_RPL, responder, initiator)):
            yield flows.add(
                Stage.JUDGE,
                100,
                oxm.match(kind, oxm.ct_state(oxm.CT_TRK | reply, state)),
                apply=(
                    act.move(sender, 0, one, 0, 32),
                    act.move(receiver, 0, other, 0, 32),
                    *no_groups,
                ),
                goto=Stage.SOURCE_GROUPS,
            )
        # Open vSwitch follows fragments as the packet that they are of, but shows the ports of its
        # original tuple in the first one only. That one is judged; the others wait for it at
        # COMMIT. Not so those of broadcasts, of which every copy would wait under the same name.
        yield flows.add(
            Stage.JUDGE,
            110,
            oxm.match(
                *(kind, oxm.eth_dst(0, MULTICAST_BIT)),
                oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV),
                oxm.ip_frag(oxm.FRAGMENT_LATER, oxm.FRAGMENT_LATER),
            ),
            goto=Stage.COMMIT,
        )


def _rules(flows: Flows) -> Iterator[Item]:
    """No filter, no rules; no rules, on to the next."""
    for stage, register, loaded, following in (
        (Stage.INITIATOR, Register.INITIATOR, Register.OUT_RULES, Stage.OUT_INTERFACE),
        (Stage.RESPONDER, Register.RESPONDER, Register.IN_RULES, Stage.IN_SUBNET),
    ):
        yield flows.add(
            stage,
            100,
            oxm.match(oxm.reg(register, 0)),
            apply=(act.load(0, oxm.REG[loaded]),),
            goto=following,
        )
    # A broadcast: its receivers come later, one by one.
    yield flows.add(
        Stage.RESPONDER,
        200,
        oxm.match(oxm.reg(Register.OUT, Out.FLOOD)),
        goto=Stage.COMMIT,
    )
    for stage, register, mask, following in (
        (Stage.OUT_INTERFACE, Register.OUT_RULES, 0xFFFF0000, Stage.OUT_SUBNET),
        (Stage.OUT_SUBNET, Register.OUT_RULES, 0xFFFF, Stage.RESPONDER),
        (Stage.IN_SUBNET, Register.IN_RULES, 0xFFFF, Stage.IN_INTERFACE),
        (Stage.IN_INTERFACE, Register.IN_RULES, 0xFFFF0000, Stage.COMMIT),
    ):
        yield flows.add(stage, 1, oxm.match(oxm.reg(register, 0, mask)), goto=following)


def _commit(flows: Flows) -> Iterator[Item]:
    yield flows.add(
        Stage.COMMIT, 120, oxm.match(oxm.reg(Register.OUT, Out.FLOOD)), goto=Stage.FLOOD
    )
    # A broadcast is no connection: answers to it have another source.
    group = Mac(MULTICAST_BIT)
    yield flows.add(Stage.COMMIT, 110, oxm.match(oxm.eth_dst(group, group)), goto=Stage.DELIVER)
    state = oxm.CT_TRK | oxm.CT_NEW | oxm.CT_EST
    for ethernet in _IP:
        yield flows.add(
            Stage.COMMIT,
            100,
            oxm.match(oxm.eth_type(ethernet), oxm.ct_state(oxm.CT_TRK | oxm.CT_NEW, state)),
            apply=(act.ct(commit=True, zone=oxm.REG[Register.ZONE]),),
            goto=Stage.DELIVER,
        )
        # Fragments leave connection tracking all together or not at all: once more, and those whose
        # first one was refused expire there. A new connection's have just gone through.
        yield flows.add(
            Stage.COMMIT,
            90,
            oxm.match(
                *(oxm.eth_type(ethernet), oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK)),
                oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY),
            ),
            apply=(act.ct(zone=oxm.REG[Register.ZONE]),),
            goto=Stage.DELIVER,
        )
    yield flows.add(Stage.COMMIT, 1, oxm.match(), goto=Stage.DELIVER)


def _deliver(flows: Flows) -> Iterator[Item]:
    yield flows.add(Stage.DELIVER, 100, oxm.match(oxm.reg(Register.OUT, 0)), goto=Stage.TUNNEL)
    yield flows.add(
        Stage.DELIVER,
        50,
        oxm.match(),
        apply=(act.output_reg(oxm.REG[Register.OUT], 0, 16),),
    )
    # An echo request to the router (RFC 792, RFC 4443 section 4.1): back to where it came from.
    asked = oxm.reg(Register.OUT, Out.GATEWAY)
    hardware = oxm.XREG[Register.INITIATOR // 2]
    spare, wide = oxm.REG[Register.TARGET], oxm.XXREG[TARGET6]
    to_sender = (
        act.move(oxm.ETH_SRC, 0, hardware, 0, 48),
        act.move(oxm.ETH_DST, 0, oxm.ETH_SRC, 0, 48),
        act.move(hardware, 0, oxm.ETH_DST, 0, 48),
        act.set_field(oxm.ip_ttl(64)),
    )
    yield flows.add(
        Stage.DELIVER,
        120,
        oxm.match(asked, oxm.eth_type(0x0800), oxm.ip_proto(1), oxm.icmp_type(8)),
        apply=(
            *to_sender,
            act.move(oxm.IPV4_SRC, 0, spare, 0, 32),
            act.move(oxm.IPV4_DST, 0, oxm.IPV4_SRC, 0, 32),
            act.move(spare, 0, oxm.IPV4_DST, 0, 32),
            act.set_field(oxm.icmp_type(0)),
            act.in_port(),
        ),
    )
    yield flows.add(
        Stage.DELIVER,
        120,
        oxm.match(asked, oxm.eth_type(0x86DD), oxm.ip_proto(58), oxm.icmpv6_type(128)),
        apply=(
            *to_sender,
            act.move(oxm.IPV6_SRC, 0, wide, 0, 128),
            act.move(oxm.IPV6_DST, 0, oxm.IPV6_SRC, 0, 128),
            act.move(wide, 0, oxm.IPV6_DST, 0, 128),
            act.set_field(oxm.icmpv6_type(129)),
            act.in_port(),
        ),
    )
