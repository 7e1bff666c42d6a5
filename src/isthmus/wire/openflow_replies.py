# SPDX-License-Identifier: Apache-2.0
"""OpenFlow 1.4: what a switch answers, read into values. All functions raise Malformed and nothing
else.

Packet-ins are in `openflow_packets`, errors in `openflow_errors`.
"""

from __future__ import annotations

from enum import IntFlag
from struct import Struct
from typing import NamedTuple

from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow import (
    DROP_BAND,
    OXM_MATCH,
    VERSION,
    Flow,
    Message,
    Meter,
    MeterFlag,
    Type,
)

_PART = Struct(">HH4x")
_FLOW = Struct(">HBxI4xH8x2xQQQHH")
_TABLE = Struct(">B3xIQQ")
_METER = Struct(">HHI")
_METER_STATS = Struct(">IH6xIQQII")
_BAND_STATS = Struct(">QQ")
_BAND = Struct(">HHII4x")
_FEATURES = Struct(">QIBB2xII")
_ELEMENT = Struct(">HH")
_PORT = Struct(">IH2x6s2x16sII")
_BUNDLE = Struct(">IHH")

_CONFIG = 0x65
"""All of `PortConfig`."""
_MORE = 1
_VERSION_BITMAP = 1


class InstalledFlow(NamedTuple):
    """A flow as the switch has it; counters are those since it was added."""

    table: int
    priority: int
    match: bytes
    instructions: bytes
    cookie: int
    n_packets: int
    n_bytes: int
    age_s: int

    @property
    def flow(self) -> Flow:
        return Flow(*self[:5])


class MeterStats(NamedTuple):
    """What a meter has counted: all packets that came to it, and those that it has dropped."""

    id: int
    n_packets: int
    n_dropped: int


class TableStats(NamedTuple):
    table: int
    flows: int
    lookups: int
    matched: int


class PortConfig(IntFlag):
    """Section 7.2.1.1: what a port was told not to do."""

    PORT_DOWN = 1 << 0
    NO_RECV = 1 << 2
    NO_FWD = 1 << 5
    NO_PACKET_IN = 1 << 6


class PortDescription(NamedTuple):
    """Section 7.2.1, without the port's addresses and properties."""

    number: int
    config: PortConfig


class Part(NamedTuple):
    """One message of a multipart reply; `more` of them follow unless it is the last."""

    kind: int
    more: bool
    body: bytes


class Features(NamedTuple):
    datapath_id: int
    n_tables: int


def speaks_our_version(hello: Message) -> bool:
    """Section 6.3.1: by the bitmap if there is one, else the smaller of both header versions
    counts.
    """
    body, start = hello.body, 0
    while start + 4 <= len(body):
        kind, length = _ELEMENT.unpack_from(body, start)
        if length < 4 or start + length > len(body):
            raise Malformed(f"an element of an OpenFlow hello is cut short: {body.hex()}")
        if kind == _VERSION_BITMAP and length >= 8:
            return bool(int.from_bytes(body[start + 4 : start + 8], "big") >> VERSION & 1)
        start += (length + 7) & ~7
    return hello.version >= VERSION


def features(message: Message) -> Features:
    if message.type != Type.FEATURES_REPLY or len(message.body) != _FEATURES.size:
        raise Malformed(f"not an OpenFlow features reply: type {message.type}")
    datapath_id, _, n_tables, *_ = _FEATURES.unpack(message.body)
    return Features(datapath_id, n_tables)


def bundle_reply(message: Message) -> tuple[int, int]:
    """Bundle id and type (`openflow.Bundle`) of a bundle control message."""
    if message.type != Type.BUNDLE_CONTROL or len(message.body) < _BUNDLE.size:
        raise Malformed(f"not an OpenFlow bundle control message: type {message.type}")
    bundle_id, kind, _ = _BUNDLE.unpack_from(message.body)
    return bundle_id, kind


def part(message: Message) -> Part:
    """The frame of a multipart reply."""
    if message.type != Type.MULTIPART_REPLY or len(message.body) < _PART.size:
        raise Malformed(f"not an OpenFlow multipart reply: type {message.type}")
    kind, flags = _PART.unpack_from(message.body)
    return Part(kind, bool(flags & _MORE), message.body[_PART.size :])


