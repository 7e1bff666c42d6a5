# SPDX-License-Identifier: Apache-2.0
"""Segments of TCP that do not fit what is known of their connection (docs/design/0005).

Connection tracking calls a segment invalid whose sequence numbers it does not expect. That is not
always a lie. A switch that picked a connection up in its middle takes for the lowest number the
first that it saw, though what was lost before that is sent again. A machine that lost its power
asks anew from ports whose connection the other end still has: RFC 9293 section 3.5.1 and RFC 5961
section 4.2 have TCP settle that between the two ends.

So such a segment is judged as if nothing were known: it goes through connection tracking once more,
in a zone in which no connection is ever kept, and then through the rules in its own direction. It
passes if it could have opened a connection, and is kept by nobody: what answers it settles what is
known. What can open none is invalid there, too: a SYN-ACK, no flags, a wrong checksum.

Not in fragments, which would have to wait for each other a third time.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT
from isthmus.derive.engine import Item, Read
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Commit, Judge
from isthmus.switches.ovs.begun import QUESTION
from isthmus.switches.ovs.domains import NO_CONNECTIONS
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

_IP = (0x0800, 0x86DD)
_TCP = 6
_STATE = oxm.CT_TRK | oxm.CT_INV
_INVALID, _VALID = oxm.ct_state(_STATE, _STATE), oxm.ct_state(oxm.CT_TRK, _STATE)
_WHOLE = oxm.ip_frag(0, oxm.FRAGMENT_ANY)


def unfitting_flows(flows: Flows, read: Read) -> Iterator[Item]:
    """What is the same on every host, at JUDGE and COMMIT."""
    as_new = oxm.ct_zone(NO_CONNECTIONS)
    for ethernet in _IP:
        kind = oxm.eth_type(ethernet)
        segment = (kind, oxm.eth_dst(0, MULTICAST_BIT), oxm.ip_proto(_TCP), _WHOLE)
        yield flows.add(
            *(Stage.JUDGE, Judge.INVALID_TCP, oxm.match(*segment, _INVALID)),
            apply=(act.ct(zone=NO_CONNECTIONS, table=Stage.TRACKED),),
        )
        yield flows.add(
            *(Stage.JUDGE, Judge.UNFITTING, oxm.match(kind, _VALID, as_new)),
            apply=(*QUESTION, *reg.NO_GROUPS),
            goto=Stage.SOURCE_GROUPS,
        )
        yield flows.drop(Stage.JUDGE, Judge.UNFITTING, oxm.match(kind, _INVALID, as_new), read)
        yield flows.add(
            Stage.COMMIT, Commit.NO_ENTRY, oxm.match(kind, _VALID, as_new), goto=Stage.DELIVER
        )
