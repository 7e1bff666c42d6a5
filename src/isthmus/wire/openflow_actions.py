# SPDX-License-Identifier: Apache-2.0
"""Actions and instructions as bytes: small functions that each give one, ready to be sent.

    instructions(apply=(load(5001, REG[5]), output(3)), goto=20)

All are encoded as Open vSwitch 3.1 itself writes them on an OpenFlow 1.4 connection, so that what a
switch gives back equals what was sent. Bits of a field are counted from 0, the least significant; a
width of None is the whole field from there on. Numbers that do not fit raise struct.error; what
makes no sense (more bits than a field has) is refused by the switch.

Standard: OpenFlow 1.4 sections 7.2.3 (instructions) and 7.2.4 (actions); ovs-actions(7).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Literal

from isthmus.wire.oxm_fields import Field

NICIRA = 0x00002320
"""The experimenter id of Open vSwitch's own actions and messages."""

OFPP_IN_PORT, OFPP_TABLE, OFPP_ANY = 0xFFFFFFF8, 0xFFFFFFF9, 0xFFFFFFFF
"""OpenFlow 1.4 section 7.2.1: reserved ports."""

_VENDOR = 0xFFFF
_WHOLE_PACKET = 0xFFFF


class Action(IntEnum):
    """OpenFlow 1.4 section 7.2.4: types of actions."""

    OUTPUT = 0
    DEC_TTL = 24
    SET_FIELD = 25
    VENDOR = _VENDOR


class Nicira(IntEnum):
    """Subtypes of Nicira's actions."""

    MOVE = 6
    LOAD = 7
    MULTIPATH = 10
    RESUBMIT = 14
    OUTPUT_REG = 15
    CONJUNCTION = 34
    CT = 35
    CONTROLLER = 37
    CLONE = 42
    CHECK_PKT_LARGER = 49


class Instruction(IntEnum):
    """OpenFlow 1.4 section 7.2.3: types of instructions."""

    GOTO_TABLE = 1
    APPLY_ACTIONS = 4
    METER = 6


class ControllerProperty(IntEnum):
    """Properties of Nicira's controller action."""

    MAX_LEN = 0
    USERDATA = 3
    METER = 5


class CtFlag(IntEnum):
    COMMIT = 1
    FORCE = 2


MULTIPATH_FIELDS = (
    "eth_src",
    "symmetric_l4",
    "symmetric_l3l4",
    "symmetric_l3l4+udp",
    "nw_src",
    "nw_dst",
    "symmetric_l3",
)
"""What a multipath action hashes; the place is the number on the wire."""

MULTIPATH_ALGORITHMS = ("modulo_n", "hash_threshold", "hrw", "iter_hash")

NO_RECIRCULATION = 0xFF

_OUTPUT = Struct(">HHIH6x")
_PLAIN = Struct(">HH4x")
_HEAD = Struct(">HH")
_MOVE = Struct(">HHIHHHHII")
_LOAD = Struct(">HHIHHIQ")
_MULTIPATH = Struct(">HHIHHH2xHHI2xHI")
_RESUBMIT = Struct(">HHIHHB3x")
_OUTPUT_REG = Struct(">HHIHHIH6x")
_CONJUNCTION = Struct(">HHIHBBI")
_CT = Struct(">HHIHHIHB3xH")
_CLONE = Struct(">HHIH6x")
_CONTROLLER = Struct(">HHIH6x")
_CHECK_PKT_LARGER = Struct(">HHIHHHI6x")
_PROPERTY_U16 = Struct(">HHH2x")
_PROPERTY_U32 = Struct(">HHI")
_METER = Struct(">HHI")
_GOTO = Struct(">HHB3x")

PADDING = tuple(bytes(-length % 8) for length in range(8))
"""What fills up to a multiple of eight bytes, by ``length & 7``."""


# -- instructions ----------------------------------------------------------------------------------


def instructions(
    *,
    meter: int | None = None,
    apply: Iterable[bytes] | None = None,
    goto: int | None = None,
) -> bytes:
    """The instructions of a flow, in the order in which they are executed. None of them: drop."""
    actions = b"".join(apply) if apply else b""
    if not actions:
        if meter is None:
            return _GOTO.pack(1, 8, goto) if goto is not None else b""
        return _METER.pack(6, 8, meter) + instructions(goto=goto)
    built = _PLAIN.pack(4, 8 + len(actions)) + actions
    if goto is not None:
        built += _GOTO.pack(1, 8, goto)
    return built if meter is None else _METER.pack(6, 8, meter) + built


# -- OpenFlow's own actions ------------------------------------------------------------------------


def output(port: int) -> bytes:
    return _OUTPUT.pack(0, 16, port, 0)


def in_port() -> bytes:
    """Output to the port that the packet came from, which `output` of that port would not do."""
    return _OUTPUT.pack(0, 16, OFPP_IN_PORT, 0)


def to_table() -> bytes:
    """Of a packet-out: through the flow tables, as if it had come in."""
    return _OUTPUT.pack(0, 16, OFPP_TABLE, 0)


def dec_ttl() -> bytes:
    """One off the TTL or hop limit; a packet whose TTL would reach 0 stops here."""
    return _PLAIN.pack(Action.DEC_TTL, 8)


def set_field(entry: bytes) -> bytes:
    """Set a whole field to the value of a match entry that has no mask."""
    length = 4 + len(entry)
    padding = PADDING[length & 7]
    return _HEAD.pack(25, length + len(padding)) + entry + padding


