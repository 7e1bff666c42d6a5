# SPDX-License-Identifier: Apache-2.0
"""What a switch answers, read from bytes laid out by hand as OpenFlow 1.4 says."""

from __future__ import annotations

import struct

import pytest

from isthmus.wire import openflow as of
from isthmus.wire.malformed import Malformed
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
from tests.wire.switch_messages import flow_stats_entry, message


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


def test_flow_statistics_give_every_flow_as_it_was_sent() -> None:
    flows = [case.flow for case in every_flow()]
    body = b"".join(map(flow_stats_entry, flows))
    assert flow_stats(body) == [InstalledFlow(*flow[:5], 5, 6, 3) for flow in flows]


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
