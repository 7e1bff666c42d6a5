# SPDX-License-Identifier: Apache-2.0
"""OVSDB's bytes: where messages end, what rows are, and bytes that are almost valid."""

from __future__ import annotations

import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.wire import ovsdb
from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb import Codec, Framer, RowId, named
from tests.store.database import Part, Thing

_texts = st.text(st.sampled_from('ab"\\{}[]:,é\u2028 \n'), max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=12,
)
_messages = st.dictionaries(_texts, _json, max_size=4)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.lists(_messages, max_size=5),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from(("", " ", "\n\t")),
    st.booleans(),
)
@settings(deadline=None)
def test_messages_come_out_whole_however_the_stream_is_cut(
    messages: list[dict[str, object]], cuts: list[int], gap: str, ascii_only: bool
) -> None:
    encoded = [json.dumps(one, ensure_ascii=ascii_only).encode() for one in messages]
    framer, found = Framer(), []
    for piece in _pieces(gap.encode().join(encoded), cuts):
        found += list(framer.feed(piece))
    assert found == encoded


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
@settings(deadline=None)
def test_any_bytes_are_messages_or_malformed(data: bytes, cuts: list[int]) -> None:
    framer = Framer()
    try:
        for piece in _pieces(data, cuts):
            for message in framer.feed(piece):
                ovsdb.message(message)
    except Malformed:
        return


def test_a_message_longer_than_the_limit_is_malformed() -> None:
    framer = Framer(limit_bytes=100)
    with pytest.raises(Malformed, match="100 bytes"):
        list(framer.feed(b'{"a":"' + b"x" * 200))


ROW_ID = RowId("01234567-89ab-cdef-0123-456789abcdef")

_things = st.builds(
    Thing,
    name=_texts,
    size=st.integers(-(2**63), 2**63 - 1),
    weight=st.floats(allow_nan=False, allow_infinity=False),
    good=st.booleans(),
    note=st.none() | _texts,
    words=st.frozensets(_texts, max_size=3).map(lambda found: tuple(sorted(found))),
    numbers=st.frozensets(st.integers(-9, 9), max_size=3),
    labels=st.dictionaries(_texts, _texts, max_size=3),
    owner=st.none() | st.just(ROW_ID),
    parts=st.frozensets(st.just(ROW_ID), max_size=1),
)

_codec = Codec(Thing)
_updates = ovsdb.updates_decoder([_codec])


@given(_things)
@settings(deadline=None)
def test_a_row_comes_back_as_it_was_written(thing: Thing) -> None:
    row = ovsdb.insert("Thing", thing)["row"]
    raw = msgspec.json.encode({"Thing": {ROW_ID: {"insert": row}}})
    assert _codec.decode(_updates.plain(raw).Thing[ROW_ID].insert) == thing


@given(_json)
@settings(deadline=None)
def test_whatever_stands_in_an_update_is_read_or_malformed(value: object) -> None:
    for raw in (
        {"Thing": {ROW_ID: {"insert": value}}},
        {"Thing": {ROW_ID: {"modify": {"words": value, "labels": value, "owner": value}}}},
        {"Thing": value},
        value,
    ):
        try:
            tables = _updates.plain(msgspec.json.encode(raw))
            for what in (tables.Thing or {}).values():
                if what.insert is not None:
                    _codec.decode(what.insert)
                if what.modify is not None:
                    _codec.patch(Thing(name="x"), what.modify)
        except Malformed:
            continue


@pytest.mark.parametrize(
    ("before", "modify", "after"),
    [
        (Thing(name="a"), {"name": "b", "good": True}, Thing(name="b", good=True)),
        (Thing(name="a", note="x"), {"note": ["set", []]}, Thing(name="a")),
        (Thing(name="a"), {"note": "y"}, Thing(name="a", note="y")),
        # Sets: what is in the difference changes sides.
        (
            Thing(name="a", words=("p", "q")),
            {"words": ["set", ["q", "r"]]},
            Thing(name="a", words=("p", "r")),
        ),
        (Thing(name="a", words=("p",)), {"words": "p"}, Thing(name="a")),
        # Maps: a pair that was there goes, any other is new.
        (
            Thing(name="a", labels={"k": "1", "l": "2"}),
            {"labels": ["map", [["k", "1"], ["l", "3"], ["m", "4"]]]},
            Thing(name="a", labels={"l": "3", "m": "4"}),
        ),
    ],
)
def test_a_difference_is_applied_as_ovsdb_server_means_it(
    before: Thing, modify: dict[str, object], after: Thing
) -> None:
    raw = msgspec.json.encode({"Thing": {ROW_ID: {"modify": modify}}})
    assert _codec.patch(before, _updates.plain(raw).Thing[ROW_ID].modify) == after


def test_columns_that_a_server_lacks_have_their_defaults() -> None:
    codec = Codec(Thing, frozenset({"name", "size"}))
    updates = ovsdb.updates_decoder([codec])
    raw = msgspec.json.encode({"Thing": {ROW_ID: {"insert": {"name": "a", "size": 4}}}})
    assert codec.columns == ("name", "size")
    assert codec.decode(updates.plain(raw).Thing[ROW_ID].insert) == Thing(name="a", size=4)


def test_rows_of_one_transaction_are_named() -> None:
    operation = ovsdb.insert("Thing", Thing(name="a", parts=frozenset([named("p1")])), "t1")
    assert operation["uuid-name"] == "t1"
    row = operation["row"]
    assert isinstance(row, dict)
    assert row["parts"] == ["set", [["named-uuid", "p1"]]]
    assert msgspec.json.decode(msgspec.json.encode(operation)) == operation


def test_what_is_no_column_type_is_refused_at_once() -> None:
    class Wrong(msgspec.Struct):
        TABLE = "Wrong"
        name: bytes

    with pytest.raises(TypeError):
        Codec(Wrong)
    with pytest.raises(TypeError):
        ovsdb.table_name(msgspec.defstruct("Nameless", []))
    assert ovsdb.table_name(Part) == "Part"


@given(_json)
def test_results_of_a_transaction_are_read_or_malformed(value: object) -> None:
    try:
        found = ovsdb.operation_error(ovsdb.raw_list(msgspec.json.encode(value)))
    except Malformed:
        assert not isinstance(value, list)
        return
    assert found is None or isinstance(found.error, str)
