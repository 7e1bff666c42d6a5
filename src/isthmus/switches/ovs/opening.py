# SPDX-License-Identifier: Apache-2.0
"""How fast ports open connections that are followed (docs/security.md).

What connection tracking has no entry of, and rules let pass, goes through a meter before COMMIT
makes an entry: that of the port that it comes from, or, from another host, whose flows nobody here
counts, that of the port that it goes to. What is above the meter's rate is dropped, as a lost
packet, which its sender sends again.

An entry is known by its mark. Open vSwitch's kernel data path, unlike that in userspace, calls all
packets new until one has come back, and what is never answered (syslog, streams) is one connection
all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT
from isthmus.derive.engine import Item
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Opening
from isthmus.switches.ovs.domains import NO_CONNECTIONS
from isthmus.switches.ovs.facts import Limits, Meter
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import (
    KEPT,
    OPENED_METERS,
    OPENING_METERS,
    Stage,
)
from isthmus.wire import oxm

_IP = (0x0800, 0x86DD)
_TCP = 6
_NEW = oxm.CT_TRK | oxm.CT_NEW
_FITTING = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
_OPENS = (
    oxm.ct_state(_NEW, _NEW | oxm.CT_EST),
    oxm.ct_mark(0, KEPT),
    # Of what goes to a group no entry is made.
    oxm.eth_dst(0, MULTICAST_BIT),
)


def opening_flows(flows: Flows) -> Iterator[Item]:
    """What is the same on every host."""
    yield flows.add(Stage.OPENING, Opening.KNOWN, oxm.match(), goto=Stage.COMMIT)
    turned = reg.TURNED.match(1)
    for ethernet in _IP:
        # COMMIT makes no entry of these (`begun`).
        match = oxm.match(oxm.eth_type(ethernet), oxm.ip_proto(_TCP), turned)
        yield flows.add(Stage.OPENING, Opening.NO_ENTRY, match, goto=Stage.COMMIT)
        # Nor of these (`unfitting`).
        match = oxm.match(oxm.eth_type(ethernet), _FITTING, oxm.ct_zone(NO_CONNECTIONS))
        yield flows.add(Stage.OPENING, Opening.NO_ENTRY, match, goto=Stage.COMMIT)


def port_openings(flows: Flows, ofport: int, limits: Limits, *, filtered: bool) -> Iterator[Item]:
    """Of a local port: its meters, and what passes them. One without rules opens connections that
    its neighbours' rules follow; nobody opens one to it that is followed for its sake."""
    if not limits.opened_pps:
        return
    sent, received = ofport + OPENING_METERS, ofport + OPENED_METERS
    own = (sent, (oxm.in_port(ofport),))
    from_afar = (received, (reg.OUT.match(ofport), reg.ORIGIN.match(1)))
    for meter, whose in (own, from_afar) if filtered else (own,):
        yield Item(Meter, meter, Meter(meter, limits.opened_pps, limits.opened_burst))
        match = oxm.match(*whose, *_OPENS)
        yield flows.add(Stage.OPENING, Opening.METERED, match, meter=meter, goto=Stage.COMMIT)
