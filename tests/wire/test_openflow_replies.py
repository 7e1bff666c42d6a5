# SPDX-License-Identifier: Apache-2.0
"""What a switch answers, read from bytes laid out by hand as OpenFlow 1.4 says."""

from __future__ import annotations

import struct

import pytest

from isthmus.wire import openflow as of
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_errors import switch_error
from isthmus.wire.openflow_packets import PacketIn, packet_in
from isthmus.wire.openflow_replies import (
    Features,
    InstalledFlow,
    MeterStats,
    bundle_reply,
    features,
    flow_stats,
    meter_stats,
    meters,
    part,
    speaks_our_version,
)
from tests.wire.every_flow import every_flow
from tests.wire.switch_messages import a_packet_in, flow_stats_entry


def message(kind: of.Type, body: bytes, version: int = of.VERSION) -> of.Message:
    return of.Message(version, kind, 1, body)


@pytest.mark.parametrize(
    ("version", "body", "speaks"),
    [
        (5, "", True),
        (6, "", True),  # without a bitmap the smaller version counts
        (4, "", False),
        (6, "0001 0008 00000020", True),
        (6, "0001 0008 00000052", False),  # 1.0, 1.3 and 1.5
        (4, "00ff 0006 0000 0000 0001 0008 00000020", True),  # after an unknown element
    ],
)
def test_the_version_is_agreed_by_bitmap_or_header(version: int, body: str, speaks: bool) -> None:
    assert speaks_our_version(message(of.Type.HELLO, bytes.fromhex(body), version)) is speaks


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (struct.pack(">HH", 4, 9), "OFPBMC_BAD_PREREQ"),
        (struct.pack(">HH", 2, 10), "OFPBAC_MATCH_INCONSISTENT"),
        (struct.pack(">HH", 3, 2), "OFPBIC_BAD_TABLE_ID"),
        (struct.pack(">HH", 17, 13), "OFPBFC_MSG_FAILED"),
        (struct.pack(">HH", 12, 2), "OFPMMFC_INVALID_METER"),
        (struct.pack(">HHI", 0xFFFF, 15, 0x2320), "NXBAC_BAD_CONJUNCTION"),
        (struct.pack(">HH", 4, 99), "error type 4 code 99"),
        (
            struct.pack(">HHI", 0xFFFF, 7, 0x4F4E4600),
            "experimenter 0x4f4e4600 error type 65535 code 7",
        ),
    ],
)
def test_errors_have_the_names_of_open_vswitch(body: bytes, name: str) -> None:
    error = switch_error(message(of.Type.ERROR, body + b"what was sent"))
    assert error.name == name
    assert error.data == b"what was sent"


def test_flow_statistics_give_every_flow_as_it_was_sent() -> None:
    flows = [case.flow for case in every_flow()]
    body = b"".join(map(flow_stats_entry, flows))
    assert flow_stats(body) == [InstalledFlow(*flow[:5], 5, 6, 3) for flow in flows]


def test_a_packet_in_gives_all_of_its_properties() -> None:
    received = packet_in(message(of.Type.EXPERIMENTER, a_packet_in()))
    fields = {oxm.IN_PORT: 3, oxm.REG[5]: 5001}
    assert received == PacketIn(b"a frame", 3, 7, 0x77, 1, b"\x01\x02", fields)
    assert received.reg(5) == 5001


def test_other_experimenters_are_left_alone() -> None:
    assert packet_in(message(of.Type.EXPERIMENTER, b"\x00\x00\x23\x20\x00\x00\x00\x1f")) is None


def test_a_meter_of_another_kind_has_no_rate() -> None:
    remark = struct.pack(">HHIHHIIB3x", 24, 5, 7, 2, 16, 100, 20, 1)
    assert meters(remark) == [of.Meter(7, 0, 0, kbps=True)]


def test_meter_statistics_tell_what_was_dropped() -> None:
    head = struct.pack(">IH6xIQQII", 7, 56, 1, 90, 9000, 1, 0)
    other = struct.pack(">IH6xIQQII", 8, 40, 0, 4, 400, 1, 0)
    body = head + struct.pack(">QQ", 30, 3000) + other
    assert meter_stats(b"") == []
    assert meter_stats(body) == [MeterStats(7, 90, 30), MeterStats(8, 4, 0)]
    for end in (1, 39, 41, 50, len(body) - 1):
        with pytest.raises(Malformed):
            meter_stats(body[:end])


def test_parts_say_whether_more_follow() -> None:
    body = struct.pack(">HH4x", 1, 1) + b"flows"
    assert part(message(of.Type.MULTIPART_REPLY, body)) == (1, True, b"flows")


def test_features_and_bundle_replies() -> None:
    body = struct.pack(">QIBB2xII", 0xABC, 0, 254, 0, 0x4F, 0)
    assert features(message(of.Type.FEATURES_REPLY, body)) == Features(0xABC, 254)
    reply = struct.pack(">IHH", 9, of.Bundle.COMMIT_REPLY, 3)
    assert bundle_reply(message(of.Type.BUNDLE_CONTROL, reply)) == (9, of.Bundle.COMMIT_REPLY)
    with pytest.raises(Malformed):
        features(message(of.Type.ERROR, body))
