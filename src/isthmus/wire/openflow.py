# SPDX-License-Identifier: Apache-2.0
"""OpenFlow 1.4: the frame of messages, and the messages that Isthmus sends.

What it receives is read by `openflow_replies` and `openflow_packets`. Every function returns one
whole message; `xid` is the transaction id, 32 bits, that its answer or error carries.

Standard: ONF TS-012, OpenFlow Switch Specification 1.4.0; sections are named where they are
followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from isthmus.addresses import Address
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_actions import NICIRA, PADDING

VERSION = 0x05
"""OpenFlow 1.4."""

ANY_PORT = ANY_GROUP = NO_BUFFER = 0xFFFFFFFF
ALL_TABLES = 0xFF


class Type(IntEnum):
    """OpenFlow 1.4 section 7.1: message types."""

    HELLO = 0
    ERROR = 1
    ECHO_REQUEST = 2
    ECHO_REPLY = 3
    EXPERIMENTER = 4
    FEATURES_REQUEST = 5
    FEATURES_REPLY = 6
    SET_CONFIG = 9
    PACKET_OUT = 13
    FLOW_MOD = 14
    MULTIPART_REQUEST = 18
    MULTIPART_REPLY = 19
    BARRIER_REQUEST = 20
    BARRIER_REPLY = 21
    SET_ASYNC = 28
    METER_MOD = 29
    BUNDLE_CONTROL = 33
    BUNDLE_ADD = 34


class Fragments(IntEnum):
    """What a switch does with IP fragments (Open vSwitch: ``ovs-ofctl set-frags``)."""

    NORMAL = 0
    """Matches as if no fragment, not even the first one, had ports or an ICMP type."""
    NX_MATCH = 3
    """The first has them."""


class FlowCommand(IntEnum):
    """OpenFlow 1.4 section 7.3.4.1."""

    ADD = 0
    MODIFY_STRICT = 2
    DELETE = 3
    DELETE_STRICT = 4


class Bundle(IntEnum):
    """OpenFlow 1.4 section 7.3.9.2: types of bundle control messages."""

    OPEN_REQUEST = 0
    OPEN_REPLY = 1
    COMMIT_REQUEST = 4
    COMMIT_REPLY = 5
    DISCARD_REQUEST = 6
    DISCARD_REPLY = 7


class Multipart(IntEnum):
    """OpenFlow 1.4 section 7.3.5."""

    FLOW = 1
    TABLE = 3
    METER = 9
    METER_CONFIG = 10
    PORT_DESC = 13


class MeterCommand(IntEnum):
    ADD = 0
    MODIFY = 1
    DELETE = 2


class MeterFlag(IntEnum):
    KBPS = 1
    PKTPS = 2
    BURST = 4


ATOMIC_ORDERED = 3
"""Bundle flags: all or nothing, in the order given."""

_OF_ANY_VERSION = (Type.HELLO, Type.ERROR)
"""What may be sent before a version is agreed (section 6.3.1)."""

HEADER = Struct(">BBHI")
_BUNDLE = Struct(">BBHIIHH")
_ZONE = Struct(">6xH")
_PROPERTY = Struct(">HH")
_FLOW_MOD = Struct(">BBHIQQBBHHHIIIHHHH")
_FLOW_STATS = Struct(">BBHIHH4xB3xII4xQQHH4x")
_PACKET_OUT = Struct(">BBHIIIH6x")
_METER_MOD = Struct(">BBHIHHI")
_METER_BAND = Struct(">HHII4x")
_EXPERIMENTER = Struct(">BBHIII")
_ASYNC_PROPERTY = Struct(">HHI")

OXM_MATCH = 1
DROP_BAND = 1


class Flow(NamedTuple):
    """One flow entry. `match` is from `oxm.match`, `instructions` from `openflow_actions`."""

    table: int
    priority: int
    match: bytes
    instructions: bytes
    cookie: int
    lasts_s: int = 0
    """Its hard timeout: the switch deletes it after so many seconds; 0 for never."""


class Meter(NamedTuple):
    """A meter that drops what exceeds `rate` (packets/s, or kbit/s) after a burst of `burst`
    (packets, or kbit).
    """

    id: int
    rate: int
    burst: int
    kbps: bool = False


class Message(NamedTuple):
    """A received message: its header's fields, and what follows them."""

    version: int
    type: int
    xid: int
    body: bytes


class Framer:
    """Cuts a byte stream into messages. Holds at most one incomplete message (64 KiB) besides what
    it is fed.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. The iterator must be used up before the next call.

        Raises Malformed; the stream has then no meaning any more.
        """
        if self._rest:
            data = self._rest + data
        start, end = 0, len(data)
        while end - start >= 8:
            version, kind, length, xid = HEADER.unpack_from(data, start)
            if length < 8 or (version != VERSION and kind not in _OF_ANY_VERSION):
                self._rest = b""
                raise Malformed(
                    f"an OpenFlow message of version {version}, type {kind}, {length} bytes long"
                )
            if start + length > end:
                break
            yield Message(version, kind, xid, data[start + 8 : start + length])
            start += length
        self._rest = data[start:]


