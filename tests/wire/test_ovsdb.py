# SPDX-License-Identifier: Apache-2.0
"""OVSDB operations and messages as JSON (RFC 7047 sections 4 and 5.2)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import Invalid
from isthmus.wire import ovsdb
from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb import Codec, named
from tests.wire.things import FULL, FULL_JSON, A, B, Thing, row_json

# -- operations ------------------------------------------------------------------------------------


def test_an_insert_has_all_columns_and_the_name_of_the_row() -> None:
    assert ovsdb.insert("Thing", FULL, "new_thing") == {
        "op": "insert",
        "table": "Thing",
        "row": {**FULL_JSON, "owner": ["uuid", B]},
        "uuid-name": "new_thing",
    }


def test_a_row_of_the_same_transaction_is_named_and_others_go_by_uuid() -> None:
    row = Thing(name="", holder=named("x"), owner=named("y"), friends=frozenset({named("z")}))
    written = row_json(row)
    assert written["holder"] == ["named-uuid", "x"]
    assert written["owner"] == ["named-uuid", "y"]
    assert written["friends"] == ["set", [["named-uuid", "z"]]]


def test_an_update_has_the_named_columns_only() -> None:
    assert ovsdb.update("Thing", A, FULL, ["count", "nick"]) == {
        "op": "update",
        "table": "Thing",
        "where": [["_uuid", "==", ["uuid", A]]],
        "row": {"count": -5, "nick": "nn"},
    }


def test_a_wait_fails_at_once_unless_the_row_is_as_given() -> None:
    assert ovsdb.wait("Thing", A, FULL, ["count"]) == {
        "op": "wait",
        "timeout": 0,
        "table": "Thing",
        "where": [["_uuid", "==", ["uuid", A]]],
        "columns": ["count"],
        "until": "==",
        "rows": [{"count": -5}],
    }


def test_a_mutation_of_a_set_of_references_names_rows() -> None:
    operation = ovsdb.mutate(
        "Thing", A, [("friends", "insert", frozenset({B, named("n")})), ("count", "+=", 2)]
    )
    assert operation["mutations"] == [
        ["friends", "insert", ["set", [["uuid", B], ["named-uuid", "n"]]]],
        ["count", "+=", 2],
    ]


# -- messages --------------------------------------------------------------------------------------

READERS = [
    ovsdb.message,
    ovsdb.raw_list,
    ovsdb.columns_by_table,
    ovsdb.updates_decoder([Codec(Thing)]).initial,
    ovsdb.updates_decoder([Codec(Thing)]).update2,
    ovsdb.updates_decoder([Codec(Thing)]).update3,
    ovsdb.updates_decoder([Codec(Thing)]).plain,
]

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "method", "params", "result", "error", "Thing", "tables", A]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON_VALUES)
def test_json_of_another_form_is_malformed_or_read(value: object) -> None:
    for read in READERS:
        try:
            read(json.dumps(value).encode())
        except Malformed:
            continue


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b'{"id":',
        b'{"id":"\xff"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"id":' + b"9" * 5000 + b"}",
        b"[true," + b"9" * 5000 + b",{}]",
        b'{"id":1e999}',
        b'{"params":[' + b"-" + b"9" * 400 + b"]}",
    ],
)
def test_bytes_that_are_almost_json_are_malformed_or_read(data: bytes) -> None:
    for read in READERS:
        try:
            read(data)
        except Malformed:
            continue


def test_an_id_that_is_no_scalar_is_malformed() -> None:
    """It could not be looked up among the requests."""
    for bad in (b'{"id":[1],"result":{}}', b'{"id":{},"result":{}}'):
        with pytest.raises(Malformed):
            ovsdb.message(bad)


def test_the_first_error_of_a_transaction_is_found_with_its_place() -> None:
    results = [{}, {"count": 1}, {"error": "timed out", "details": "d"}, None]
    assert ovsdb.operation_error(results) == (2, "timed out", "d")
    assert ovsdb.operation_error([{"uuid": ["uuid", A]}, {}]) is None


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "\\\x00", "\ud800"])
def test_text_for_which_a_server_would_hang_up_is_not_sent(text: str) -> None:
    with pytest.raises(Invalid):
        ovsdb.request("transact", [ovsdb.insert("Thing", Thing(name=text))], 1)


def test_text_that_only_looks_like_a_nul_is_sent() -> None:
    data = ovsdb.request("transact", ["\\u0000", '{"a":"\\u0000"}', "\x01"], 1)
    assert json.loads(data)["params"] == ["\\u0000", '{"a":"\\u0000"}', "\x01"]
