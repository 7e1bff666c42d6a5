# SPDX-License-Identifier: Apache-2.0
"""The named bands of priorities of each stage: who comes before whom among the flows of one table.

A band is one priority, or the priorities from it to its `last`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from isthmus.switches.ovs.pipeline import Stage


class Band(IntEnum):
    """Priorities of one stage; the values are their first ones."""

    last: int

    def __new__(cls, first: int, last: int = -1) -> Self:
        band = int.__new__(cls, first)
        band._value_ = first
        band.last = max(first, last)
        return band


END = 0
"""In every stage: what nothing above matches is dropped, and counted."""


class Classify(Band):
    TUNNEL_QUESTION = 300
    MALFORMED = 200
    BROADCAST = 110
    """From a port whose broadcasts are limited."""
    ROUTED = 105
    """From a tunnel, with the MAC address of one of several routers."""
    ENTRY = 100


class Admission(Band):
    MALFORMED = 400
    GUARD = 310
    OWN_ADDRESS_ASKED = 300
    ROUTER_ADVERTISEMENT = 210
    DHCP = 205
    OWN = 200
    ANNOUNCEMENT = 195
    OWN_IN_PAIR = 192
    PAIR = 190
    DHCP_SERVER_ASKED = 185
    BLOCKED = 1
    """The rest of a port, counted by port."""


class Source(Band):
    MALFORMED = 400
    ANNOUNCEMENT = 210
    NEIGHBOUR_DISCOVERY = 200
    CLAIMED = 100
    PAIR = 90
    ROUTED_PAIR = 80
    FORWARDED = 50
    """From the host that a port has left."""


class SourceMac(Band):
    SAME_SEGMENT = 100
    ROUTED_BY = 60
    """One of several routers."""
    ROUTED = 50


class Dispatch(Band):
    SOLICITATION = 200
    ROUTER_ADVERTISEMENT = 195
    NEIGHBOUR_DISCOVERY = 190
    ROUTED = 100
    BRIDGED = 50


class Route(Band):
    GATEWAY_ECHO = 300
    GATEWAY = 290
    SUBNET = 100, 228
    """And the length of its prefix."""


class Neighbour(Band):
    OWN = 100
    PAIR = 90


class Resolved(Band):
    ADDRESS_PROBE = 110
    ANSWER = 100
    FORWARDED = 90


class Advertise(Band):
    ANSWER = 100


class Forward(Band):
    OWN = 100
    PAIR = 90


class Receiver(Band):
    CLOSED = 200
    RETURNED = 130
    OWN = 120
    PAIR = 110
    LEADING = 100
    NO_RULES = 1


class Groups(Band):
    MEMBER = 100
    NO_MEMBER = 1


class Filters(Band):
    BROADCAST = 200
    FILTER = 100
    NO_FILTER = 1


class Rules(Band):
    RULE = 2, 60000
    """Those of a list in their order."""
    DEFAULT = 1
    """Of a list; and the way past a level without one."""


class Track(Band):
    NO_CONNECTION = 130
    """What no rule speaks of: ARP, neighbour discovery."""
    RECEIVER_OF_BROADCAST = 120
    NO_RULES = 110
    FRAGMENT = 105
    TRACKED = 100


class Tracked(Band):
    OWN_ZONE = 100
    FRAGMENT = 50
    WHOLE = 1


class Fragment(Band):
    TO_RECEIVER = 100


class Judge(Band):
    JUDGED = 210
    JUDGED_WRONGLY = 200
    TURNED_QUESTION = 121
    TURNED = 120
    UNFITTING = 115
    LATER_FRAGMENT = 110
    MISDIRECTED_ANSWER = 109
    NO_OPENING = 106
    UNFOLLOWED_BY_BOTH = 104
    QUESTION = 103
    UNFOLLOWED_BY_ONE = 102
    UNKNOWN = 101
    KNOWN = 100
    INVALID_TCP = 90


class Begun(Band):
    ZONE = 30, 32
    """And 1 for all protocols, 2 for TCP."""
    OWN = 20, 22
    PAIR = 10, 12
    LONG_AGO = 1


class Unknown(Band):
    LOOKED_AT_AS_ANSWER = 20
    QUESTION = 1


class Answer(Band):
    ALLOWED = 100
    TURN = 10, 14
    """And the number of fields that tell the kind of packet."""


class Opening(Band):
    NO_ENTRY = 110
    METERED = 100
    KNOWN = 1


class Commit(Band):
    JUDGED_FRAGMENT = 210
    ASKED = 200
    SHOWN = 190, 193
    """In the order of `allowed`."""
    GATEWAY_FRAGMENT = 125
    BROADCAST = 120
    NO_ENTRY = 115
    MULTICAST = 110
    TURNED_TCP = 104
    NEW_TO_RESPONDER = 102
    NEW_TO_INITIATOR = 101
    NEW = 100
    FOLLOWED_BY_BOTH = 96
    FOLLOWED_BY_ONE = 95
    FRAGMENT = 90
    KNOWN = 1


class Return(Band):
    TURN_BACK = 10, 14
    AS_IT_IS = 1


class Followed(Band):
    ZONE = 30
    OWN = 20
    PAIR = 10


class Flood(Band):
    SEGMENT = 100


class Deliver(Band):
    PROBED = 200
    GATEWAY_ECHO = 120
    ELSEWHERE = 100
    HERE = 50


class Tunnel(Band):
    PEER = 100


BANDS: dict[Stage, type[Band]] = {
    Stage.CLASSIFY: Classify,
    Stage.ADMISSION: Admission,
    Stage.SOURCE: Source,
    Stage.SOURCE_MAC: SourceMac,
    Stage.DISPATCH: Dispatch,
    Stage.ROUTE: Route,
    Stage.NEIGHBOUR: Neighbour,
    Stage.RESOLVED: Resolved,
    Stage.ADVERTISE: Advertise,
    Stage.FORWARD: Forward,
    Stage.RECEIVER: Receiver,
    **dict.fromkeys(
        (
            *(Stage.PLAIN_SOURCE_GROUPS, Stage.PLAIN_TARGET_GROUPS),
            *(Stage.SOURCE_GROUPS, Stage.TARGET_GROUPS),
        ),
        Groups,
    ),
    **dict.fromkeys(
        (Stage.PLAIN_SENDER, Stage.PLAIN_RECEIVER, Stage.INITIATOR, Stage.RESPONDER), Filters
    ),
    **dict.fromkeys(
        (
            *(Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
            *(Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
            *(Stage.OUT_INTERFACE, Stage.OUT_SUBNET, Stage.IN_SUBNET, Stage.IN_INTERFACE),
        ),
        Rules,
    ),
    Stage.TRACK: Track,
    Stage.TRACKED: Tracked,
    Stage.FRAGMENT: Fragment,
    Stage.JUDGE: Judge,
    Stage.BEGUN_SENDER: Begun,
    Stage.BEGUN_RECEIVER: Begun,
    Stage.UNKNOWN: Unknown,
    Stage.ANSWER: Answer,
    Stage.OPENING: Opening,
    Stage.COMMIT: Commit,
    Stage.RETURN: Return,
    Stage.FOLLOWED: Followed,
    Stage.FLOOD: Flood,
    Stage.DELIVER: Deliver,
    Stage.TUNNEL: Tunnel,
}