# -- Nicira's --------------------------------------------------------------------------------------


def move(
    source: Field,
    source_bit: int,
    destination: Field,
    destination_bit: int,
    n_bits: int,
) -> bytes:
    """Copy `n_bits` bits from one field to another."""
    return _MOVE.pack(
        *(_VENDOR, 24, NICIRA, Nicira.MOVE, n_bits, source_bit, destination_bit),
        *(source.nicira, destination.nicira),
    )


def load(value: int, field: Field, first_bit: int = 0, n_bits: int | None = None) -> bytes:
    """Set up to 64 bits of a field to `value`."""
    width = field.bits - first_bit if n_bits is None else n_bits
    return _LOAD.pack(_VENDOR, 24, NICIRA, 7, first_bit << 6 | width - 1, field.nicira, value)


def multipath(
    fields: Literal[
        "eth_src",
        "symmetric_l4",
        "symmetric_l3l4",
        "symmetric_l3l4+udp",
        "nw_src",
        "nw_dst",
        "symmetric_l3",
    ],
    basis: int,
    max_link: int,
    argument: int,
    field: Field,
    first_bit: int = 0,
    n_bits: int | None = None,
) -> bytes:
    """Load a hash of `fields` modulo ``max_link + 1`` into bits of `field` (algorithm modulo_n)."""
    width = field.bits - first_bit if n_bits is None else n_bits
    hashed = MULTIPATH_FIELDS.index(fields)
    return _MULTIPATH.pack(
        *(_VENDOR, 32, NICIRA, Nicira.MULTIPATH, hashed, basis, 0, max_link, argument),
        *(first_bit << 6 | width - 1, field.nicira),
    )


def resubmit_table(table: int) -> bytes:
    """Look the packet up in another table, any one, and come back to the next action."""
    return _RESUBMIT.pack(_VENDOR, 16, NICIRA, Nicira.RESUBMIT, OFPP_IN_PORT & 0xFFFF, table)


def output_reg(field: Field, first_bit: int = 0, n_bits: int | None = None) -> bytes:
    """Output to the port whose number is in these bits; not to the port it came from."""
    width = field.bits - first_bit if n_bits is None else n_bits
    place = first_bit << 6 | width - 1
    return _OUTPUT_REG.pack(
        _VENDOR, 24, NICIRA, Nicira.OUTPUT_REG, place, field.nicira, _WHOLE_PACKET
    )


def controller(
    userdata: bytes = b"", max_len: int = _WHOLE_PACKET, meter: int | None = None
) -> bytes:
    """Send a packet-in that carries `userdata`, with up to `max_len` bytes of the packet.

    (The userspace data path of 3.1 does not cut the packet: measured.)
    """
    properties = b""
    if max_len != _WHOLE_PACKET:
        # Open vSwitch counts the padding of this property; it accepts 6 as well, but writes 8.
        properties += _PROPERTY_U16.pack(ControllerProperty.MAX_LEN, 8, max_len)
    if userdata:
        length = 4 + len(userdata)
        properties += _HEAD.pack(ControllerProperty.USERDATA, length) + userdata
        properties += PADDING[length & 7]
    if meter is not None:
        properties += _PROPERTY_U32.pack(ControllerProperty.METER, 8, meter)
    return _CONTROLLER.pack(_VENDOR, 16 + len(properties), NICIRA, Nicira.CONTROLLER) + properties


def conjunction(conjunction_id: int, clause: int, n_clauses: int) -> bytes:
    """The flow matches clause `clause` (1 to `n_clauses`) of a conjunction; see `oxm.conj_id`."""
    return _CONJUNCTION.pack(
        _VENDOR, 16, NICIRA, Nicira.CONJUNCTION, clause - 1, n_clauses, conjunction_id
    )


def ct(
    *,
    commit: bool = False,
    force: bool = False,
    zone: int | Field = 0,
    zone_bit: int = 0,
    table: int | None = None,
    actions: Iterable[bytes] = (),
) -> bytes:
    """Send the packet through connection tracking in `zone`, a number or 16 bits of a field, from
    `zone_bit` on.

    With `table` a copy goes on there with its ct_state, from the registers as they are; without,
    nothing sees it. `actions` (load or set_field of ct_mark, ct_label) act on the entry that is
    committed.
    """
    nested = b"".join(actions)
    source, place = (0, zone) if isinstance(zone, int) else (zone.nicira, zone_bit << 6 | 15)
    flags = (CtFlag.COMMIT if commit else 0) | (CtFlag.FORCE if force else 0)
    recirculate = NO_RECIRCULATION if table is None else table
    return (
        _CT.pack(
            *(_VENDOR, 24 + len(nested), NICIRA, Nicira.CT, flags, source, place, recirculate, 0)
        )
        + nested
    )


def clone(*actions: bytes) -> bytes:
    """Do this with a copy of the packet, which ends there: what the actions do to it, or add to it,
    the next action does not see.
    """
    nested = b"".join(actions)
    return _CLONE.pack(_VENDOR, 16 + len(nested), NICIRA, Nicira.CLONE) + nested


def check_pkt_larger(length: int, field: Field, bit: int = 0) -> bytes:
    """Set one bit of a field to whether the packet, with its Ethernet header, is longer than
    `length`.
    """
    return _CHECK_PKT_LARGER.pack(
        _VENDOR, 24, NICIRA, Nicira.CHECK_PKT_LARGER, length, bit, field.nicira
    )
