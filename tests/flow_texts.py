# SPDX-License-Identifier: Apache-2.0
"""Flows as tests read and compare them: with the names of stages and registers, without numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import Stage
from isthmus.switches.ovs.placing import Bit, Register, first_bit_of
from isthmus.wire import oxm
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_text import flow_text

_ONE = r"\breg(\d+)=(0x[0-9a-f]+)(?:/(0x[0-9a-f]+))?"
_MATCHED = re.compile(_ONE)
_RUN = re.compile(rf"{_ONE}(?:,{_ONE})*")
_FIELD = re.compile(r"(NXM_NX_REG|OXM_OF_PKT_REG|NXM_NX_XXREG)(\d+)\[(\d*)(?:\.\.(\d+))?\]")
_KINDS = {"NXM_NX_REG": oxm.REG, "OXM_OF_PKT_REG": oxm.XREG, "NXM_NX_XXREG": oxm.XXREG}
_TABLES = (
    re.compile(r"(goto_table:)(\d+)"),
    re.compile(r"(resubmit\(,)(\d+)"),
    re.compile(r"(\btable=)(\d+)"),
)


def named_flow(flow: Flow) -> str:
    """``table=ADMISSION,priority=200,… actions=load:0x1->SENDER,goto_table:DISPATCH``."""
    return named(flow_text(flow).partition(",")[2], flow.table)


def named(text: str, table: int) -> str:
    """The text of a flow of a table, with names."""
    text = _RUN.sub(lambda found: _matched(table, found), text)
    text = _FIELD.sub(lambda found: _place(table, found), text)
    for pattern in _TABLES:
        text = pattern.sub(lambda found: found[1] + stage_name(int(found[2])), text)
    return text


def stage_name(table: int) -> str:
    """A table that is no stage has its number."""
    return Stage(table).name if table in Stage._value2member_map_ else str(table)


def _matched(table: int, found: re.Match[str]) -> str:
    bits: dict[Bit, int] = {}
    for one in _MATCHED.finditer(found[0]):
        field = oxm.REG[int(one[1])]
        mask = field.ones if one[3] is None else int(one[3], 16)
        bits |= {first_bit_of(field, bit): int(one[2], 16) >> bit & 1 for bit in _ones(mask)}
    return ",".join(sorted(_conditions(table, bits)))


def _ones(mask: int) -> Iterator[int]:
    return (bit for bit in range(mask.bit_length()) if mask >> bit & 1)


def _conditions(table: int, bits: dict[Bit, int]) -> Iterator[str]:
    """Of each register that has some of these bits: itself, or its parts."""
    for register in reg.REGISTERS:
        if not _has(table, register) or not bits.keys() & set(register.places()):
            continue
        whole = [(register.name, list(register.places()))]
        parts = [
            (f"{register.name}.{name}", list(register[name].places())) for name, _ in register.parts
        ]
        chosen = whole if whole[0][1] == [one for one in whole[0][1] if one in bits] else parts
        for name, its in chosen or whole:
            mask = sum(1 << place for place, one in enumerate(its) if one in bits)
            value = sum(bits.get(one, 0) << place for place, one in enumerate(its))
            if mask:
                yield f"{name}={value:#x}" + ("" if mask + 1 == 1 << len(its) else f"/{mask:#x}")


def _place(table: int, found: re.Match[str]) -> str:
    field = _KINDS[found[1]][int(found[2])]
    first = int(found[3] or 0)
    last = int(found[4]) if found[4] else first if found[3] else field.bits - 1
    bits = [first_bit_of(field, bit) for bit in range(first, last + 1)]
    for register in reg.REGISTERS:
        if _has(table, register) and set(bits) <= set(register.places()):
            return _part(register, bits)
    return found[0]


def _has(table: int, register: Register) -> bool:
    """What is always there, packets carry into tables that are no stages, too."""
    is_stage = table in Stage._value2member_map_
    return table in register.occupied if is_stage else register.alive == frozenset(Stage)


def _part(register: Register, bits: list[Bit]) -> str:
    for name, _ in register.parts:
        if list(register[name].places()) == bits:
            return f"{register.name}.{name}"
    its = list(register.places())
    if its == bits:
        return register.name
    first = its.index(bits[0])
    return f"{register.name}[{first}..{first + len(bits) - 1}]"
