# SPDX-License-Identifier: Apache-2.0
"""Frames out of a set of packets: as they were when they came to the host.

What the set leaves open is filled with what other probes have there, or by chance; a packet that is
an answer in its connection is preceded by what it answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from random import Random

from isthmus.addresses import parse_mac
from isthmus.policy.rows import Port
from isthmus.wire import oxm
from tests.proof.clouds import ROUTER_MAC
from tests.proof.frames import Frame, frame_of
from tests.proof.network import Host
from tests.proof.packet_sets import OFFSET, SENT, PacketSet
from tests.proof.probes import Probe
from tests.proof.slots import SLOT
from tests.proof.symbolic import HEADER
from tests.proof.verdicts import numbered

_Values = dict[oxm.Field, int]


class Pool:
    """What the probes of a cloud have in their fields, by address family."""

    def __init__(self, probes: Iterable[Probe], ports: Iterable[Port]) -> None:
        self.ports = tuple(ports)
        seen: dict[int, dict[oxm.Field, set[int]]] = {4: {}, 6: {}}
        self._frames: dict[int, list[Frame]] = {4: [], 6: []}
        for probe in probes:
            family = probe.frame.tuple.family
            self._frames[family].append(probe.frame)
            for field, value in probe.frame.fields().items():
                seen[family].setdefault(field, set()).add(value)
        self._values = {
            family: {field: sorted(values) for field, values in fields.items()}
            for family, fields in seen.items()
        }

    def filled(self, known: _Values, masks: _Values, family: int, random: Random) -> _Values:
        """A packet with these bits. Mostly one of the probes, here and there changed."""
        found = random.choice(self._frames[family]).fields()
        if masks.get(oxm.IP_PROTO) and known[oxm.IP_PROTO] != found[oxm.IP_PROTO]:
            same = [
                frame
                for frame in self._frames[family]
                if frame.tuple.protocol == known[oxm.IP_PROTO]
            ]
            found = random.choice(same).fields() if same else found
        for field, values in self._values[family].items():
            if field in found and random.random() < _CHANGED:
                found[field] = random.choice(values)
        for field, mask in masks.items():
            chance = random.getrandbits(8 * field.n_bytes) if random.random() < _BY_CHANCE else 0
            free = found.get(field, 0) ^ (chance & field.ones)
            found[field] = free & ~mask | known[field]
        return found


_CHANGED, _BY_CHANCE = 0.2, 0.3


def probes_of(
    packets: PacketSet, host: Host, pool: Pool, random: Random, count: int
) -> Iterator[Probe]:
    """Probes with packets of a set that comes to a host."""
    known: _Values = {}
    masks: _Values = {}
    for field in HEADER:
        first, ones = SENT + OFFSET[SLOT[field]], (1 << 8 * field.n_bytes) - 1
        masks[field] = packets.known >> first & ones
        known[field] = packets.values >> first & ones
    family = 4 if known[oxm.ETH_TYPE] == 0x0800 else 6
    state = packets.values >> OFFSET[SLOT[oxm.CT_STATE]]
    for _ in range(count):
        found = pool.filled(known, masks, family, random)
        probe = _probe(host, found)
        answered = _answered(probe, pool.ports) if state & oxm.CT_RPL else None
        if probe is not None:
            yield answered or probe


def _probe(host: Host, found: _Values) -> Probe | None:
    frame, ofport = frame_of(found), found[oxm.IN_PORT]
    name = host.port_of.get(ofport)
    if name is not None:
        return Probe(frame, port=name)
    for encapsulation, its in host.tunnel_ports.items():
        if its == ofport:
            key = found[oxm.TUNNEL_ID]
            vsid = key >> 8 if encapsulation == "nvgre" else key
            came_from = str(IPv4Address(found[oxm.TUN_SRC]))
            return Probe(frame, "", host.name, came_from, vsid, encapsulation)
    return None


def _answered(probe: Probe | None, ports: Iterable[Port]) -> Probe | None:
    """What a probe answers, as another port sends it."""
    turned = probe.frame.tuple.turned() if probe is not None else None
    if probe is None or turned is None or not probe.port:
        return None
    here = next(port for port in ports if port.id == probe.port)
    for there in ports:
        is_near = there.segment[:-2] == here.segment[:-2] and there is not here
        if is_near and (turned.family, turned.source) in map(numbered, there.addresses):
            same = there.segment == here.segment
            to = parse_mac(here.mac if same else ROUTER_MAC)
            return Probe(Frame(parse_mac(there.mac), to, turned), port=there.id)
    return None
