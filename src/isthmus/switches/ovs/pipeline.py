# SPDX-License-Identifier: Apache-2.0
"""The stages of the integration bridge: tables, where they lead, and the cookies of flows.

A packet from a local port goes CLASSIFY → ADMISSION → DISPATCH → (ROUTE →) (NEIGHBOUR → RESOLVED →)
FORWARD, where it is known to whom it goes. One to a local port passes RECEIVER. What stateless
rules allow an end is seen in the PLAIN stages, on the packet alone. If rules hold for an end that
is left, TRACK sends it through connection tracking. It comes back at TRACKED, where fragments that
Open vSwitch has put among the packets of others end (`fragments`). At JUDGE the two ends are put in
the order of the connection (who opened it), the rules of the initiator and of the responder are
looked at on the *original* tuple of the connection. What opens one passes a meter at OPENING
(`opening`), and COMMIT keeps it, with a mark of the ends that do not follow it.
DELIVER and TUNNEL send it out. A broadcast is judged once for its sender, and at FLOOD once for
each local receiver.

A packet from a tunnel goes CLASSIFY → SOURCE → SOURCE_MAC → FORWARD: it was routed at its source,
and is never sent into a tunnel again (but for a port that has just moved away).

Because every packet of a connection is judged again, taking a rule or a member of a group away ends
what it had allowed, and nothing else, and there is nothing to flush.

What packets carry is declared in `registers`, priorities in `bands`, and what the flows of a stage
may look at and write in `declared`.

Every table ends in a flow of priority 0 that drops, so that what is dropped is counted by reason;
`DROPS` says what a packet that ends there has done.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from isthmus.wire.openflow import Flow


class Stage(IntEnum):
    """Table numbers. Gaps leave room for features (`ROOM`); goto_table goes forward only."""

    CLASSIFY = 0
    ADMISSION = 10
    SOURCE = 15
    SOURCE_MAC = 16
    DISPATCH = 20
    ROUTE = 30
    NEIGHBOUR = 35
    RESOLVED = 36
    ADVERTISE = 37
    FORWARD = 40
    RECEIVER = 42
    PLAIN_SOURCE_GROUPS = 43
    PLAIN_TARGET_GROUPS = 44
    PLAIN_SENDER = 45
    PLAIN_OUT_INTERFACE = 46
    PLAIN_OUT_SUBNET = 47
    PLAIN_RECEIVER = 48
    PLAIN_IN_SUBNET = 49
    PLAIN_IN_INTERFACE = 50
    TRACK = 51
    TRACKED = 52
    """Here packets come back from connection tracking."""
    FRAGMENT = 53
    JUDGE = 54
    BEGUN_SENDER = 55
    BEGUN_RECEIVER = 56
    UNKNOWN = 57
    SOURCE_GROUPS = 58
    TARGET_GROUPS = 59
    INITIATOR = 60
    OUT_INTERFACE = 61
    OUT_SUBNET = 62
    RESPONDER = 65
    IN_SUBNET = 66
    IN_INTERFACE = 67
    ANSWER = 68
    OPENING = 69
    COMMIT = 70
    RETURN = 71
    FOLLOWED = 72
    FLOOD = 75
    DELIVER = 80
    TUNNEL = 85


ROOM = {
    range(11, 15): "mirrors of what ports send; marks and limits of it (QoS)",
    range(17, 20): "NAT of what comes from outside: a public address becomes a port's",
    range(21, 30): "load balancing: a virtual address becomes a member's, before it is routed",
    range(31, 35): "routes by source, and to gateways",
    range(73, 75): "NAT of what goes outside: a port's address becomes a public one",
    range(81, 85): "queues (QoS), and mirrors of what ports receive",
}
"""Table numbers that are kept free for what is to come."""

FOLLOWING: dict[Stage, tuple[Stage, ...]] = {
    Stage.CLASSIFY: (Stage.ADMISSION, Stage.SOURCE),
    Stage.ADMISSION: (Stage.DISPATCH, Stage.FORWARD),
    Stage.SOURCE: (Stage.SOURCE_MAC, Stage.FORWARD),
    Stage.SOURCE_MAC: (Stage.FORWARD,),
    Stage.DISPATCH: (Stage.ROUTE, Stage.NEIGHBOUR, Stage.FORWARD),
    Stage.ROUTE: (Stage.NEIGHBOUR, Stage.PLAIN_SOURCE_GROUPS),
    Stage.NEIGHBOUR: (Stage.RESOLVED,),
    Stage.RESOLVED: (Stage.ADVERTISE, Stage.FORWARD),
    Stage.ADVERTISE: (),
    Stage.FORWARD: (Stage.RECEIVER, Stage.PLAIN_SOURCE_GROUPS, Stage.TUNNEL),
    Stage.RECEIVER: (Stage.PLAIN_SOURCE_GROUPS,),
    Stage.PLAIN_SOURCE_GROUPS: (Stage.PLAIN_TARGET_GROUPS,),
    Stage.PLAIN_TARGET_GROUPS: (Stage.PLAIN_SENDER,),
    Stage.PLAIN_SENDER: (Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_RECEIVER),
    Stage.PLAIN_OUT_INTERFACE: (Stage.PLAIN_OUT_SUBNET, Stage.PLAIN_RECEIVER),
    Stage.PLAIN_OUT_SUBNET: (Stage.PLAIN_RECEIVER,),
    Stage.PLAIN_RECEIVER: (Stage.PLAIN_IN_SUBNET, Stage.TRACK),
    Stage.PLAIN_IN_SUBNET: (Stage.PLAIN_IN_INTERFACE, Stage.TRACK),
    Stage.PLAIN_IN_INTERFACE: (Stage.TRACK,),
    Stage.TRACK: (Stage.TRACKED, Stage.RESPONDER, Stage.COMMIT),
    Stage.TRACKED: (Stage.FRAGMENT, Stage.JUDGE),
    Stage.FRAGMENT: (Stage.JUDGE,),
    Stage.JUDGE: (Stage.TRACKED, Stage.BEGUN_SENDER, Stage.SOURCE_GROUPS, Stage.COMMIT),
    Stage.BEGUN_SENDER: (Stage.BEGUN_RECEIVER,),
    Stage.BEGUN_RECEIVER: (Stage.UNKNOWN,),
    Stage.UNKNOWN: (Stage.SOURCE_GROUPS, Stage.ANSWER),
    Stage.SOURCE_GROUPS: (Stage.TARGET_GROUPS,),
    Stage.TARGET_GROUPS: (Stage.INITIATOR,),
    Stage.INITIATOR: (Stage.OUT_INTERFACE,),
    Stage.OUT_INTERFACE: (Stage.OUT_SUBNET,),
    Stage.OUT_SUBNET: (Stage.RESPONDER,),
    Stage.RESPONDER: (Stage.IN_SUBNET, Stage.COMMIT),
    Stage.IN_SUBNET: (Stage.IN_INTERFACE,),
    Stage.IN_INTERFACE: (Stage.OPENING,),
    Stage.ANSWER: (Stage.TRACKED, Stage.COMMIT),
    Stage.OPENING: (Stage.COMMIT,),
    Stage.COMMIT: (Stage.TRACKED, Stage.COMMIT, Stage.RETURN, Stage.FLOOD, Stage.DELIVER),
    Stage.RETURN: (Stage.DELIVER,),
    Stage.FOLLOWED: (),
    Stage.FLOOD: (Stage.RECEIVER, Stage.TUNNEL),
    Stage.DELIVER: (Stage.TUNNEL,),
    Stage.TUNNEL: (),
}
"""Where packets may go on: by goto_table, by resubmit, or out of connection tracking."""


def reached() -> dict[Stage, frozenset[Stage]]:
    """All stages that packets of a stage may come to."""
    found = {stage: frozenset(following) for stage, following in FOLLOWING.items()}
    while True:
        further = {stage: its.union(*(found[one] for one in its)) for stage, its in found.items()}
        if further == found:
            return found
        found = further


SHOWN_DROPS = 90
"""No stage: while only some ports are watched, flows that drop leave it to this table whether what
they drop is shown. METADATA says whose it is (`dropped_by`)."""


class Out(IntEnum):
    """What OUT may hold beside the number of a port, which is below 0xFF00 (ovs-vswitchd(8))."""

    FLOOD = 0xFF00
    """All members of the segment."""
    GATEWAY = 0xFF01
    """The router's own address, which answers echo requests."""


