# SPDX-License-Identifier: Apache-2.0
"""Whatever the bytes, an OpenFlow decoder gives a value or raises Malformed."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire import openflow as of
from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_errors import switch_error
from isthmus.wire.openflow_packets import packet_in
from isthmus.wire.openflow_replies import (
    bundle_reply,
    features,
    flow_stats,
    meters,
    part,
    speaks_our_version,
    table_stats,
)
from isthmus.wire.openflow_text import actions_text, flow_text, instructions_text
from tests.wire.every_flow import every_flow
from tests.wire.mutation import almost
from tests.wire.switch_messages import a_packet_in, flow_stats_entry

CASES = every_flow()


STATS = b"".join(flow_stats_entry(case.flow) for case in CASES)
METER = struct.pack(">HHIHHII4x", 24, 5, 7, 1, 16, 100, 20)
ERROR = struct.pack(">HH", 4, 9) + bytes(64)
VENDOR_ERROR = struct.pack(">HHI", 0xFFFF, 15, 0x2320) + bytes(64)
INSTRUCTIONS = [case.flow.instructions for case in CASES if case.flow.instructions]
MATCHES = [case.flow.match for case in CASES if case.flow.match]


def only_malformed(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(Malformed):
        decode(data)


@given(almost([of.hello(1), of.echo_request(2, b"x") * 3, of.flow_add(CASES[0].flow, 3)]))
def test_the_framer(data: bytes) -> None:
    only_malformed(lambda data: list(of.Framer().feed(data)), data)


@given(
    almost([STATS[:2000], METER * 2, ERROR, VENDOR_ERROR, of.hello(1)[8:], a_packet_in()]),
    st.integers(0, 40),
)
def test_readers_of_whole_messages(body: bytes, kind: int) -> None:
    for reader, own_kind in (
        (speaks_our_version, of.Type.HELLO),
        (features, of.Type.FEATURES_REPLY),
        (bundle_reply, of.Type.BUNDLE_CONTROL),
        (part, of.Type.MULTIPART_REPLY),
        (switch_error, of.Type.ERROR),
        (packet_in, of.Type.EXPERIMENTER),
    ):
        for message_kind in (own_kind, kind):
            message = of.Message(of.VERSION, message_kind, 7, body)
            with suppress(Malformed):
                reader(message)


@given(almost([a_packet_in()]))
def test_packet_ins(body: bytes) -> None:
    only_malformed(lambda data: packet_in(of.Message(5, of.Type.EXPERIMENTER, 0, data)), body)


@given(almost([STATS, STATS[:300]]))
def test_flow_statistics(data: bytes) -> None:
    only_malformed(flow_stats, data)


@given(almost([METER, METER * 3]))
def test_meters_and_tables(data: bytes) -> None:
    only_malformed(meters, data)
    only_malformed(table_stats, data)


@given(almost(MATCHES), almost(INSTRUCTIONS))
def test_texts(match: bytes, instructions: bytes) -> None:
    only_malformed(lambda data: list(oxm.entries(data)), match)
    only_malformed(lambda data: flow_text(of.Flow(0, 0, data, b"", 0)), match)
    only_malformed(instructions_text, instructions)
    only_malformed(actions_text, instructions[8:])


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(1, 50), max_size=20))
def test_messages_are_the_same_however_the_stream_is_cut(
    bodies: list[bytes], cuts: list[int]
) -> None:
    messages = [of.message(of.Type.ECHO_REQUEST, n, body) for n, body in enumerate(bodies)]
    stream, framer, received = b"".join(messages), of.Framer(), []
    for size in [*cuts, len(stream)]:
        received += list(framer.feed(stream[:size]))
        stream = stream[size:]
    assert [(message.xid, message.body) for message in received] == list(enumerate(bodies))


@pytest.mark.parametrize("data", ["0500000700000001", "040200080000000b", "474554202f204854"])
def test_a_message_that_is_too_short_or_of_another_version_is_refused(data: str) -> None:
    with pytest.raises(Malformed):
        list(of.Framer().feed(bytes.fromhex(data)))
