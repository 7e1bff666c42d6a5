# SPDX-License-Identifier: Apache-2.0
"""What packets carry through the stages. Where each value is follows from `placing.place`.

Whoever reads a register (a flow, a packet that has come up, a trace) names it; numbers of registers
are written nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.switches.ovs.pipeline import MOST_GROUPS, Stage, reached
from isthmus.switches.ovs.placing import Place, Register, place
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn

FILTER, ALONE, MISDIRECTED, BEGUN = "filter", "alone", "misdirected", "begun"
"""Parts of an end: the number of its filter, 0 for none; its rules allow the packet, taken for
itself; the packet's destination is no address of the port that it goes to; the connections of this
end began to be followed a moment ago (`begun`)."""

_END = ((FILTER, 16), (ALONE, 1), (MISDIRECTED, 1), (BEGUN, 1))
_END_BITS = sum(width for _, width in _END)

INTERFACE, SUBNET = "interface", "subnet"
"""Parts of the numbers of lists of rules."""

_LISTS = ((SUBNET, 16), (INTERFACE, 16))

_FIRST, _LAST = Stage.CLASSIFY, Stage.TUNNEL
_ALWAYS = ((_FIRST, _LAST),)

OUT = Register(
    *(16, "OUT", "OpenFlow port to deliver to, or one of `Out`; 0 for another host"),
    lives=_ALWAYS,
)
ORIGIN = Register(1, "ORIGIN", "0: from a local port; 1: from a tunnel", lives=_ALWAYS)
PEER = Register(32, "PEER", "IPv4 provider address to tunnel to", lives=_ALWAYS)
VSID = Register(
    # It has 24 bits. Whole registers are matched in fewer bytes, and most flows match this one.
    *(32, "VSID", "the segment that the packet is in"),
    lives=((Stage.ADMISSION, _LAST),),
    written_at=(Stage.CLASSIFY,),
)
DOMAIN = Register(
    *(32, "DOMAIN", "the routing domain of its segment; 2^31 + VSID without a router"),
    lives=((Stage.ADMISSION, _LAST),),
    written_at=(Stage.CLASSIFY,),
)
ZONE = Register(
    *(16, "ZONE", "connection tracking zone of its routing domain"),
    lives=((Stage.ADMISSION, _LAST),),
    written_at=(Stage.CLASSIFY,),
)
SOURCE_VSID = Register(
    *(32, "SOURCE_VSID", "the segment of the port that claims the inner source of a tunnel packet"),
    lives=((Stage.SOURCE_MAC, Stage.SOURCE_MAC),),
    written_at=(Stage.SOURCE,),
)
ROUTER = Register(
    *(32, "ROUTER", "in a domain with several routers, the one that routes or has routed; else 0"),
    lives=((Stage.SOURCE_MAC, Stage.SOURCE_MAC), (Stage.ROUTE, Stage.ROUTE)),
    written_at=(Stage.CLASSIFY, Stage.DISPATCH),
    starts_at_zero=True,
)
TARGET = Register(
    *(32, "TARGET", "IPv4 address that is looked for: an ARP question's or a routed packet's"),
    lives=((Stage.NEIGHBOUR, Stage.ADVERTISE),),
    written_at=(Stage.DISPATCH, Stage.ROUTE),
    starts_at_zero=True,
)
TARGET6 = Register(
    *(128, "TARGET6", "IPv6 address that is looked for"),
    lives=((Stage.NEIGHBOUR, Stage.ADVERTISE),),
    written_at=(Stage.DISPATCH, Stage.ROUTE),
    starts_at_zero=True,
    left_zero=True,
)
RESOLVED_MAC = Register(
    *(48, "RESOLVED_MAC", "the MAC address of what is looked for"),
    lives=((Stage.RESOLVED, Stage.ADVERTISE),),
    written_at=(Stage.NEIGHBOUR,),
)
SENDER = Register(
    *(_END_BITS, "SENDER", "the local port that the packet comes from, as rules see it"),
    lives=_ALWAYS,
    parts=_END,
)
RECEIVER = Register(
    *(_END_BITS, "RECEIVER", "the local port that it goes to, as rules see it"),
    lives=((Stage.FORWARD, _LAST),),
    parts=_END,
)
GROUPS = Register(
    *(MOST_GROUPS, "GROUPS", "bits of the groups that the ends are members of"),
    lives=(
        (Stage.PLAIN_SOURCE_GROUPS, Stage.IN_INTERFACE),
        (Stage.OPENING, Stage.COMMIT),
        (Stage.FLOOD, Stage.FLOOD),
    ),
)
PLAIN_OUT_LISTS = Register(
    *(32, "PLAIN_OUT_LISTS", "numbers of the sender's lists that are looked at on the packet"),
    lives=((Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),),
    written_at=(Stage.PLAIN_SENDER,),
    parts=_LISTS,
)
PLAIN_IN_LISTS = Register(
    *(32, "PLAIN_IN_LISTS", "numbers of the receiver's lists that are looked at on the packet"),
    lives=((Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),),
    written_at=(Stage.PLAIN_RECEIVER,),
    parts=_LISTS,
)
PLAIN_SENDER = Register(
    *(_END_BITS, "PLAIN_SENDER", "what SENDER becomes when its last level allows the packet"),
    lives=((Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),),
    written_at=(Stage.PLAIN_SENDER,),
    parts=_END,
)
PLAIN_RECEIVER = Register(
    *(_END_BITS, "PLAIN_RECEIVER", "what RECEIVER becomes when its last level allows the packet"),
    lives=((Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),),
    written_at=(Stage.PLAIN_RECEIVER,),
    parts=_END,
)
INITIATOR = Register(
    *(_END_BITS, "INITIATOR", "the local port that opened the connection"),
    lives=((Stage.TRACK, Stage.COMMIT),),
    parts=_END,
)
RESPONDER = Register(
    *(_END_BITS, "RESPONDER", "the local port that it was opened to"),
    lives=((Stage.TRACK, Stage.COMMIT),),
    parts=_END,
)
OUT_LISTS = Register(
    *(32, "OUT_LISTS", "numbers of the initiator's lists of outbound rules"),
    lives=((Stage.OUT_INTERFACE, Stage.OUT_SUBNET),),
    written_at=(Stage.INITIATOR,),
    parts=_LISTS,
)
IN_LISTS = Register(
    *(32, "IN_LISTS", "numbers of the responder's lists of inbound rules"),
    lives=((Stage.IN_SUBNET, Stage.IN_INTERFACE),),
    written_at=(Stage.RESPONDER,),
    parts=_LISTS,
)
_ONCE_TRACKED = ((Stage.TRACKED, Stage.TUNNEL),)
ASKED = Register(
    *(1, "ASKED", "the rules are only asked whether the packet may open a connection,"),
    lives=_ONCE_TRACKED,
)
ALLOWED = Register(1, "ALLOWED", "and have said yes", lives=_ONCE_TRACKED)
TURNED = Register(
    *(1, "TURNED", "the packet's two ends are exchanged in its headers, as in what it may answer"),
    lives=_ONCE_TRACKED,
)
JUDGED = Register(
    *(1, "JUDGED", "a fragment that may pass, and has waited for the others of its packet"),
    lives=_ONCE_TRACKED,
)
SHOWN = Register(
    *(1, "SHOWN", "the packet has been shown to who watches what is allowed (`allowed`)"),
    lives=_ONCE_TRACKED,
)
SWAP = Register(
    *(128, "SWAP", "for the time of one flow, what changes places with another field"),
    written_at=(Stage.ANSWER, Stage.RETURN, Stage.DELIVER),
    left_zero=True,
)

REGISTERS = (
    *(OUT, ORIGIN, PEER, VSID, DOMAIN, ZONE, SOURCE_VSID, TARGET, TARGET6, RESOLVED_MAC),
    *(SENDER, RECEIVER, GROUPS, PLAIN_OUT_LISTS, PLAIN_IN_LISTS, PLAIN_SENDER, PLAIN_RECEIVER),
    *(INITIATOR, RESPONDER, OUT_LISTS, IN_LISTS),
    *(ASKED, ALLOWED, TURNED, JUDGED, SHOWN, SWAP, ROUTER),
)

place(REGISTERS, reached())

ENDS = (SENDER, RECEIVER, INITIATOR, RESPONDER, PLAIN_SENDER, PLAIN_RECEIVER)

IS_MISDIRECTED = 1 << RECEIVER[MISDIRECTED].first_bit - RECEIVER.first_bit
"""The bit of RECEIVER that says so of a packet."""

NO_GROUPS = GROUPS.clear()
NOT_LOOKED_FOR = TARGET6.clear()


def _group_bits() -> Iterator[Place]:
    for number, first_bit in GROUPS.places():
        found = Place(1)
        found.put(oxm.REG[number], first_bit)
        yield found


GROUP_BITS = tuple(_group_bits())
"""The bit of each group in GROUPS, by its number."""


def tracked(
    *, commit: bool = False, table: Stage | None = None, actions: Iterable[bytes] = ()
) -> bytes:
    """A ct action in the zone of the packet's routing domain."""
    zone, bit = ZONE.field, ZONE.first_bit
    return act.ct(commit=commit, zone=zone, zone_bit=bit, table=table, actions=actions)


def exchange(one: oxm.Field, other: oxm.Field) -> tuple[bytes, ...]:
    """Lets two fields change places, through SWAP."""
    width = one.bits
    return SWAP.take(one), act.move(other, 0, one, 0, width), SWAP.give(other)


def carried(register: Register, packet: PacketIn) -> int:
    """What a packet that has come up carries in a register; 0 where its stage has none such."""
    alive = packet.table in register.occupied
    return register.of(packet.fields) if alive else 0