class NotFollowed(IntEnum):
    """Bits of ct_mark: ends of a connection that have no part in it, because they are on another
    host, have no rules, or a stateless one lets its packets pass."""

    INITIATOR = 1
    RESPONDER = 2


KEPT = 4
"""Another bit of ct_mark, of all connections that COMMIT has kept."""


SOME_RECEIVER = 0xFFFF
"""In RECEIVER: of a broadcast that goes to a port with rules, each port is looked at in FLOOD."""

MOST_GROUPS = 128

DROPS: dict[Stage, str] = {
    Stage.CLASSIFY: "from a port without policy, a tunnel packet of an unknown segment, with a VLAN"
    " tag, or from a group's MAC address",
    Stage.ADMISSION: "source MAC, IP or ARP address is not the port's own (port security)",
    Stage.SOURCE: "tunnel packet whose inner source is not claimed by the outer source, or"
    " neighbour discovery",
    Stage.SOURCE_MAC: "routed tunnel packet of a segment without a router",
    Stage.DISPATCH: "neither IP nor an ARP question, or neighbour discovery out of place",
    Stage.ROUTE: "no route",
    Stage.NEIGHBOUR: "no port has that address",
    Stage.RESOLVED: "not reached",
    Stage.ADVERTISE: "not reached",
    Stage.TRACKED: "a fragment that has waited in vain for the others of its packet",
    Stage.FRAGMENT: "a fragment to another port, among whose packets Open vSwitch has put it",
    Stage.FORWARD: "no port has that destination MAC on the segment",
    Stage.RECEIVER: "to a port whose policy the switch refuses or does not have yet, or to the port"
    " that it comes from",
    Stage.PLAIN_SOURCE_GROUPS: "not reached",
    Stage.PLAIN_TARGET_GROUPS: "not reached",
    Stage.PLAIN_SENDER: "not reached",
    Stage.PLAIN_OUT_INTERFACE: "not reached",
    Stage.PLAIN_OUT_SUBNET: "not reached",
    Stage.PLAIN_RECEIVER: "not reached",
    Stage.PLAIN_IN_SUBNET: "not reached",
    Stage.PLAIN_IN_INTERFACE: "not reached",
    Stage.TRACK: "not IP, and rules hold for it",
    Stage.JUDGE: "of no connection that can be followed (invalid), or an answer that was led to"
    " another port than asked",
    Stage.BEGUN_SENDER: "not reached",
    Stage.BEGUN_RECEIVER: "not reached",
    Stage.UNKNOWN: "an answer that nobody has asked for",
    Stage.SOURCE_GROUPS: "not reached",
    Stage.TARGET_GROUPS: "not reached",
    Stage.INITIATOR: "rules that this host does not know hold for its sender",
    Stage.OUT_INTERFACE: "an outbound rule of the interface, or its default",
    Stage.OUT_SUBNET: "an outbound rule of the subnet, or its default",
    Stage.RESPONDER: "rules that this host does not know hold for its receiver",
    Stage.IN_SUBNET: "an inbound rule of the subnet, or its default",
    Stage.IN_INTERFACE: "an inbound rule of the interface, or its default",
    Stage.ANSWER: "not reached",
    Stage.OPENING: "not reached",
    Stage.COMMIT: "not reached",
    Stage.RETURN: "not reached",
    Stage.FOLLOWED: "not reached",
    Stage.FLOOD: "broadcast on a segment that is not known",
    Stage.DELIVER: "not reached",
    Stage.TUNNEL: "no encapsulation in common with the destination's host",
}