def message(kind: Type, xid: int, body: bytes = b"") -> bytes:
    return HEADER.pack(VERSION, kind, 8 + len(body), xid) + body


# -- the connection --------------------------------------------------------------------------------


def hello(xid: int) -> bytes:
    """Section 7.5.1: we speak 1.4 and nothing else."""
    return message(Type.HELLO, xid, b"\x00\x01\x00\x08" + (1 << VERSION).to_bytes(4, "big"))


def echo_request(xid: int, data: bytes = b"") -> bytes:
    return message(Type.ECHO_REQUEST, xid, data)


def echo_reply(request: Message) -> bytes:
    """Section 7.5.3: "with the unmodified data field of an echo request message"."""
    return message(Type.ECHO_REPLY, request.xid, request.body)


def features_request(xid: int) -> bytes:
    return message(Type.FEATURES_REQUEST, xid)


def set_config(xid: int, *, fragments: Fragments, miss_send_len: int) -> bytes:
    """How fragments are matched, and how many bytes of a packet a packet-in carries. With 0 Open
    vSwitch sends no packet-in at all.
    """
    return message(
        Type.SET_CONFIG, xid, fragments.to_bytes(2, "big") + miss_send_len.to_bytes(2, "big")
    )


def set_async(xid: int, *, packet_in_reasons: int) -> bytes:
    """Section 7.3.10: no port status, flow removed, role, table or request messages; packet-ins of
    these reasons.

    `packet_in_reasons` has bit n set for reason n: bit 1 is the controller action.
    """
    masks = {kind: 0 for kind in range(12)}
    masks[1] = packet_in_reasons  # OFPACPT_PACKET_IN_MASTER
    body = b"".join(_ASYNC_PROPERTY.pack(kind, 8, mask) for kind, mask in masks.items())
    return message(Type.SET_ASYNC, xid, body)


def set_packet_in_format(xid: int) -> bytes:
    """NXT_SET_PACKET_IN_FORMAT: have packet-ins as NXT_PACKET_IN2 (see `openflow_packets`)."""
    return _EXPERIMENTER.pack(VERSION, Type.EXPERIMENTER, 20, xid, NICIRA, 16) + b"\x00\x00\x00\x02"


def flush_zone(xid: int, zone: int) -> bytes:
    """Forget all connections of a connection tracking zone (NXT_CT_FLUSH_ZONE)."""
    body = _ZONE.pack(zone)
    return _EXPERIMENTER.pack(VERSION, Type.EXPERIMENTER, 16 + len(body), xid, NICIRA, 29) + body


def flush_connections(
    xid: int,
    zone: int,
    *,
    protocol: int = 0,
    source: Address | None = None,
    destination: Address | None = None,
) -> bytes:
    """Forget connections of a zone by the ends of their original tuple (NXT_CT_FLUSH); `protocol`
    is an IP protocol number, 0 for any.

    Open vSwitch 3.1 misses about a quarter of many: send it several times. Its userspace data path
    ends when it is to forget an ICMPv6 entry (it reverses the type as if it were ICMP's): always
    give a protocol with IPv6 addresses, and another one.
    """
    inner = b"".join(
        _PROPERTY.pack(kind, 20) + _mapped(address) + bytes(4)
        for kind, address in ((0, source), (1, destination))
        if address is not None
    )
    body = bytes((protocol,)) + bytes(7) + _PROPERTY.pack(0, 8 + len(inner)) + bytes(4) + inner
    body += _PROPERTY.pack(2, 6) + zone.to_bytes(2, "big") + bytes(2)
    return _EXPERIMENTER.pack(VERSION, Type.EXPERIMENTER, 16 + len(body), xid, NICIRA, 32) + body


def _mapped(address: Address) -> bytes:
    """As IPv6 (RFC 4291 section 2.5.5.2)."""
    packed = address.packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


def barrier_request(xid: int) -> bytes:
    return message(Type.BARRIER_REQUEST, xid)


# -- flows -----------------------------------------------------------------------------------------


def flow_add(flow: Flow, xid: int) -> bytes:
    """Add a flow, or overwrite the one with the same table, priority and match. Counters start
    anew.
    """
    return _flow_mod(FlowCommand.ADD, flow, 0, flow.instructions, xid)


def flow_modify_strict(flow: Flow, xid: int) -> bytes:
    """Change the instructions of the flow with the same table, priority and match, if it exists."""
    return _flow_mod(FlowCommand.MODIFY_STRICT, flow, 0, flow.instructions, xid)


