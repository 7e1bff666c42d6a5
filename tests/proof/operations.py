# SPDX-License-Identifier: Apache-2.0
"""Instructions from their bytes: what a flow does with a packet.

They are parsed here once more, apart from `isthmus.wire`, so that an error of its encoder is seen.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from isthmus.wire import oxm
from tests.proof.slots import SLOT, Refused, slots_of

_BY_NICIRA_HEADER = {field.nicira: field for field in oxm.FIELDS}


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
    """`marks`: what it writes to the mark of the connection that it keeps."""

    commit: bool
    zone: Place | int
    table: int | None
    marks: tuple[Load, ...]


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

_GOTO_TABLE, _APPLY_ACTIONS, _METER = 1, 4, 6
_OUTPUT, _DEC_TTL, _SET_FIELD, _VENDOR = 0, 24, 25, 0xFFFF
_NICIRA_MOVE, _NICIRA_LOAD, _NICIRA_MULTIPATH = 6, 7, 10
_NICIRA_RESUBMIT, _NICIRA_OUTPUT_REG, _NICIRA_CT, _NICIRA_CONTROLLER = 14, 15, 35, 37
_NICIRA_CLONE = 42
_TO_IN_PORT = 0xFFFFFFF8


def operations(table: int, instructions: bytes) -> tuple[Operation, ...]:
    """What a flow of `table` does, in order; a meter lets everything pass here. Raises Refused."""
    found: list[Operation] = []
    for kind, body in _elements(instructions):
        if kind == _APPLY_ACTIONS:
            for element in _elements(body[4:]):
                found += _actions(*element)
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


def _actions(kind: int, body: bytes) -> Iterator[Operation]:
    """Also those of a clone: of these only a ct action is taken, which leaves the packet as it
    is."""
    if kind != _VENDOR or struct.unpack_from(">IH", body) != (0x2320, _NICIRA_CLONE):
        yield _action(kind, body)
        return
    for element in _elements(body[12:]):
        one = _action(*element)
        if not isinstance(one, Ct) or one.table is not None:
            raise Refused(f"in a clone: {one}")
        yield one


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
        flags, source, zone, table = struct.unpack_from(">HIHB3x2x", body)
        place = _packed(source, zone) if source else zone
        marks = []
        for element in _elements(body[14:]):
            load = _action(*element)
            if not isinstance(load, Load) or load.to.slots != (SLOT[oxm.CT_MARK],) or not flags & 1:
                raise Refused(f"in a ct action: {load}")
            marks.append(load)
        return Ct(bool(flags & 1), place, None if table == 0xFF else table, tuple(marks))
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
    slots, bits = slots_of(field)
    return Place(slots, bits if len(slots) > 1 else field.bits, offset, width)
