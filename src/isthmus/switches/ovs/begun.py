# SPDX-License-Identifier: Apache-2.0
"""Connections that were there before they were followed (docs/design/0004).

Connection tracking takes the first packet that it sees for the one that opens a connection. Where a
port begins to be followed (its first list of rules, its arrival from another host, a switch that
was started again) that may be an answer, which rules would drop for ever. So for a time after that
a packet of a connection that nobody knows, and that may not open one, is taken for an answer if the
rules of every end under rules would let that end be asked: between the same addresses and ports,
with the ends exchanged. It is then kept in that order.

What is followed has a *marker*, a flow that no packet comes to; its *windows* are flows that the
switch deletes by itself after their time, whoever is alive then. Windows are sent when their marker
is sent, and never else: a switch that has the marker has followed these connections all along. What
overlaps what is followed there (a pair around another, an address in a pair) gets a marker and no
windows: connections of the addresses in both are known already.

An answer in fragments is not taken for one, nor a SYN-ACK, after which TCP asks again anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from isthmus.addresses import MULTICAST_BIT
from isthmus.derive.engine import Item, Read, unit
from isthmus.host.facts import THIS, Location, Plugged, ThisHost
from isthmus.policy.addresses import leading
from isthmus.policy.rows import Port
from isthmus.switches.ovs import bands
from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.bands import Answer, Begun, Commit, Judge, Return, Unknown
from isthmus.switches.ovs.facts import PeerZone, ThisBridge
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.filters import end, unfollowed_version
from isthmus.switches.ovs.flows import Flows
from isthmus.switches.ovs.pipeline import FlowKey, Stage
from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow

WINDOW_S = 60
"""For how long what may be an answer is taken for one: Open vSwitch, too, forgets a connection of
UDP or ICMP of which it has heard nothing for that long (its userspace data path, by default)."""

TCP_WINDOW_S = 600
"""The same for TCP, whose connections are silent for longer: what keeps them open (keepalives,
heartbeats) speaks every few minutes at least, or the address translators on its way forget it. A
segment that answers nothing is refused by every host that gets it."""

_IP = (0x0800, 0x86DD)
_TCP, _UDP, _SCTP = 6, 17, 132
_SYN = 0x02
_PORTS = {
    _TCP: (oxm.TCP_SRC, oxm.TCP_DST),
    _UDP: (oxm.UDP_SRC, oxm.UDP_DST),
    _SCTP: (oxm.SCTP_SRC, oxm.SCTP_DST),
}
_ICMP = {
    0x0800: (1, oxm.icmp_type, ((0, 8), (14, 13), (16, 15), (18, 17))),
    0x86DD: (58, oxm.icmpv6_type, ((129, 128),)),
}
"""Protocol, and the types of answers with those of their questions (RFC 792, RFC 4443). No rule can
tell one question from another by more."""


class Followed(NamedTuple):
    """What a port sends from, and is sent to, under rules. `priority` tells its own addresses from
    the ranges of its pairs; `version` changes when what is known of its connections is void."""

    priority: int
    ethernet: int
    sources: bytes
    destinations: bytes
    version: str
    in_pair: bool = False
    """Whether an address of its own lies in one of its pairs."""


def port_begins(
    flows: Flows,
    port: Port,
    local: Plugged,
    zone: int,
    numbers: Iterable[tuple[int, str, int | None]],
    read: Read,
) -> Iterator[Item]:
    """What is known of its connections is void in another zone, in a switch that was started anew,
    and when the port comes from another host: while it stands by, its guest may still be there."""
    this = read.get(ThisBridge, THIS)
    forwarding = this.forwarding if this is not None else ""
    state = "standing by" if stands_by(port, read) else "here"
    where = f"{forwarding} {zone} {state}"
    versions = []
    for family, address, _ in numbers:
        unfollowed = unfollowed_version(port, address, family, read)
        versions.append((family, address, None if unfollowed is None else f"{where} {unfollowed}"))
    yield from port_windows(flows, local.ofport, followed(port, versions))


def stands_by(port: Port, read: Read) -> bool:
    """Whether another host has it."""
    location, this = read.get(Location, port.id), read.get(ThisHost, THIS)
    return location is not None and this is not None and location.host != this.host


def followed(port: Port, versions: Iterable[tuple[int, str, str | None]]) -> Iterator[Followed]:
    """Of a local port: family, address and version of what has rules, None of what has none. A pair
    is under the rules of the address that leads its family (`ports._receive`)."""
    found = {(family, address): version for family, address, version in versions}
    pairs = port.pairs
    for (family, address), version in found.items():
        if address and version is not None:
            own = ip_address(address)
            ends = _ends(family, int(own), 0)
            in_pair = any(own in pair.network for pair in pairs)
            yield Followed(Begun.OWN, _ethernet(family), *ends, version, in_pair)
    for pair in pairs:
        family, network = pair.network.version, pair.network
        version = found.get((family, leading(port, family)))
        if version is not None:
            wild = network.max_prefixlen - network.prefixlen
            ends = _ends(family, int(network.network_address), wild)
            yield Followed(Begun.PAIR, _ethernet(family), *ends, version)


def _ethernet(family: int) -> int:
    return _IP[0] if family == 4 else _IP[1]


def _ends(family: int, number: int, wild_bits: int) -> tuple[bytes, bytes]:
    fields = (oxm.IPV4_SRC, oxm.IPV4_DST) if family == 4 else (oxm.IPV6_SRC, oxm.IPV6_DST)
    source, destination = (
        oxm.prefix(one, number, one.bits - wild_bits) if wild_bits < one.bits else b""
        for one in fields
    )
    return source, destination


def port_windows(flows: Flows, ofport: int, ends: Iterable[Followed]) -> Iterator[Item]:
    """Markers and windows of a local port."""
    found = list(ends)
    markers = [_marker(ofport, one) for one in found]
    for one, marker in zip(found, markers, strict=True):
        kind = oxm.eth_type(one.ethernet)
        others = (other for other in markers if other != marker and overlap(marker, other))
        since = (marker, *dict.fromkeys(others))
        yield flows.add(Stage.FOLLOWED, one.priority, marker.match, version=one.version)
        for stage, here, its in (
            (Stage.BEGUN_SENDER, oxm.in_port(ofport), one.sources),
            (Stage.BEGUN_RECEIVER, reg.OUT.match(ofport), one.destinations),
        ):
            match = (here, kind, its)
            if one.in_pair:
                # The windows of the pair are none of its own.
                whole = oxm.match(*match)
                yield flows.add(stage, one.priority, whole, goto=_FOLLOWING[stage])
            yield from _windows(flows, stage, one.priority, match, since, one.version)


def _marker(ofport: int, one: Followed) -> FlowKey:
    match = oxm.match(oxm.in_port(ofport), oxm.eth_type(one.ethernet), one.sources)
    return FlowKey(Stage.FOLLOWED, one.priority, match)


def overlap(one: FlowKey, other: FlowKey) -> bool:
    """Whether two markers are of one port, and of an address in common."""
    mine, its = ({entry.field: entry for entry in oxm.entries(key.match)} for key in (one, other))
    return (
        oxm.IN_PORT in mine
        and oxm.IN_PORT in its
        and not any(_differ(mine[field], its[field]) for field in mine.keys() & its.keys())
    )


def _differ(one: oxm.Entry, other: oxm.Entry) -> int:
    """Bits that both compare, and not with the same value."""
    ones = one.field.ones
    compared = (ones if one.mask is None else one.mask) & (
        ones if other.mask is None else other.mask
    )
    return (one.value ^ other.value) & compared


def zone_windows(zone: PeerZone, read: Read) -> Iterator[Item]:
    """Over PeerZone: of two peered networks, whose connections have a zone of their own: of none is
    anything known in a zone that is new."""
    flows, this = Flows("zone_windows", str(zone.number)), read.get(ThisBridge, THIS)
    version = this.forwarding if this is not None else ""
    match = reg.ZONE.match(zone.number)
    marker = FlowKey(Stage.FOLLOWED, bands.Followed.ZONE, oxm.match(match))
    yield flows.add(Stage.FOLLOWED, bands.Followed.ZONE, marker.match, version=version)
    for stage in _FOLLOWING:
        for ethernet in _IP:
            both = (match, oxm.eth_type(ethernet))
            yield from _windows(flows, stage, Begun.ZONE, both, (marker,), version)


def _windows(
    flows: Flows,
    stage: Stage,
    priority: int,
    match: tuple[bytes, ...],
    since: tuple[FlowKey, ...],
    version: str,
) -> Iterator[Item]:
    """What says of one end that its connections began to be followed a moment ago."""
    register = reg.SENDER if stage is Stage.BEGUN_SENDER else reg.RECEIVER
    begun = (register[reg.BEGUN].load(1),)
    for further, packet, lasts_s in (
        (1, b"", WINDOW_S),
        (2, oxm.ip_proto(_TCP), TCP_WINDOW_S),
    ):
        yield flows.add(
            *(stage, priority + further, oxm.match(*match, packet)),
            apply=begun,
            goto=_FOLLOWING[stage],
            version=version,
            lasts_s=lasts_s,
            since=since,
        )


_FOLLOWING = {
    Stage.BEGUN_SENDER: Stage.BEGUN_RECEIVER,
    Stage.BEGUN_RECEIVER: Stage.UNKNOWN,
}


def begins(
    since: tuple[FlowKey, ...],
    is_sent: Callable[[FlowKey], bool],
    was_there: Callable[[FlowKey], bool],
    gone: Iterable[FlowKey],
) -> bool:
    """Whether a window is sent. `since` as in `Programmed`; `is_sent`: with the same changes,
    `was_there`: in the switch before them, `gone`: the markers that they take away."""
    marker, *others = since
    if not is_sent(marker):
        return False
    if was_there(marker):
        return True  # What was known of it is void.
    followed = any(was_there(other) and not is_sent(other) for other in others)
    return not followed and not any(overlap(marker, other) for other in gone)


def in_order(adds: Iterable[Flow]) -> tuple[Flow, ...]:
    """Windows before what they are for, and markers last: an agent that ends in between leaves no
    marker of what had no window."""
    return tuple(sorted(adds, key=lambda one: (not one.lasts_s, one.table == Stage.FOLLOWED)))


# -- what is the same on every host ----------------------------------------------------------------


QUESTION = reg.SENDER.copy_to(reg.INITIATOR), reg.RECEIVER.copy_to(reg.RESPONDER)
ANSWER = reg.RECEIVER.copy_to(reg.INITIATOR), reg.SENDER.copy_to(reg.RESPONDER)
_TRACKED = oxm.ct_state(oxm.CT_TRK, oxm.CT_TRK | oxm.CT_INV)
_STATE = oxm.CT_TRK | oxm.CT_NEW | oxm.CT_RPL | oxm.CT_INV
_NEW = oxm.ct_state(oxm.CT_TRK | oxm.CT_NEW, _STATE)
_INVALID = oxm.ct_state(oxm.CT_TRK | oxm.CT_INV, oxm.CT_TRK | oxm.CT_INV)


def unknown_flows(flows: Flows, read: Read) -> Iterator[Item]:
    """JUDGE to RETURN, of packets of connections that nobody knows."""
    for stage, following in _FOLLOWING.items():
        yield flows.add(stage, Begun.LONG_AGO, oxm.match(), goto=following)
    for ethernet in _IP:
        kind = oxm.eth_type(ethernet)
        yield from _judge(flows, ethernet)
        yield flows.add(
            Stage.UNKNOWN, Unknown.QUESTION, oxm.match(kind, _TRACKED), goto=Stage.SOURCE_GROUPS
        )
        yield from _ask(flows, kind)
        for packet, turned_packet, there, back in _turns(ethernet):
            turned = (reg.ASKED.load(0), reg.TURNED.load(1), *ANSWER, *reg.SWAP.clear())
            yield flows.add(
                *(Stage.ANSWER, Answer.TURN + len(packet), oxm.match(kind, *packet)),
                apply=(*there, *turned, reg.tracked(table=Stage.TRACKED)),
            )
            yield flows.add(
                *(Stage.RETURN, Return.TURN_BACK + len(packet)),
                oxm.match(kind, *turned_packet, reg.TURNED.match(1)),
                apply=(*back, reg.TURNED.load(0)),
                goto=Stage.DELIVER,
            )
        # As a question of the other end: nobody knows it either, or it is none.
        turned_round = reg.TURNED.match(1)
        yield flows.add(
            *(Stage.JUDGE, Judge.TURNED_QUESTION, oxm.match(kind, _NEW, turned_round)),
            goto=Stage.SOURCE_GROUPS,
        )
        yield flows.drop(Stage.JUDGE, Judge.TURNED, oxm.match(kind, turned_round), read)
        # TCP is kept as soon as the other end acknowledges: a connection is not followed from two
        # segments of the wrong order. Of fragments, see `tracking`.
        yield flows.add(
            *(
                Stage.COMMIT,
                Commit.TURNED_TCP,
                oxm.match(kind, oxm.ip_proto(_TCP), reg.TURNED.match(1)),
            ),
            goto=Stage.RETURN,
        )
    yield flows.add(
        *(Stage.ANSWER, Answer.ALLOWED, oxm.match(reg.ALLOWED.match(1))),
        apply=(reg.ASKED.load(0), reg.ALLOWED.load(0)),
        goto=Stage.COMMIT,
    )
    yield flows.add(
        *(Stage.COMMIT, Commit.ASKED, oxm.match(reg.ASKED.match(1))), apply=(reg.ALLOWED.load(1),)
    )
    yield flows.add(Stage.RETURN, Return.AS_IT_IS, oxm.match(), goto=Stage.DELIVER)


def _judge(flows: Flows, ethernet: int) -> Iterator[Item]:
    kind, to_one = oxm.eth_type(ethernet), oxm.eth_dst(0, MULTICAST_BIT)
    questions = (*QUESTION, *reg.NO_GROUPS)
    yield flows.add(
        *(Stage.JUDGE, Judge.UNKNOWN, oxm.match(kind, _NEW, to_one)),
        apply=questions,
        goto=Stage.BEGUN_SENDER,
    )
    protocol, icmp_type, answers = _ICMP[ethernet]
    # These are questions, and say so.
    for packet in (
        (oxm.ip_proto(_TCP), oxm.tcp_flags(_SYN, _SYN)),
        (oxm.ip_proto(protocol),),
    ):
        yield flows.add(
            *(Stage.JUDGE, Judge.QUESTION, oxm.match(kind, _NEW, *packet)),
            apply=questions,
            goto=Stage.SOURCE_GROUPS,
        )
    for answer, _ in answers:
        packet = (oxm.ip_proto(protocol), icmp_type(answer))
        yield flows.add(
            *(Stage.JUDGE, Judge.UNKNOWN, oxm.match(kind, _INVALID, to_one, *packet)),
            goto=Stage.BEGUN_SENDER,
        )


def _ask(flows: Flows, kind: bytes) -> Iterator[Item]:
    """Where all ends under rules have begun a moment ago, what may not open a connection is looked
    at as an answer. Of an address that the receiver has not, it is none."""
    own = oxm.match(reg.RECEIVER[reg.BEGUN].match(1), reg.RECEIVER[reg.MISDIRECTED].match(0))
    whole = oxm.ip_frag(0, oxm.FRAGMENT_ANY)
    sender = reg.SENDER[reg.BEGUN].match(1)
    no_sender, no_receiver = end(reg.SENDER, 0), end(reg.RECEIVER, 0)
    for ends in ((sender, own), (sender, no_receiver), (no_sender, own)):
        yield flows.add(
            *(Stage.UNKNOWN, Unknown.LOOKED_AT_AS_ANSWER, oxm.match(kind, _NEW, whole, *ends)),
            apply=(reg.ASKED.load(1), act.resubmit_table(Stage.SOURCE_GROUPS)),
            goto=Stage.ANSWER,
        )
        yield flows.add(
            *(Stage.UNKNOWN, Unknown.LOOKED_AT_AS_ANSWER, oxm.match(kind, _INVALID, whole, *ends)),
            goto=Stage.ANSWER,
        )


_Entries = tuple[bytes, ...]
_Actions = tuple[bytes, ...]


def _turns(ethernet: int) -> Iterator[tuple[_Entries, _Entries, _Actions, _Actions]]:
    """What matches packets, what matches them turned, and what exchanges their ends, there and
    back."""
    four = ethernet == _IP[0]
    addresses = (
        reg.exchange(oxm.IPV4_SRC, oxm.IPV4_DST)
        if four
        else reg.exchange(oxm.IPV6_SRC, oxm.IPV6_DST)
    )
    for protocol, (source, destination) in _PORTS.items():
        both = (*addresses, *reg.exchange(source, destination))
        packet: _Entries = (oxm.ip_proto(protocol),)
        yield packet, packet, both, both
    protocol, icmp_type, answers = _ICMP[ethernet]
    for answer, question in answers:
        packet = (oxm.ip_proto(protocol), icmp_type(answer))
        asked = (oxm.ip_proto(protocol), icmp_type(question))
        there = (*addresses, act.set_field(icmp_type(question)))
        yield packet, asked, there, (*addresses, act.set_field(icmp_type(answer)))
    yield (), (), addresses, addresses


FEATURE = Feature("connections begun earlier", units=(unit(PeerZone, zone_windows),))
