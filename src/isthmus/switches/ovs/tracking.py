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
from isthmus.derive.engine import Item, Read
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import (
    Commit,
    Deliver,
    Filters,
    Groups,
    Judge,
    Receiver,
    Rules,
    Track,
)
from isthmus.switches.ovs.begun import ANSWER, QUESTION, unknown_flows
from isthmus.switches.ovs.filters import end
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.fragments import fragment_flows, keep
from isthmus.switches.ovs.opening import opening_flows
from isthmus.switches.ovs.pipeline import KEPT, NotFollowed, Out, Stage
from isthmus.switches.ovs.rule_stages import PLAIN_STAGES, STAGES
from isthmus.switches.ovs.unfitting import unfitting_flows
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

_IP = (0x0800, 0x86DD)


def tracking_flows(flows: Flows, read: Read) -> Iterator[Item]:
    """What is the same on every host, from RECEIVER to DELIVER."""
    yield from _plain(flows)
    yield from _track(flows)
    yield from fragment_flows(flows, read)
    yield from _judge(flows, read)
    yield from unfitting_flows(flows, read)
    yield from unknown_flows(flows, read)
    yield flows.add(Stage.SOURCE_GROUPS, Groups.NO_MEMBER, oxm.match(), goto=Stage.TARGET_GROUPS)
    yield flows.add(Stage.TARGET_GROUPS, Groups.NO_MEMBER, oxm.match(), goto=Stage.INITIATOR)
    yield from _rules(flows)
    yield from opening_flows(flows)
    yield from _commit(flows)
    yield from _deliver(flows)


def _plain(flows: Flows) -> Iterator[Item]:
    """The way past the stages of stateless rules."""
    for stage, priority, following in (
        (Stage.RECEIVER, Receiver.NO_RULES, Stage.PLAIN_SOURCE_GROUPS),
        (Stage.PLAIN_SOURCE_GROUPS, Groups.NO_MEMBER, Stage.PLAIN_TARGET_GROUPS),
        (Stage.PLAIN_TARGET_GROUPS, Groups.NO_MEMBER, Stage.PLAIN_SENDER),
        (Stage.PLAIN_SENDER, Filters.NO_FILTER, Stage.PLAIN_RECEIVER),
        (Stage.PLAIN_RECEIVER, Filters.NO_FILTER, Stage.TRACK),
    ):
        yield flows.add(stage, priority, oxm.match(), goto=following)
    for one in PLAIN_STAGES.values():
        both_allow = (one.allowed.copy_to(one.end),) if one.is_last else None
        none_here = oxm.match(one.number.match(0))
        yield flows.add(one.stage, Rules.DEFAULT, none_here, apply=both_allow, goto=one.following)


def _track(flows: Flows) -> Iterator[Item]:
    sender, receiver = reg.SENDER.match(0), reg.RECEIVER.match(0)
    yield flows.add(Stage.TRACK, Track.NO_RULES, oxm.match(sender, receiver), goto=Stage.COMMIT)
    # What port security lets pass of ARP and neighbour discovery: announcements of address pairs,
    # and router advertisements. No rule speaks of these, and they are no connections.
    yield flows.add(
        Stage.TRACK, Track.NO_CONNECTION, oxm.match(oxm.eth_type(0x0806)), goto=Stage.COMMIT
    )
    for kind in (134, 136):
        yield flows.add(
            Stage.TRACK,
            Track.NO_CONNECTION,
            oxm.match(
                *(oxm.eth_type(0x86DD), oxm.ip_ttl(255)),
                *(oxm.ip_proto(58), oxm.icmpv6_type(kind), oxm.icmpv6_code(0)),
            ),
            goto=Stage.COMMIT,
        )
    for ethernet in _IP:
        yield flows.add(
            Stage.TRACK,
            Track.TRACKED,
            oxm.match(oxm.eth_type(ethernet)),
            apply=(reg.tracked(table=Stage.TRACKED),),
        )
        # It comes from FLOOD, judged for its sender: now for one of its receivers.
        yield flows.add(
            Stage.TRACK,
            Track.RECEIVER_OF_BROADCAST,
            oxm.match(oxm.eth_type(ethernet), oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK)),
            apply=(reg.RECEIVER.copy_to(reg.RESPONDER),),
            goto=Stage.RESPONDER,
        )


