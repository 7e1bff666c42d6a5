# SPDX-License-Identifier: Apache-2.0
"""Frames out of a set of packets: as they were when they came to the host.

What the set leaves open is filled with what other probes have there, or by chance; with a packet
that is an answer in its connection comes what it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from random import Random
from typing import NamedTuple

from isthmus.policy.rows import Port
from isthmus.wire import oxm
from tests.proof.connections import ICMP_REPLY_OF
from tests.proof.frames import PORTS_OF, frame_of
from tests.proof.network import Host
from tests.proof.packet_sets import HEADER, OFFSET, SENT, PacketSet
from tests.proof.probes import Probe, answered_by
from tests.proof.slots import SLOT

_Values = dict[oxm.Field, int]


class Pool:
    """Probes that went well, and such as did not."""

    def __init__(self, good: Iterable[Probe], bad: Iterable[Probe], ports: Iterable[Port]) -> None:
        self.ports = tuple(ports)
        self._frames: dict[tuple[int, bool, str], list[_Values]] = {}
        for well, probes in ((True, good), (False, bad)):
            for probe in probes:
                kind = probe.frame.tuple.family, well, probe.host
                self._frames.setdefault(kind, []).append(_values(probe))

    def filled(
        self, known: _Values, masks: _Values, kind: tuple[int, str], random: Random
    ) -> _Values:
        """A packet with these bits, and for the rest like one of the frames that have most of
        them, or with the ports of another; where a field is known in part, the other bits are
        those of a frame that fits, or random. `kind`: the address family, and the host that has
        it from a tunnel."""
        family, host = kind
        frames = self._frames[family, random.random() < _OFTEN, host]
        some = random.sample(frames, min(_LOOKED_AT, len(frames)))
        like = max(some, key=lambda frame: _alike(frame, known, masks) + random.random())
        found = dict(like)
        other = random.choice(frames)
        if random.random() < _OFTEN and other.get(oxm.IP_PROTO) == like.get(oxm.IP_PROTO):
            found.update({field: other[field] for field in _PORTS if field in other})
        for field, mask in masks.items():
            free = found.get(field, 0)
            if mask and random.random() < _OFTEN:
                fitting = [frame[field] for frame in some if field in frame]
                fitting = [one for one in fitting if not (one ^ known[field]) & mask]
                free = random.getrandbits(8 * field.n_bytes) & field.ones
                if fitting and random.random() < _OFTEN:
                    free = random.choice(fitting)
            found[field] = free & ~mask | known[field]
        return found


_OFTEN, _LOOKED_AT = 0.7, 60
_PORTS = [field for fields in PORTS_OF.values() for field in fields]


def _values(probe: Probe) -> _Values:
    if not probe.host:
        return probe.frame.fields()
    return {**probe.frame.fields(), oxm.TUN_SRC: int(IPv4Address(probe.came_from))}


def _alike(frame: _Values, known: _Values, masks: _Values) -> float:
    """How much of what is known a frame has."""
    return sum(
        (mask.bit_count() - 2 * ((frame.get(field, 0) ^ known[field]) & mask).bit_count())
        / (8 * field.n_bytes)
        for field, mask in masks.items()
        if mask
    )


class Witness(NamedTuple):
    """A probe with a packet of a set; `answers`: what is sent before, where it is an answer."""

    probe: Probe
    answers: Probe | None


def witnesses(
    packets: PacketSet, host: Host, pool: Pool, random: Random, count: int
) -> Iterator[Witness]:
    """Probes with packets of a set that comes to a host."""
    known: _Values = {}
    masks: _Values = {}
    for field in HEADER:
        first, ones = SENT + OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
        masks[field] = packets.known >> first & ones
        known[field] = packets.values >> first & ones
    is_tunneled = known[oxm.IN_PORT] not in host.port_of
    kind = (4 if known[oxm.ETH_TYPE] == 0x0800 else 6), host.name if is_tunneled else ""
    state = packets.values >> OFFSET[SLOT[oxm.CT_STATE]]
    is_tracked = bool(state & oxm.CT_TRK and not state & oxm.CT_INV)
    for _ in range(count):
        its, its_masks = dict(known), dict(masks)
        if is_tracked:
            _as_tracked(packets, its, its_masks, random, turned=bool(state & oxm.CT_RPL))
        if state & oxm.CT_INV:
            _as_invalid(its, its_masks, kind[0], random)
        probe = _probe(host, pool.filled(its, its_masks, kind, random))
        if probe is not None:
            yield Witness(probe, answered_by(probe, pool.ports) if state & oxm.CT_RPL else None)


def _as_tracked(
    packets: PacketSet, known: _Values, masks: _Values, random: Random, *, turned: bool
) -> None:
    """What is known of the tuple of the connection is known of the packet; where ports are known
    and not of which protocol, it is any that may be."""
    known[oxm.IP_PROTO] |= _slot(packets.values, oxm.CT_NW_PROTO)
    masks[oxm.IP_PROTO] |= _slot(packets.known, oxm.CT_NW_PROTO)
    tracked = (oxm.CT_TP_DST, oxm.CT_TP_SRC) if turned else (oxm.CT_TP_SRC, oxm.CT_TP_DST)
    if masks[oxm.IP_PROTO] != 0xFF and any(_slot(packets.known, one) for one in tracked):
        its, mask = known[oxm.IP_PROTO], masks[oxm.IP_PROTO]
        may_be = [protocol for protocol in PORTS_OF if not (protocol ^ its) & mask]
        if may_be:
            known[oxm.IP_PROTO] = random.choice(may_be)
            masks[oxm.IP_PROTO] = 0xFF
    fields = PORTS_OF.get(known[oxm.IP_PROTO], ()) if masks[oxm.IP_PROTO] == 0xFF else ()
    if turned and known[oxm.IP_PROTO] in (1, 58):
        fields = ()
    for field, one in zip(fields, tracked, strict=False):
        new = _slot(packets.known, one) & field.ones & ~masks[field]
        known[field] |= _slot(packets.values, one) & new
        masks[field] |= new


def _as_invalid(known: _Values, masks: _Values, family: int, random: Random) -> None:
    """It is ICMP, of a type with which no connection begins."""
    protocol, field = (1, oxm.ICMP_TYPE) if family == 4 else (58, oxm.ICMPV6_TYPE)
    may_be = [
        kind
        for kind in range(0x100)
        if (protocol, kind) not in ICMP_REPLY_OF and not (kind ^ known[field]) & masks[field]
    ]
    if may_be and not (protocol ^ known[oxm.IP_PROTO]) & masks[oxm.IP_PROTO]:
        known[oxm.IP_PROTO], known[field] = protocol, random.choice(may_be)
        masks[oxm.IP_PROTO] = masks[field] = 0xFF


def _slot(number: int, field: oxm.Field) -> int:
    return number >> OFFSET[SLOT[field]] & (1 << 8 * field.n_bytes) - 1


def _probe(host: Host, found: _Values) -> Probe | None:
    frame, ofport = frame_of(found), found[oxm.IN_PORT]
    name = host.port_of.get(ofport)
    if name is not None:
        return Probe(frame, port=name)
    for encapsulation, its in host.tunnel_ports.items():
        if its == ofport:
            key = found[oxm.TUNNEL_ID]
            vsid, flow_id = divmod(key, 0x100) if encapsulation == "nvgre" else (key, 0)
            came_from = str(IPv4Address(found[oxm.TUN_SRC]))
            return Probe(frame, "", host.name, came_from, vsid, encapsulation, flow_id)
    return None
