# SPDX-License-Identifier: Apache-2.0
"""What one host's program does to one packet.

What a resubmit changes
stays changed; a packet goes out neither to the port that it came from, nor to port 0. Meters and
hashes have no say in who gets a packet, and the interpreter passes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire import oxm
from tests.proof import operations as op
from tests.proof.connections import Connections, Seen, Tuple
from tests.proof.operations import Operation, Place
from tests.proof.program import Flow, Overlap, Program, Slots
from tests.proof.slots import N_REGISTERS, N_SLOTS, SLOT

Packet = Mapping[oxm.Field, int]

_DEEPEST = 64


class Sent(NamedTuple):
    """A packet that leaves: by a port, as it is then. `punted` is the userdata of a packet-in."""

    ofport: int
    packet: dict[oxm.Field, int]
    punted: bytes | None = None


Watch = Callable[[int, Slots, Flow | None], None]
"""Told of each lookup: table, the packet then, the flow found."""


class Run:
    """One packet, through the flows of one host."""

    def __init__(
        self, program: Program, connections: Connections, watch: Watch | None = None
    ) -> None:
        self._program = program
        self._connections = connections
        self._watch = watch
        self._depth = 0
        self.sent: list[Sent] = []

    def start(self, packet: Packet) -> list[Sent]:
        slots = [0] * N_SLOTS
        for field, value in packet.items():
            slots[SLOT[field]] = value
        self._table(Stage.CLASSIFY, slots)
        return self.sent

    def _table(self, table: int, packet: Slots) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Overlap("the packet goes in a circle")
        flow = self._program.find(table, packet)
        if self._watch is not None:
            self._watch(table, packet, flow)
        if flow is not None:
            self._operations(flow.operations, packet)
        self._depth -= 1

    def _operations(self, operations: tuple[Operation, ...], packet: Slots) -> None:
        for one in operations:
            match one:
                case op.Load(to, value):
                    write(packet, to, value)
                case op.Move(source, to):
                    write(packet, to, read(packet, source))
                case op.Goto(table) | op.Resubmit(table):
                    self._table(table, packet)
                case op.Output(port):
                    self._output(port, packet)
                case op.OutputRegister(place):
                    self._output(read(packet, place), packet)
                case op.InPort():
                    self.sent.append(Sent(packet[_IN_PORT], _fields(packet)))
                case op.Ct():
                    self._track(one, packet)
                case op.Controller(userdata):
                    self.sent.append(Sent(0, _fields(packet), userdata))
                case op.DecTtl():
                    if packet[_TTL] <= 1:
                        return
                    packet[_TTL] -= 1
                case op.Multipath(max_link, to):
                    write(packet, to, packet[_ETH_SRC] % (max_link + 1))

    def _output(self, port: int, packet: Slots) -> None:
        if port not in (0, packet[_IN_PORT]):
            self.sent.append(Sent(port, _fields(packet)))

    def _track(self, ct: op.Ct, packet: Slots) -> None:
        zone = ct.zone if isinstance(ct.zone, int) else read(packet, ct.zone)
        its = tuple_of(packet)
        if its is None:
            return
        seen = self._connections.look(zone, its)
        if ct.commit and not seen.state & oxm.CT_INV:
            marked = [0] * N_SLOTS
            marked[_MARK] = seen.mark
            for load in ct.marks:
                write(marked, load.to, load.value)
            self._connections.commit(zone, its, marked[_MARK])
        if ct.table is not None:
            copy = list(packet)
            copy[_ZONE] = zone
            _mark(copy, seen)
            self._table(ct.table, copy)


_MARK, _ZONE = SLOT[oxm.CT_MARK], SLOT[oxm.CT_ZONE]
_IN_PORT, _TTL, _ETH_SRC = SLOT[oxm.IN_PORT], SLOT[oxm.IP_TTL], SLOT[oxm.ETH_SRC]
PORTS = {
    6: (SLOT[oxm.TCP_SRC], SLOT[oxm.TCP_DST]),
    17: (SLOT[oxm.UDP_SRC], SLOT[oxm.UDP_DST]),
    132: (SLOT[oxm.SCTP_SRC], SLOT[oxm.SCTP_DST]),
    1: (SLOT[oxm.ICMP_TYPE], SLOT[oxm.ICMP_CODE]),
    58: (SLOT[oxm.ICMPV6_TYPE], SLOT[oxm.ICMPV6_CODE]),
}
_ADDRESSES = {
    0x0800: (4, SLOT[oxm.IPV4_SRC], SLOT[oxm.IPV4_DST]),
    0x86DD: (6, SLOT[oxm.IPV6_SRC], SLOT[oxm.IPV6_DST]),
}
_OUTWARD = tuple(
    (field, slot)
    for field, slot in SLOT.items()
    if slot >= N_REGISTERS and field is not oxm.IN_PORT_NXM
)
ORIGINAL = {
    4: (SLOT[oxm.CT_NW_SRC], SLOT[oxm.CT_NW_DST]),
    6: (SLOT[oxm.CT_IPV6_SRC], SLOT[oxm.CT_IPV6_DST]),
}


def tuple_of(packet: Slots) -> Tuple | None:
    """None for what is not IP."""
    addresses = _ADDRESSES.get(packet[SLOT[oxm.ETH_TYPE]])
    if addresses is None:
        return None
    family, source, destination = addresses
    protocol = packet[SLOT[oxm.IP_PROTO]]
    ports = [packet[slot] for slot in PORTS.get(protocol, ())] or [0, 0]
    return Tuple(family, packet[source], packet[destination], protocol, ports[0], ports[1])


def _mark(packet: Slots, seen: Seen) -> None:
    packet[SLOT[oxm.CT_STATE]] = seen.state
    packet[_MARK] = seen.mark
    if seen.original is None:
        return
    family, source, destination, protocol, source_port, destination_port = seen.original
    for slot, value in zip(ORIGINAL[family], (source, destination), strict=True):
        packet[slot] = value
    packet[SLOT[oxm.CT_NW_PROTO]] = protocol
    packet[SLOT[oxm.CT_TP_SRC]] = source_port
    packet[SLOT[oxm.CT_TP_DST]] = destination_port


def read(packet: Slots, place: Place) -> int:
    whole = 0
    for slot in place.slots:
        whole = whole << place.bits | packet[slot]
    return whole >> place.offset & (1 << place.width) - 1


def write(packet: Slots, place: Place, value: int) -> None:
    ones = (1 << place.width) - 1 << place.offset
    value = value << place.offset & ones
    position = 0
    for slot in reversed(place.slots):
        part = ones >> position & (1 << place.bits) - 1
        packet[slot] = packet[slot] & ~part | value >> position & part
        position += place.bits


def _fields(packet: Slots) -> dict[oxm.Field, int]:
    return {field: packet[slot] for field, slot in _OUTWARD if packet[slot]}
