# SPDX-License-Identifier: Apache-2.0
"""What a flow reads and writes, and where it sends packets: from its instructions as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from isthmus.wire import openflow_actions as act
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.oxm_fields import FIELDS, Field

_HEAD = struct.Struct(">HH")
_NICIRA = struct.Struct(">IH")
_BY_NICIRA = {field.nicira: field for field in FIELDS}


class Looked(NamedTuple):
    """Bits of a field that an action copies, or takes for a number."""

    field: Field
    first_bit: int
    n_bits: int


class Written(NamedTuple):
    """Bits of a field of the packet that become `value`, or what the flow does not say."""

    field: Field
    first_bit: int
    n_bits: int
    value: int | None


class Sent(NamedTuple):
    """The packet goes to another table, with what was written before."""

    table: int


Effect = Looked | Written | Sent


def effects(instructions: bytes) -> Iterator[Effect]:
    """In their order. What a ct action writes to the mark of its connection is none of the
    packet's. Raises Malformed."""
    for kind, body in _elements(instructions):
        if kind == act.Instruction.APPLY_ACTIONS:
            yield from _actions(body[4:])
        elif kind == act.Instruction.GOTO_TABLE:
            yield Sent(body[0])


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(data):
        if len(data) - start < _HEAD.size:
            raise Malformed(f"an OpenFlow element is cut short: {data.hex()}")
        kind, length = _HEAD.unpack_from(data, start)
        if length < _HEAD.size:
            raise Malformed(f"an OpenFlow element of {length} bytes")
        yield kind, data[start + _HEAD.size : start + length]
        start += length


def _actions(data: bytes) -> Iterator[Effect]:
    for kind, body in _elements(data):
        if kind == act.Action.DEC_TTL:
            yield Written(oxm.IP_TTL, 0, oxm.IP_TTL.bits, None)
        elif kind == act.Action.SET_FIELD:
            for field, value, _ in oxm.entries(body[: 4 + body[3]]):
                yield Written(field, 0, field.bits, value)
        elif kind == act.Action.VENDOR:
            _, subtype = _NICIRA.unpack_from(body)
            yield from _nicira(subtype, body[_NICIRA.size :])


def _nicira(subtype: int, body: bytes) -> Iterator[Effect]:
    if subtype == act.Nicira.MOVE:
        n_bits, from_bit, to_bit, source, to = struct.unpack_from(">HHHII", body)
        yield Looked(_BY_NICIRA[source], from_bit, n_bits)
        yield Written(_BY_NICIRA[to], to_bit, n_bits, None)
    elif subtype == act.Nicira.LOAD:
        place, header, value = struct.unpack_from(">HIQ", body)
        yield Written(_BY_NICIRA[header], *_bits(place), value)
    elif subtype == act.Nicira.MULTIPATH:
        place, header = struct.unpack_from(">HI", body, 16)
        yield Written(_BY_NICIRA[header], *_bits(place), None)
    elif subtype == act.Nicira.OUTPUT_REG:
        place, header = struct.unpack_from(">HI", body)
        yield Looked(_BY_NICIRA[header], *_bits(place))
    elif subtype == act.Nicira.RESUBMIT:
        yield Sent(body[2])
    elif subtype == act.Nicira.CT:
        _, source, place, table = struct.unpack_from(">HIHB", body)
        if source:
            yield Looked(_BY_NICIRA[source], *_bits(place))
        if table != act.NO_RECIRCULATION:
            yield Sent(table)
    elif subtype == act.Nicira.CLONE:
        # What is done to the copy, the packet does not have.
        yield from (one for one in _actions(body[6:]) if isinstance(one, Looked))


def _bits(place: int) -> tuple[int, int]:
    return place >> 6, (place & 63) + 1