def flow_delete_strict(flow: Flow, xid: int) -> bytes:
    """Delete the flow with this table, priority and match, whatever its cookie, if there is one."""
    return _flow_mod(FlowCommand.DELETE_STRICT, flow, 0, b"", xid)


def flow_delete_by_cookie(cookie: int, mask: int, xid: int) -> bytes:
    """Delete the flows of all tables whose cookies are `cookie` in the bits of `mask`."""
    every = Flow(ALL_TABLES, 0, b"", b"", cookie)
    return _flow_mod(FlowCommand.DELETE, every, mask, b"", xid)


def _flow_mod(
    command: FlowCommand, flow: Flow, cookie_mask: int, instructions: bytes, xid: int
) -> bytes:
    table, priority, match, _, cookie, lasts_s = flow
    match_length = 4 + len(match)
    tail = match + PADDING[match_length & 7] + instructions
    # fmt: off
    return _FLOW_MOD.pack(
        VERSION, 14, 52 + len(tail), xid,
        cookie, cookie_mask, table, command, 0, lasts_s, priority,
        NO_BUFFER, ANY_PORT, ANY_GROUP, 0, 0, OXM_MATCH, match_length,
    ) + tail
    # fmt: on


# -- bundles (section 7.3.9) -----------------------------------------------------------------------


def bundle_control(kind: Bundle, bundle_id: int, xid: int) -> bytes:
    """Open, commit or discard a bundle; all of them with the same flags, atomic and ordered."""
    return _BUNDLE.pack(VERSION, Type.BUNDLE_CONTROL, 16, xid, bundle_id, kind, ATOMIC_ORDERED)


def bundle_add(bundle_id: int, inner: bytes) -> bytes:
    """Put a message into a bundle. The outer xid is the inner one's, as section 7.3.9.5 demands."""
    xid = int.from_bytes(inner[4:8], "big")
    return _BUNDLE.pack(VERSION, 34, 16 + len(inner), xid, bundle_id, 0, ATOMIC_ORDERED) + inner


# -- meters (section 7.3.4.4) ----------------------------------------------------------------------


def meter_mod(command: MeterCommand, meter: Meter, xid: int) -> bytes:
    """Add, modify or delete a meter. Deleting it deletes the flows that use it; deleting none is
    success.
    """
    if command == MeterCommand.DELETE:
        flags, band = 0, b""
    else:
        flags = (MeterFlag.KBPS if meter.kbps else MeterFlag.PKTPS) | MeterFlag.BURST
        band = _METER_BAND.pack(DROP_BAND, 16, meter.rate, meter.burst)
    head = _METER_MOD.pack(VERSION, Type.METER_MOD, 16 + len(band), xid, command, flags, meter.id)
    return head + band


# -- questions (section 7.3.5) ---------------------------------------------------------------------


def flow_stats_request(
    xid: int, *, table: int = ALL_TABLES, cookie: int = 0, mask: int = 0
) -> bytes:
    """Ask for the flows of a table or all, whose cookies are `cookie` in the bits of `mask`."""
    return _FLOW_STATS.pack(
        *(VERSION, Type.MULTIPART_REQUEST, 56, xid, Multipart.FLOW, 0),
        *(table, ANY_PORT, ANY_GROUP, cookie, mask, OXM_MATCH, 4),
    )


def table_stats_request(xid: int) -> bytes:
    return message(Type.MULTIPART_REQUEST, xid, Multipart.TABLE.to_bytes(2, "big") + bytes(6))


def port_description_request(xid: int) -> bytes:
    """Ask for all ports."""
    return message(Type.MULTIPART_REQUEST, xid, Multipart.PORT_DESC.to_bytes(2, "big") + bytes(6))


def meter_config_request(xid: int) -> bytes:
    """Ask for all meters."""
    return _meter_request(Multipart.METER_CONFIG, xid)


def meter_stats_request(xid: int) -> bytes:
    """Ask for what all meters have counted."""
    return _meter_request(Multipart.METER, xid)


def _meter_request(kind: Multipart, xid: int) -> bytes:
    body = kind.to_bytes(2, "big") + bytes(6) + b"\xff\xff\xff\xff" + bytes(4)
    return message(Type.MULTIPART_REQUEST, xid, body)


# -- packets ---------------------------------------------------------------------------------------


def packet_out(packet: bytes, actions: bytes, xid: int, *, in_port: int) -> bytes:
    """Have `actions` done to a packet as if it had come from `in_port` (section 7.3.7)."""
    length = 24 + len(actions) + len(packet)
    head = _PACKET_OUT.pack(VERSION, 13, length, xid, NO_BUFFER, in_port, len(actions))
    return head + actions + packet
