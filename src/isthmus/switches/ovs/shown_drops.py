# SPDX-License-Identifier: Apache-2.0
"""Shows what is dropped, while somebody watches: the drops of watched ports, if not those of all.

Flows that drop are made by `flows.Flows.drop`; what they show goes to the watches of the agent.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Plugged
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.facts import Watching
from isthmus.switches.ovs.feature import Feature, Hands
from isthmus.switches.ovs.flows import SHOW
from isthmus.switches.ovs.pipeline import (
    DROPPED,
    SHOWN_DROPS,
    FlowKey,
    Programmed,
    programmed,
    unit_cookie,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn


def watched_drops(watching: Watching, read: Read) -> Iterator[Item]:
    """Over Watching: what of the drops of watched ports is shown. What others have dropped takes
    nothing of the rate."""
    cookie = unit_cookie("watched_drops", THIS)
    for port in watching.ports:
        plugged = read.get(Plugged, port)
        if plugged is None:
            continue
        for its in (oxm.in_port(plugged.ofport), reg.OUT.match(plugged.ofport)):
            key = FlowKey(SHOWN_DROPS, 1, oxm.match(its))
            yield Item(Programmed, key, programmed(cookie, key, act.instructions(apply=(SHOW,))))


WATCHING_DROPS = "watching drops"


def dropped(packet: PacketIn, hands: Hands) -> bool:
    """What guests answer to us goes nowhere else, and nobody misses it."""
    if not hands.guests.asking.is_answered_by(packet.in_port, packet.packet):
        hands.give(WATCHING_DROPS, packet)
    return False


FEATURE = Feature(
    WATCHING_DROPS, units=(unit(Watching, watched_drops),), packets={DROPPED: dropped}
)
