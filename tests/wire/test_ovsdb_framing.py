# SPDX-License-Identifier: Apache-2.0
"""Where JSON-RPC messages end: compared with a scanner that looks at every byte, and with json."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb_framing import Framer

TRICKY = st.text(st.sampled_from('{}"\\[]:, \nabü\u2028'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TRICKY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=12,
)
MESSAGES = st.dictionaries(TRICKY, VALUES, max_size=4)
GAPS = st.sampled_from(["", " ", "\n", "\r\n\t "])
CHUNK_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """In pieces of these sizes, over and over."""
    pieces, start, size = [], 0, itertools.cycle(sizes)
    while start < len(data):
        end = start + next(size)
        pieces.append(data[start:end])
        start = end
    return pieces


def messages_of(pieces: list[bytes], limit_bytes: int = 1 << 20) -> list[bytes] | None:
    """None for what is malformed."""
    framer = Framer(limit_bytes)
    try:
        return [message for piece in pieces for message in framer.feed(piece)]
    except Malformed:
        return None


def by_every_byte(data: bytes) -> list[bytes] | None:
    """The same, in the simplest way."""
    found: list[bytes] = []
    depth = start = 0
    in_string = escaped = False
    for index, byte in enumerate(data):
        if depth == 0:
            if byte in b" \t\r\n":
                continue
            if byte != ord("{"):
                return None
            start, depth = index, 1
        elif escaped:
            escaped = False
            # Outside a string only pairs of a quote or a backslash are taken as escaped.
            if not in_string and byte not in b'"\\':
                depth += {ord("{"): 1, ord("}"): -1}.get(byte, 0)
        elif byte == ord("\\"):
            escaped = True
        elif byte == ord('"'):
            in_string = not in_string
        elif not in_string:
            depth += {ord("{"): 1, ord("}"): -1}.get(byte, 0)
        if depth == 0:
            found.append(data[start : index + 1])
    return found


@given(st.lists(st.tuples(MESSAGES, GAPS), max_size=5), CHUNK_SIZES, st.booleans())
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(
    sent: list[tuple[dict[str, object], str]], sizes: list[int], ascii_only: bool
) -> None:
    texts = [json.dumps(message, ensure_ascii=ascii_only).encode() for message, _ in sent]
    stream = b"".join(text + gap.encode() for text, (_, gap) in zip(texts, sent, strict=True))
    assert messages_of(cut(stream, sizes)) == texts
    assert messages_of([stream]) == texts


@given(st.text(st.sampled_from('{}"\\ a['), max_size=60), CHUNK_SIZES)
@example('{"\\', [1])
@example('{\\{}}{"}"}', [3])
def test_garbage_is_cut_in_the_same_places_however_it_arrives(text: str, sizes: list[int]) -> None:
    stream = b"{" + text.encode()
    expected = by_every_byte(stream)
    if expected is None:
        assert messages_of(cut(stream, sizes)) is None
        assert messages_of([stream]) is None
    elif not stream.endswith(b"\\"):  # half an escape may be malformed sooner
        assert messages_of(cut(stream, sizes)) == messages_of([stream]) == expected


@given(st.binary(max_size=200), CHUNK_SIZES)
def test_no_bytes_raise_anything_but_malformed(data: bytes, sizes: list[int]) -> None:
    messages_of(cut(data, sizes))
    messages_of([b"{", *cut(data, sizes)])


def test_a_message_longer_than_the_limit_is_refused_before_its_end() -> None:
    assert messages_of([b'{"a":"', b"x" * 50], limit_bytes=64) == []
    assert messages_of([b'{"a":"', b"x" * 60], limit_bytes=64) is None
    assert messages_of([b'{"a":"' + b"x" * 56 + b'"}'], limit_bytes=64) is not None
    assert messages_of([b'{"a":"' + b"x" * 57 + b'"}'], limit_bytes=64) is None


def test_the_limit_is_for_one_message_and_not_for_the_stream() -> None:
    message = b'{"a":"' + b"x" * 50 + b'"}'
    assert messages_of([message * 10], limit_bytes=64) == [message] * 10


def test_nesting_that_is_deeper_than_any_data_base_s_is_still_cut_right() -> None:
    deep = b'{"a":' * 500 + b"1" + b"}" * 500
    assert messages_of([deep + b"{}"]) == [deep, b"{}"]
    assert messages_of(cut(deep + b"{}", [7])) == [deep, b"{}"]


@pytest.mark.parametrize("begin", [b"[]", b"null", b'"{}"', b"}", b"\xff", b"\\{}"])
def test_what_begins_like_no_object_is_malformed(begin: bytes) -> None:
    assert messages_of([begin]) is None
    assert messages_of([b"{}" + begin]) is None