def _judge(flows: Flows, read: Read) -> Iterator[Item]:
    state = oxm.CT_TRK | oxm.CT_INV | oxm.CT_RPL
    for ethernet in _IP:
        kind = oxm.eth_type(ethernet)
        for reply, ends in ((0, QUESTION), (oxm.CT_RPL, ANSWER)):
            yield flows.add(
                Stage.JUDGE,
                Judge.KNOWN,
                oxm.match(kind, oxm.ct_state(oxm.CT_TRK | reply, state)),
                apply=(*ends, *reg.NO_GROUPS),
                goto=Stage.SOURCE_GROUPS,
            )
        yield from _answers(flows, ethernet, read)
        # Open vSwitch follows fragments as the packet that they are of, but shows the ports of its
        # original tuple in the first one only. That one is judged; the others wait for it at
        # COMMIT. Not so those of broadcasts, of which every copy would wait under the same name.
        yield flows.add(
            Stage.JUDGE,
            Judge.LATER_FRAGMENT,
            oxm.match(
                *(kind, oxm.eth_dst(0, MULTICAST_BIT)),
                oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV),
                oxm.ip_frag(oxm.FRAGMENT_LATER, oxm.FRAGMENT_LATER),
            ),
            apply=QUESTION,
            goto=Stage.COMMIT,
        )


_BOTH = NotFollowed.INITIATOR | NotFollowed.RESPONDER
_SYN_ACK = 0x12
_ICMP = {0x0800: 1, 0x86DD: 58}


def _answers(flows: Flows, ethernet: int, read: Read) -> Iterator[Item]:
    """Answers are judged by who asked, who is known by its address: a guest that leads one to the
    MAC address of a neighbour, or of all, does not get past their rules.

    Where an end on this host does not follow the connection that the other has, an answer is no
    answer to it: as between hosts, it passes if it may open a connection.
    """
    reply = oxm.CT_TRK | oxm.CT_RPL
    answer = (oxm.eth_type(ethernet), oxm.ct_state(reply, reply | oxm.CT_INV))
    astray = reg.RECEIVER[reg.MISDIRECTED].match(1)
    to_all = oxm.eth_dst(MULTICAST_BIT, MULTICAST_BIT)
    for elsewhere in (astray, to_all):
        yield flows.drop(Stage.JUDGE, Judge.MISDIRECTED_ANSWER, oxm.match(*answer, elsewhere), read)
    by_receiver = reg.RECEIVER[reg.ALONE].match(1)
    by_sender = reg.SENDER[reg.ALONE].match(1)
    initiator, responder = reg.INITIATOR.load(0), reg.RESPONDER.load(0)
    for priority, ends, not_followed, skipped in (
        (Judge.UNFOLLOWED_BY_BOTH, (by_receiver, by_sender), _BOTH, (initiator, responder)),
        (Judge.UNFOLLOWED_BY_ONE, (by_receiver,), NotFollowed.INITIATOR, (initiator,)),
        (Judge.UNFOLLOWED_BY_ONE, (by_sender,), NotFollowed.RESPONDER, (responder,)),
    ):
        alone = (*answer, *ends, oxm.ct_mark(not_followed, not_followed))
        yield flows.add(
            Stage.JUDGE,
            priority,
            oxm.match(*alone),
            apply=(*ANSWER, *skipped, *reg.NO_GROUPS),
            goto=Stage.SOURCE_GROUPS,
        )
        # These could open none.
        for what in (
            (oxm.ip_proto(_ICMP[ethernet]),),
            (oxm.ip_proto(6), oxm.tcp_flags(_SYN_ACK, _SYN_ACK)),
        ):
            yield flows.add(
                Stage.JUDGE,
                Judge.NO_OPENING,
                oxm.match(*alone, *what),
                apply=(*ANSWER, *reg.NO_GROUPS),
                goto=Stage.SOURCE_GROUPS,
            )