DHCP_QUESTION = b"\x01"
"""Userdata of a packet-in that holds a guest's DHCP message."""
FIRST_FRAME = b"\x02"
"""Userdata of a packet-in that shows that a guest behind a standby claim is alive."""

PAIR_SEEN = b"\x03"
"""Userdata of a packet-in with which a guest says that it uses an address pair of its port."""

DROPPED = b"\x04"
"""Userdata of a packet-in that shows a packet that was dropped."""

ALLOWED, PASSED = b"\x08", b"\x09"
"""Userdata of packet-ins that show what is let pass: the packet that opens a connection, and a
packet of what nobody follows."""

PROBED = b"\x05"
"""Userdata of a packet-in with what may answer a probe of ours."""

TUNNEL_ANSWER = b"\x07"
"""Userdata of a packet-in with a peer's answer to a question through the tunnel."""

STORM_METERS, PAIR_METERS = 1 << 16, 2 << 16
"""Added to a port's OpenFlow port: the ids of the meters of its broadcasts, and of what it says of
its address pairs. That of its DHCP messages is its OpenFlow port."""
OPENING_METERS, OPENED_METERS = 3 << 16, 5 << 16
"""Likewise: of what opens connections, from the port, and to it from other hosts."""
FRAGMENT_METERS, ARRIVING_METERS = 6 << 16, 7 << 16
"""Likewise: of fragments that wait for each other."""
ALL_METERS = 8 << 16
"""Added to a connection tracking zone: of fragments that come from other hosts to all ports."""
WATCH_METER = 1 << 18
"""Limits how many dropped packets are shown."""
TUNNEL_METER = WATCH_METER + 1
"""Limits how many answers to questions through tunnels come up."""
ALLOWED_METER, PASSED_METER = WATCH_METER + 2, WATCH_METER + 3
"""Limit how many connections that begin are shown, and how many packets that nobody follows."""

