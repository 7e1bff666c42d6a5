# SPDX-License-Identifier: Apache-2.0
"""Compiled flows, from their bytes: conditions on the slots of a packet, and operations on it.

A packet in the interpreter is a list of numbers, one for each *slot*: registers 0 to 15 first, then
the fields. A wide register is several slots. A field that a packet does not have is 0, as in Open
vSwitch; so a match must name the prerequisites of its fields, and one that does not is `Refused`,
as the switch would.

The instructions are parsed here once more, apart from `isthmus.wire`, so that an error of its
encoder is seen.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from isthmus.wire import oxm

N_REGISTERS = 16

_OWN_SLOT = tuple(
    field
    for field in oxm.FIELDS
    if field not in (*oxm.REG, *oxm.XREG, *oxm.XXREG, oxm.IN_PORT_NXM)
)
SLOT: dict[oxm.Field, int] = {
    **{field: number for number, field in enumerate(oxm.REG)},
    **{field: N_REGISTERS + number for number, field in enumerate(_OWN_SLOT)},
}
SLOT[oxm.IN_PORT_NXM] = SLOT[oxm.IN_PORT]
N_SLOTS = N_REGISTERS + len(_OWN_SLOT)

_BY_NICIRA_HEADER = {field.nicira: field for field in oxm.FIELDS}


class Refused(Exception):
    """A switch would not take this flow."""


class Condition(NamedTuple):
    slot: int
    value: int
    mask: int


class Place(NamedTuple):
    """Bits of a field: of its `slots`, the most significant first, each of `bits` bits."""

    slots: tuple[int, ...]
    bits: int
    offset: int
    width: int


class Load(NamedTuple):
    to: Place
    value: int


class Move(NamedTuple):
    source: Place
    to: Place


class Output(NamedTuple):
    port: int


class OutputRegister(NamedTuple):
    place: Place


class InPort(NamedTuple):
    pass


class Resubmit(NamedTuple):
    table: int


class Goto(NamedTuple):
    table: int


class Ct(NamedTuple):
    commit: bool
    zone: Place | int
    table: int | None


class Controller(NamedTuple):
    userdata: bytes


class DecTtl(NamedTuple):
    pass


class Multipath(NamedTuple):
    max_link: int
    to: Place


Operation = (
    Load
    | Move
    | Output
    | OutputRegister
    | InPort
    | Resubmit
    | Goto
    | Ct
    | Controller
    | DecTtl
    | Multipath
)


# -- matches ---------------------------------------------------------------------------------------

_IP4, _IP6, _ARP = 0x0800, 0x86DD, 0x0806
_ETHER_OF = {
    **dict.fromkeys((oxm.IPV4_SRC, oxm.IPV4_DST, oxm.CT_NW_SRC, oxm.CT_NW_DST), (_IP4,)),
    **dict.fromkeys((oxm.IPV6_SRC, oxm.IPV6_DST, oxm.CT_IPV6_SRC, oxm.CT_IPV6_DST), (_IP6,)),
    **dict.fromkeys((oxm.ARP_OP, oxm.ARP_SPA, oxm.ARP_TPA, oxm.ARP_SHA, oxm.ARP_THA), (_ARP,)),
    **dict.fromkeys((oxm.IP_PROTO, oxm.IP_TTL, oxm.IP_FRAG), (_IP4, _IP6)),
}
_PROTOCOL_OF = {
    **dict.fromkeys((oxm.TCP_SRC, oxm.TCP_DST), 6),
    **dict.fromkeys((oxm.UDP_SRC, oxm.UDP_DST), 17),
    **dict.fromkeys((oxm.SCTP_SRC, oxm.SCTP_DST), 132),
    **dict.fromkeys((oxm.ICMP_TYPE, oxm.ICMP_CODE), 1),
    **dict.fromkeys((oxm.ICMPV6_TYPE, oxm.ICMPV6_CODE), 58),
}
_TYPES_OF = {oxm.ND_TARGET: (135, 136), oxm.ND_SLL: (135,), oxm.ND_TLL: (136,)}
_OF_TUPLE = frozenset(
    (oxm.CT_NW_SRC, oxm.CT_NW_DST, oxm.CT_IPV6_SRC, oxm.CT_IPV6_DST)
    + (oxm.CT_NW_PROTO, oxm.CT_TP_SRC, oxm.CT_TP_DST)
)


def conditions(match: bytes) -> tuple[Condition, ...]:
    """What a match compares, by slot. Raises Refused where a prerequisite is missing (OpenFlow 1.4
    section 7.2.2.6; ovs-fields(7) for ct_*)."""
    entries = list(oxm.entries(match))
    exact = {entry.field: entry.value for entry in entries if entry.mask is None}
    for entry in entries:
        _check(entry, exact, entries)
    found: list[Condition] = []
    for field, value, mask in entries:
        whole = field.ones if mask is None else mask
        slots, bits = _slots(field)
        for position, slot in enumerate(reversed(slots)):
            part = whole >> position * bits & (1 << bits) - 1
            if part:
                found.append(Condition(slot, value >> position * bits & part, part))
    return tuple(sorted(found))


def _check(entry: oxm.Entry, exact: dict[oxm.Field, int], entries: list[oxm.Entry]) -> None:
    field = entry.field
    if sum(other.field is field for other in entries) > 1:
        raise Refused(f"{field} is matched twice")
    if field in _ETHER_OF and exact.get(oxm.ETH_TYPE) not in _ETHER_OF[field]:
        raise Refused(f"{field} without its eth_type")
    if field in _PROTOCOL_OF and exact.get(oxm.IP_PROTO) != _PROTOCOL_OF[field]:
        raise Refused(f"{field} without its protocol")
    if field in _TYPES_OF and exact.get(oxm.ICMPV6_TYPE) not in _TYPES_OF[field]:
        raise Refused(f"{field} without its type")
    if field in _OF_TUPLE:
        wanted = oxm.CT_TRK | oxm.CT_INV
        states = [one for one in entries if one.field is oxm.CT_STATE]
        seen = [one.value & wanted for one in states if one.mask is None or one.mask & wanted]
        if seen != [oxm.CT_TRK]:
            raise Refused(f"{field} without ct_state +trk-inv")


def _slots(field: oxm.Field) -> tuple[tuple[int, ...], int]:
    if field in oxm.XREG:
        first = 2 * oxm.XREG.index(field)
        return (first, first + 1), 32
    if field in oxm.XXREG:
        first = 4 * oxm.XXREG.index(field)
        return tuple(range(first, first + 4)), 32
    return (SLOT[field],), 8 * field.n_bytes


# -- instructions ----------------------------------------------------------------------------------

_GOTO_TABLE, _APPLY_ACTIONS, _METER = 1, 4, 6
_OUTPUT, _DEC_TTL, _SET_FIELD, _VENDOR = 0, 24, 25, 0xFFFF
_NICIRA_MOVE, _NICIRA_LOAD, _NICIRA_MULTIPATH = 6, 7, 10
_NICIRA_RESUBMIT, _NICIRA_OUTPUT_REG, _NICIRA_CT, _NICIRA_CONTROLLER = 14, 15, 35, 37
_TO_IN_PORT = 0xFFFFFFF8


def operations(table: int, instructions: bytes) -> tuple[Operation, ...]:
    """What a flow of `table` does, in order; a meter lets everything pass here. Raises Refused."""
    found: list[Operation] = []
    for kind, body in _elements(instructions):
        if kind == _APPLY_ACTIONS:
            found += [_action(*element) for element in _elements(body[4:])]
        elif kind == _GOTO_TABLE:
            if body[0] <= table:
                raise Refused(f"goto_table goes back, from {table} to {body[0]}")
            found.append(Goto(body[0]))
        elif kind != _METER:
            raise Refused(f"instruction {kind}")
    return tuple(found)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        kind, length = struct.unpack_from(">HH", data, start)
        if length < 4 or length % 8 or start + length > len(data):
            raise Refused(f"an element of {length} bytes in {data.hex()}")
        yield kind, data[start + 4 : start + length]
        start += length


def _action(kind: int, body: bytes) -> Operation:
    if kind == _OUTPUT:
        port = int(struct.unpack_from(">I", body)[0])
        return InPort() if port == _TO_IN_PORT else Output(port)
    if kind == _DEC_TTL:
        return DecTtl()
    if kind == _SET_FIELD:
        (entry,) = oxm.entries(body[: 4 + body[3]])
        return Load(_place(entry.field, 0, entry.field.bits), entry.value)
    if kind != _VENDOR:
        raise Refused(f"action {kind}")
    vendor, subtype = struct.unpack_from(">IH", body)
    if vendor != 0x2320:
        raise Refused(f"an action of vendor {vendor:#x}")
    return _nicira(subtype, body[6:])


def _nicira(subtype: int, body: bytes) -> Operation:
    if subtype == _NICIRA_MOVE:
        n_bits, source_bit, bit, source, to = struct.unpack(">HHHII", body)
        return Move(_named(source, source_bit, n_bits), _named(to, bit, n_bits))
    if subtype == _NICIRA_LOAD:
        packed, header, value = struct.unpack(">HIQ", body)
        return Load(_packed(header, packed), value)
    if subtype == _NICIRA_MULTIPATH:
        max_link, packed, header = struct.unpack(">8xH6xHI", body)
        return Multipath(max_link, _packed(header, packed))
    if subtype == _NICIRA_RESUBMIT:
        return Resubmit(struct.unpack(">2xB3x", body)[0])
    if subtype == _NICIRA_OUTPUT_REG:
        packed, header = struct.unpack(">HI2x6x", body)
        return OutputRegister(_packed(header, packed))
    if subtype == _NICIRA_CT:
        flags, source, zone, table = struct.unpack(">HIHB3x2x", body)
        place = _packed(source, zone) if source else zone
        return Ct(bool(flags & 1), place, None if table == 0xFF else table)
    if subtype == _NICIRA_CONTROLLER:
        return Controller(body[6:])
    raise Refused(f"Nicira's action {subtype}")


def _named(header: int, offset: int, width: int) -> Place:
    field = _BY_NICIRA_HEADER.get(header)
    if field is None:
        raise Refused(f"field {header:#x}")
    return _place(field, offset, width)


def _packed(header: int, packed: int) -> Place:
    return _named(header, packed >> 6, (packed & 63) + 1)


def _place(field: oxm.Field, offset: int, width: int) -> Place:
    if offset + width > field.bits:
        raise Refused(f"{width} bits from bit {offset} of {field}")
    slots, bits = _slots(field)
    return Place(slots, bits if len(slots) > 1 else field.bits, offset, width)