def _rules(flows: Flows) -> Iterator[Item]:
    """No filter, no rules; no rules, on to the next."""
    for stage, register, loaded, following in (
        (Stage.INITIATOR, reg.INITIATOR, reg.OUT_LISTS, Stage.OUT_INTERFACE),
        (Stage.RESPONDER, reg.RESPONDER, reg.IN_LISTS, Stage.IN_SUBNET),
    ):
        yield flows.add(
            stage,
            Filters.FILTER,
            oxm.match(end(register, 0)),
            apply=(loaded.load(0),),
            goto=following,
        )
    # A broadcast: its receivers come later, one by one.
    yield flows.add(
        Stage.RESPONDER,
        Filters.BROADCAST,
        oxm.match(reg.OUT.match(Out.FLOOD)),
        goto=Stage.COMMIT,
    )
    for one in STAGES.values():
        none_here = oxm.match(one.number.match(0))
        yield flows.add(one.stage, Rules.DEFAULT, none_here, goto=one.following)


def _commit(flows: Flows) -> Iterator[Item]:
    yield flows.add(
        Stage.COMMIT, Commit.BROADCAST, oxm.match(reg.OUT.match(Out.FLOOD)), goto=Stage.FLOOD
    )
    # A broadcast is no connection: answers to it have another source.
    group = Mac(MULTICAST_BIT)
    yield flows.add(
        Stage.COMMIT, Commit.MULTICAST, oxm.match(oxm.eth_dst(group, group)), goto=Stage.DELIVER
    )
    for ethernet in _IP:
        yield from _keep(flows, oxm.eth_type(ethernet))
    yield flows.add(Stage.COMMIT, Commit.KNOWN, oxm.match(), goto=Stage.DELIVER)


def _keep(flows: Flows, kind: bytes) -> Iterator[Item]:
    """A new connection, and which ends do not follow it; and one that is known, when an end of it
    follows it from now on."""
    state = oxm.CT_TRK | oxm.CT_NEW | oxm.CT_EST
    new = (kind, oxm.ct_state(oxm.CT_TRK | oxm.CT_NEW, state))
    for priority, absent, not_followed in (
        (Commit.NEW_TO_RESPONDER, end(reg.INITIATOR, 0), NotFollowed.INITIATOR),
        (Commit.NEW_TO_INITIATOR, end(reg.RESPONDER, 0), NotFollowed.RESPONDER),
        (Commit.NEW, b"", 0),
    ):
        marks = (act.load(KEPT | not_followed, oxm.CT_MARK),)
        yield from keep(flows, priority, (*new, absent), marks, Stage.RETURN)
    known = oxm.CT_TRK | oxm.CT_EST
    question = (kind, oxm.ct_state(known, known | oxm.CT_RPL | oxm.CT_REL | oxm.CT_INV))
    by_initiator = reg.INITIATOR[reg.ALONE].match(1)
    by_responder = reg.RESPONDER[reg.ALONE].match(1)
    for priority, ends, followed, bits in (
        (Commit.FOLLOWED_BY_BOTH, (by_initiator, by_responder), _BOTH, (0, 2)),
        (Commit.FOLLOWED_BY_ONE, (by_initiator,), NotFollowed.INITIATOR, (0, 1)),
        (Commit.FOLLOWED_BY_ONE, (by_responder,), NotFollowed.RESPONDER, (1, 1)),
    ):
        match = (*question, *ends, oxm.ct_mark(followed, followed))
        marks = (act.load(0, oxm.CT_MARK, *bits),)
        yield from keep(flows, priority, match, marks, Stage.DELIVER)


def _deliver(flows: Flows) -> Iterator[Item]:
    yield flows.add(
        Stage.DELIVER, Deliver.ELSEWHERE, oxm.match(reg.OUT.match(0)), goto=Stage.TUNNEL
    )
    yield flows.add(
        Stage.DELIVER,
        Deliver.HERE,
        oxm.match(),
        apply=(reg.OUT.output(),),
    )
