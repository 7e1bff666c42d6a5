# SPDX-License-Identifier: Apache-2.0
"""Fragments, on their way out of connection tracking: none goes on as another packet.

Open vSwitch's userspace data path keeps fragments until their packet is whole. Before version 3.6
it sends, with whatever packets pass connection tracking next, of whatever zone: what has waited in
vain, 15 s; and of a packet that became whole, what finds no place among the 32 that it handles at
once. Such a fragment has its own headers, ct_zone, pkt_mark and ct_state (without ``trk``, if it
waited in vain), but the registers, the input port and the further actions of packets that it has
nothing to do with (measured with 3.1; `ipf_send_frags_in_list` in its lib/ipf.c).

So a fragment goes on behind connection tracking only if it was tracked, in the zone of the pipeline
that it is in, in the same of its two passes, and is sent to the MAC address of the port that it
would come to (on another host, that host sees to it). And nothing but this check follows a ct
action: what has no ``table`` is in a clone, which ends there.

What waits takes room of which a host has little, whosever it is. So fragments reach connection
tracking through a meter: that of the port that they come from, or, from another host, that of the
port that they go to, or where they go to all, of the network (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.addresses import MULTICAST_BIT, Mac
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Commit, Fragment, Judge, Track, Tracked
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import Assigned, Limits, Meter, ThisBridge, Wanted
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import (
    ALL_METERS,
    ARRIVING_METERS,
    FRAGMENT_METERS,
    Out,
    Stage,
)
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm

_IP = (0x0800, 0x86DD)
_FRAGMENT = oxm.ip_frag(oxm.FRAGMENT_ANY, oxm.FRAGMENT_ANY)
_WHOLE = oxm.ip_frag(0, oxm.FRAGMENT_ANY)
_TRACKED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK)
_VALID = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
_JUDGED = reg.JUDGED.match(1)
_AGAIN = 1
"""In pkt_mark, which belongs to the packet and not to its pipeline: the packet passes connection
tracking for the second time."""


def fragment_flows(flows: Flows, read: Read) -> Iterator[Item]:
    """What is the same on every host."""
    again = oxm.pkt_mark(_AGAIN)
    yield flows.add(Stage.TRACKED, Tracked.WHOLE, oxm.match(), goto=Stage.JUDGE)
    for ethernet in _IP:
        kind = oxm.eth_type(ethernet)
        yield flows.drop(Stage.TRACKED, Tracked.FRAGMENT, oxm.match(kind, _FRAGMENT), read)
        # Marks of whole packets are the host's own.
        yield flows.drop(Stage.JUDGE, Judge.JUDGED_WRONGLY, oxm.match(kind, _FRAGMENT, again), read)
        # Fragments leave connection tracking all together or not at all: once more, and those whose
        # first one was refused expire there.
        yield flows.add(
            *(Stage.COMMIT, Commit.FRAGMENT, oxm.match(kind, _TRACKED, _FRAGMENT)),
            apply=_waiting(reg.tracked(table=Stage.TRACKED)),
        )
    group = Mac(MULTICAST_BIT)
    for receiver in (
        (reg.OUT.match(0),),
        (reg.OUT.match(Out.FLOOD), oxm.eth_dst(group, group)),
    ):
        yield flows.add(
            Stage.FRAGMENT, Fragment.TO_RECEIVER, oxm.match(*receiver), goto=Stage.JUDGE
        )
    yield flows.add(Stage.JUDGE, Judge.JUDGED, oxm.match(_JUDGED, again, _VALID), goto=Stage.COMMIT)
    yield flows.drop(Stage.JUDGE, Judge.JUDGED_WRONGLY, oxm.match(_JUDGED), read)
    end = (act.load(0, oxm.PKT_MARK),)
    yield flows.add(
        Stage.COMMIT, Commit.JUDGED_FRAGMENT, oxm.match(_JUDGED), apply=end, goto=Stage.DELIVER
    )


def zone_flows(wanted: Wanted, read: Read) -> Iterator[Item]:
    """Over Wanted: fragments that were tracked in the zone that their pipeline is in, and those
    from other hosts that go to all."""
    assigned, this = read.get(Assigned, wanted), read.get(ThisBridge, THIS)
    if wanted.kind != ZONES or assigned is None or assigned.number is None:
        return
    flows = Flows("zone_flows", str(assigned.number))
    zone = reg.ZONE.match(assigned.number), oxm.ct_zone(assigned.number)
    for ethernet in _IP:
        yield flows.add(
            *(Stage.TRACKED, Tracked.OWN_ZONE),
            oxm.match(oxm.eth_type(ethernet), _TRACKED, _FRAGMENT, *zone),
            goto=Stage.FRAGMENT,
        )
    if this is not None:
        to_all = reg.OUT.match(Out.FLOOD), reg.ORIGIN.match(1), zone[0]
        yield from _metered(flows, assigned.number + ALL_METERS, to_all, this.limits)


def port_fragments(flows: Flows, ofport: int, limits: Limits, *, filtered: bool) -> Iterator[Item]:
    """Of a local port: its meters, and what passes them. Those that one without rules sends wait
    where its neighbours have some; those that come to it from other hosts do not."""
    yield from _metered(flows, ofport + FRAGMENT_METERS, (oxm.in_port(ofport),), limits)
    if filtered:
        to_it = reg.OUT.match(ofport), reg.ORIGIN.match(1)
        yield from _metered(flows, ofport + ARRIVING_METERS, to_it, limits)


def _metered(flows: Flows, meter: int, whose: tuple[bytes, ...], limits: Limits) -> Iterator[Item]:
    """At TRACK, above what is the same of all IP packets, and below what does not wait."""
    if not limits.fragments_pps:
        return
    yield Item(Meter, meter, Meter(meter, limits.fragments_pps, limits.fragments_burst))
    for ethernet in _IP:
        yield flows.add(
            *(Stage.TRACK, Track.FRAGMENT, oxm.match(oxm.eth_type(ethernet), *whose, _FRAGMENT)),
            meter=meter,
            apply=(reg.tracked(table=Stage.TRACKED),),
        )


def to_port(flows: Flows, ofport: int, mac: Mac) -> Item:
    """A fragment goes on to this port if it is sent to it."""
    receiver = reg.OUT.match(ofport)
    return flows.add(
        Stage.FRAGMENT,
        Fragment.TO_RECEIVER,
        oxm.match(receiver, oxm.eth_dst(mac)),
        goto=Stage.JUDGE,
    )


def keep(
    flows: Flows, priority: int, match: tuple[bytes, ...], marks: tuple[bytes, ...], goto: Stage
) -> Iterator[Item]:
    """At COMMIT: the connection of IP packets that match is kept, with those marks, and they go on
    at `goto`. Fragments wait for each other there, and come back as judged."""
    commit = reg.tracked(commit=True, actions=marks)
    yield flows.add(
        *(Stage.COMMIT, priority, oxm.match(*match, _WHOLE)), apply=(act.clone(commit),), goto=goto
    )
    yield flows.add(
        *(Stage.COMMIT, priority, oxm.match(*match, _FRAGMENT)),
        apply=_waiting(reg.tracked(commit=True, table=Stage.TRACKED, actions=marks)),
    )


def _waiting(ct: bytes) -> tuple[bytes, ...]:
    judged = reg.JUDGED.load(1)
    return judged, act.load(_AGAIN, oxm.PKT_MARK), ct


FEATURE = Feature("fragments", units=(unit(Wanted, zone_flows),))