def flow_stats(body: bytes) -> list[InstalledFlow]:
    """The flows in the body of one part of a reply to `openflow.flow_stats_request`. About 1.5 µs a
    flow.
    """
    flows: list[InstalledFlow] = []
    start, end = 0, len(body)
    while start < end:
        if end - start < 56:
            raise Malformed(f"flow statistics end within an entry: {end - start} bytes are left")
        # fmt: off
        length, table, age_s, priority, cookie, packets, n_bytes, match_type, match_length = (
            _FLOW.unpack_from(body, start)
        )
        # fmt: on
        match = start + _FLOW.size
        match_end = match - 4 + match_length
        instructions = match - 4 + (match_length + 7 & ~7)
        stop = start + length
        if stop > end or instructions > stop or match_length < 4 or match_type != OXM_MATCH:
            raise Malformed(
                f"flow statistics of {length} bytes with a match of type {match_type} "
                f"and {match_length} bytes, in {end - start}"
            )
        flows.append(
            InstalledFlow(
                *(table, priority, body[match:match_end], body[instructions:stop]),
                *(cookie, packets, n_bytes, age_s),
            )
        )
        start = stop
    return flows


def table_stats(body: bytes) -> list[TableStats]:
    """All tables that the switch has, empty ones too."""
    if len(body) % _TABLE.size:
        raise Malformed(f"table statistics of {len(body)} bytes")
    return [TableStats(*entry) for entry in _TABLE.iter_unpack(body)]


def port_descriptions(body: bytes) -> list[PortDescription]:
    """The ports in the body of one part of a reply to `openflow.port_description_request`."""
    found: list[PortDescription] = []
    start, end = 0, len(body)
    while start < end:
        if end - start < _PORT.size:
            raise Malformed(f"a port description ends within an entry: {body[start:].hex()}")
        number, length, _, _, config, _ = _PORT.unpack_from(body, start)
        if length < _PORT.size or start + length > end:
            raise Malformed(f"a port description of {length} bytes, in {end - start}")
        found.append(PortDescription(number, PortConfig(config & _CONFIG)))
        start += length
    return found


def meters(body: bytes) -> list[Meter]:
    """The meters in a reply to `openflow.meter_config_request`.

    One that is not of our kind (one band, that drops) has a rate of 0.
    """
    found: list[Meter] = []
    start, end = 0, len(body)
    while start < end:
        if end - start < _METER.size:
            raise Malformed(f"a meter configuration ends within an entry: {body.hex()}")
        length, flags, meter_id = _METER.unpack_from(body, start)
        if length < _METER.size or start + length > end:
            raise Malformed(f"a meter configuration of {length} bytes, in {end - start}")
        rate = burst = 0
        if length == _METER.size + _BAND.size:
            kind, _, band_rate, band_burst = _BAND.unpack_from(body, start + _METER.size)
            if kind == DROP_BAND:
                rate, burst = band_rate, band_burst
        found.append(Meter(meter_id, rate, burst, bool(flags & MeterFlag.KBPS)))
        start += length
    return found


def meter_stats(body: bytes) -> list[MeterStats]:
    """Those in a reply to `openflow.meter_stats_request` (OpenFlow 1.4 section 7.3.5.12).

    Of one that is not of our kind, all bands count as drops.
    """
    found: list[MeterStats] = []
    start, end = 0, len(body)
    while start < end:
        if end - start < _METER_STATS.size:
            raise Malformed(f"meter statistics end within an entry: {body.hex()}")
        meter_id, length, _, n_packets, _, _, _ = _METER_STATS.unpack_from(body, start)
        bands = length - _METER_STATS.size
        if bands < 0 or bands % _BAND_STATS.size or start + length > end:
            raise Malformed(f"meter statistics of {length} bytes, in {end - start}")
        its = body[start + _METER_STATS.size : start + length]
        dropped = sum(packets for packets, _ in _BAND_STATS.iter_unpack(its))
        found.append(MeterStats(meter_id, n_packets, dropped))
        start += length
    return found
