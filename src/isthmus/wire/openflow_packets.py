# SPDX-License-Identifier: Apache-2.0
"""Packet-ins in Nicira's second format (NXT_PACKET_IN2), which carries the userdata of the action
that sent it.

Source: nicira-ext.h of Open vSwitch ("NXT_PACKET_IN2"); ovs-actions(7), action controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import Message, Type
from isthmus.wire.openflow_actions import NICIRA
from isthmus.wire.oxm_fields import IN_PORT, Field

_EXPERIMENTER = Struct(">II")
_HEAD = Struct(">HH")
_PACKET_IN2 = 30

_PACKET, _TABLE, _COOKIE, _REASON, _METADATA, _USERDATA = 0, 3, 4, 5, 6, 7

REASON_MISS, REASON_ACTION = 0, 1
"""The packet was sent by a controller action: of a flow of priority 0 that matches everything, or
of another one."""


class PacketIn(NamedTuple):
    """A packet that a flow sent to us. `fields` has what is not in the packet: in_port, registers,
    tunnel, metadata.

    Fields that are 0 are left out by the switch.
    """

    packet: bytes
    in_port: int
    table: int
    cookie: int
    reason: int
    userdata: bytes
    fields: dict[Field, int]

    def reg(self, number: int) -> int:
        return self.fields.get(oxm.REG[number], 0)


def packet_in(message: Message) -> PacketIn | None:
    """Read a packet-in; None if the message is another experimenter's. Raises Malformed."""
    if message.type != Type.EXPERIMENTER or len(message.body) < 8:
        raise Malformed(f"not an OpenFlow experimenter message: type {message.type}")
    if _EXPERIMENTER.unpack_from(message.body) != (NICIRA, _PACKET_IN2):
        return None
    packet = userdata = b""
    table = cookie = reason = 0
    fields: dict[Field, int] = {}
    for kind, value in _properties(message.body, 8):
        if kind == _PACKET:
            packet = value
        elif kind == _USERDATA:
            userdata = value
        elif kind == _METADATA:
            fields = {entry.field: entry.value for entry in oxm.entries(value)}
        elif kind == _COOKIE:
            cookie = int.from_bytes(value[4:12], "big")
        elif kind == _TABLE:
            table = int.from_bytes(value[:1], "big")
        elif kind == _REASON:
            reason = int.from_bytes(value[:1], "big")
    return PacketIn(packet, fields.get(IN_PORT, 0), table, cookie, reason, userdata, fields)


def _properties(body: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Type and value of each; each is padded to eight bytes, the last one need not be."""
    while start < len(body):
        if len(body) - start < 4:
            raise Malformed("a packet-in ends within a property")
        kind, length = _HEAD.unpack_from(body, start)
        if length < 4 or start + length > len(body):
            raise Malformed(f"a property of a packet-in is {length} bytes, of {len(body) - start}")
        yield kind, body[start + 4 : start + length]
        start += (length + 7) & ~7
