# SPDX-License-Identifier: Apache-2.0
"""Flows as people read them: the syntax of ovs-ofctl(8), from the bytes that are sent.

What ovs-ofctl reads from this text is the same flow again. Actions and fields that Isthmus does not
use appear as ``unknown(hexadecimal)``, which ovs-ofctl refuses.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from isthmus.wire import openflow_actions as act
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_values import match_text, place_text, port_text, value_text
from isthmus.wire.oxm import entries

_HEAD = struct.Struct(">HH")
_U32 = struct.Struct(">I")
_NICIRA = struct.Struct(">IH")
_MULTIPATH = struct.Struct(">HH2xHHI2xHI")


def flow_text(flow: Flow) -> str:
    """``cookie=0x4d,table=40,priority=100,ip,nw_dst=10.0.0.4
    actions=load:0x3->NXM_NX_REG0[],goto_table:60``.

    Raises Malformed.
    """
    match = match_text(flow.match)
    head = f"cookie={flow.cookie:#x},table={flow.table},priority={flow.priority}"
    return f"{head}{match and ','}{match} actions={instructions_text(flow.instructions)}"


def instructions_text(data: bytes) -> str:
    """``meter:3,load:0x5->NXM_NX_REG5[],goto_table:60``; ``drop`` if there are none. Raises
    Malformed.
    """
    texts: list[str] = []
    for kind, body in _elements(data):
        if kind == act.Instruction.APPLY_ACTIONS:
            texts.append(actions_text(body[4:]))
        elif kind == act.Instruction.METER and len(body) == 4:
            texts.append(f"meter:{_U32.unpack(body)[0]}")
        elif kind == act.Instruction.GOTO_TABLE and body:
            texts.append(f"goto_table:{body[0]}")
        else:
            texts.append(_unknown("instruction", kind, body))
    return ",".join(texts) or "drop"


def actions_text(data: bytes) -> str:
    """The text of a list of actions. Raises Malformed."""
    try:
        return ",".join(_action(kind, body) for kind, body in _elements(data))
    except struct.error as error:
        raise Malformed(f"an action is cut short: {data.hex()}") from error


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each element of a list of instructions or actions."""
    start, end = 0, len(data)
    while start < end:
        if end - start < 4:
            raise Malformed(f"an OpenFlow element is cut short: {data.hex()}")
        kind, length = _HEAD.unpack_from(data, start)
        if length < 4 or start + length > end:
            raise Malformed(f"an OpenFlow element of {length} bytes, in {end - start}")
        yield kind, data[start + 4 : start + length]
        start += length


def _action(kind: int, body: bytes) -> str:
    if kind == act.Action.OUTPUT:
        return port_text(_U32.unpack_from(body)[0])
    if kind == act.Action.DEC_TTL:
        return "dec_ttl"
    if kind == act.Action.SET_FIELD:
        return _set_field(body)
    if kind == act.Action.VENDOR:
        vendor, subtype = _NICIRA.unpack_from(body)
        if vendor == act.NICIRA and subtype in _NICIRA_ACTIONS:
            return _NICIRA_ACTIONS[subtype](body[_NICIRA.size :])
    return _unknown("action", kind, body)


def _unknown(what: str, kind: int, body: bytes) -> str:
    return f"unknown({what} {kind}: {body.hex()})"


def _set_field(body: bytes) -> str:
    length = 4 + body[3] if len(body) >= 4 else 0
    entry = next(entries(body[:length]), None)
    if entry is None:
        return _unknown("action", act.Action.SET_FIELD, body)
    return f"set_field:{value_text(entry.field, entry.value)}->{entry.field.text}"


# -- Nicira's actions, from behind their subtype ---------------------------------------------------


def _move(body: bytes) -> str:
    n_bits, source_bit, bit, source, destination = struct.unpack_from(">HHHII", body)
    return f"move:{place_text(source, source_bit, n_bits)}->{place_text(destination, bit, n_bits)}"


def _load(body: bytes) -> str:
    place, header, value = struct.unpack_from(">HIQ", body)
    return f"load:{value:#x}->{_packed_place(header, place)}"


def _multipath(body: bytes) -> str:
    fields, basis, algorithm, max_link, argument, place, header = _MULTIPATH.unpack_from(body)
    if fields >= len(act.MULTIPATH_FIELDS) or algorithm >= len(act.MULTIPATH_ALGORITHMS):
        return _unknown("action", act.Nicira.MULTIPATH, body)
    names = f"{act.MULTIPATH_FIELDS[fields]},{basis},{act.MULTIPATH_ALGORITHMS[algorithm]}"
    return f"multipath({names},{max_link + 1},{argument},{_packed_place(header, place)})"


def _resubmit(body: bytes) -> str:
    port, table = struct.unpack_from(">HB", body)
    return f"resubmit({'' if port == act.OFPP_IN_PORT & 0xFFFF else port},{table})"


def _output_reg(body: bytes) -> str:
    place, header = struct.unpack_from(">HI", body)
    return f"output:{_packed_place(header, place)}"


def _conjunction(body: bytes) -> str:
    clause, n_clauses, number = struct.unpack_from(">BBI", body)
    return f"conjunction({number},{clause + 1}/{n_clauses})"


def _ct(body: bytes) -> str:
    flags, source, zone, table, helper = struct.unpack_from(">HIHB3xH", body)
    if flags >> len(act.CtFlag) or helper:
        return _unknown("action", act.Nicira.CT, body)
    words = [flag.name.lower() for flag in act.CtFlag if flags & flag]
    if table != act.NO_RECIRCULATION:
        words.append(f"table={table}")
    if source or zone:
        words.append(f"zone={_packed_place(source, zone) if source else zone}")
    if nested := actions_text(body[14:]):
        words.append(f"exec({nested})")
    return f"ct({','.join(words)})"


def _controller(body: bytes) -> str:
    words: list[str] = []
    start = 6
    while start + 4 <= len(body):
        kind, length = _HEAD.unpack_from(body, start)
        if length < 4 or start + length > len(body):
            raise Malformed(f"a property of a controller action is {length} bytes long")
        value = body[start + 4 : start + length]
        if kind == act.ControllerProperty.MAX_LEN:
            words.append(f"max_len={int.from_bytes(value[:2], 'big')}")
        elif kind == act.ControllerProperty.USERDATA:
            words.append(f"userdata={value.hex('.')}")
        elif kind == act.ControllerProperty.METER:
            words.append(f"meter_id={int.from_bytes(value, 'big')}")
        start += (length + 7) & ~7
    return f"controller({','.join(words)})" if words else "controller"


def _clone(body: bytes) -> str:
    return f"clone({actions_text(body[6:])})"


def _check_pkt_larger(body: bytes) -> str:
    length, bit, header = struct.unpack_from(">HHI", body)
    return f"check_pkt_larger({length})->{place_text(header, bit, 1)}"


def _packed_place(header: int, place: int) -> str:
    return place_text(header, place >> 6, (place & 63) + 1)


_NICIRA_ACTIONS: dict[int, Callable[[bytes], str]] = {
    act.Nicira.MOVE: _move,
    act.Nicira.LOAD: _load,
    act.Nicira.MULTIPATH: _multipath,
    act.Nicira.RESUBMIT: _resubmit,
    act.Nicira.OUTPUT_REG: _output_reg,
    act.Nicira.CONJUNCTION: _conjunction,
    act.Nicira.CT: _ct,
    act.Nicira.CONTROLLER: _controller,
    act.Nicira.CLONE: _clone,
    act.Nicira.CHECK_PKT_LARGER: _check_pkt_larger,
}