ISOLATED = 1 << 31
"""Domain numbers of segments without a router start here; RDIDs stay below."""

_UNIT_BITS = 40


class FlowKey(NamedTuple):
    table: int
    priority: int
    match: bytes


class Programmed(NamedTuple):
    """The value of one flow under its key (table, priority, match)."""

    instructions: bytes
    cookie: int
    lasts_s: int = 0
    """After how many seconds the switch deletes it by itself; 0 for never."""
    since: tuple[FlowKey, ...] = ()
    """Of a flow that lasts: the one with which it is sent, and without which it is never sent
    again; then those beside which it is not sent (`begun.begins`)."""


def unit_cookie(unit: str, key: object) -> int:
    """The upper 40 bits of the cookies of all flows that one unit call gives, as an unshifted
    number.
    """
    digest = blake2b(f"{unit} {key}".encode(), digest_size=_UNIT_BITS // 8).digest()
    return int.from_bytes(digest, "big")


def programmed(unit: int, key: FlowKey, instructions: bytes, version: str = "") -> Programmed:
    """A flow's cookie: 40 bits name its unit call, 24 bits its content, so that equal cookies at
    one place of a table mean an unchanged flow, and a restart compares cookies alone. `version` is
    what else makes it another flow, though it does the same.
    """
    content = crc32(instructions, crc32(key.match, key.table << 16 | key.priority))
    if version:
        content = crc32(version.encode(), content)
    return Programmed(instructions, unit << 24 | content & 0xFFFFFF)


def flow(key: FlowKey, value: Programmed) -> Flow:
    return Flow(key.table, key.priority, key.match, value.instructions, value.cookie, value.lasts_s)


def dropped_by(unit: int, stage: Stage) -> int:
    """What says which unit's flow has dropped a packet, and where: like a cookie (`unit_of_cookie`)
    that ends in the number of the table."""
    return unit << 24 | stage


def unit_of_cookie(cookie: int) -> int:
    """What `unit_cookie` gave for the unit call that a flow comes from."""
    return cookie >> 24
