# SPDX-License-Identifier: Apache-2.0
"""Rows and operations of OVSDB on the wire (RFC 7047 section 5.1, ovsdb-server(7) section 4.1.14),
against hand-written JSON and a second reading of the rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import Invalid
from isthmus.wire import ovsdb
from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb import Codec, RowId, named
from isthmus.wire.ovsdb_columns import NO_ROW

A = RowId("aaaaaaaa-0000-4000-8000-000000000001")
B = RowId("bbbbbbbb-0000-4000-8000-000000000002")
C = RowId("cccccccc-0000-4000-8000-000000000003")
TRANSACTION = "dddddddd-0000-4000-8000-000000000004"


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """Every type of column; defaults that differ from those of OVSDB."""

    TABLE: ClassVar[str] = "Thing"
    name: str
    count: int = 7
    ratio: float = 0.5
    flag: bool = True
    holder: RowId = NO_ROW
    nick: str | None = "nobody"
    number: int | None = 3
    owner: RowId | None = None
    tags: tuple[str, ...] = ("default",)
    numbers: tuple[int, ...] = ()
    friends: frozenset[RowId] = frozenset()
    options: dict[str, str] = {}


EMPTY = Thing(
    name="", count=0, ratio=0.0, flag=False, nick=None, number=None, tags=(), holder=NO_ROW
)
"""What OVSDB makes of a row without a column (RFC 7047 section 5.2.1)."""

FULL_JSON: dict[str, Any] = {
    "name": "n",
    "count": -5,
    "ratio": 2.5,
    "flag": True,
    "holder": ["uuid", A],
    "nick": "nn",
    "number": 9,
    "owner": ["uuid", B],
    "tags": ["set", ["x", "y"]],
    "numbers": ["set", [1, 2, 30]],
    "friends": ["set", [["uuid", A], ["uuid", B]]],
    "options": ["map", [["a", "1"], ["b", "2"]]],
}
FULL = Thing(
    name="n",
    count=-5,
    ratio=2.5,
    flag=True,
    holder=A,
    nick="nn",
    number=9,
    owner=B,
    tags=("x", "y"),
    numbers=(1, 2, 30),
    friends=frozenset({A, B}),
    options={"a": "1", "b": "2"},
)

R = TypeVar("R", bound=msgspec.Struct)


def updates_of(codec: Codec[Any], rows: Mapping[str, object]) -> Mapping[str, Any]:
    """What a server's update of one table is decoded as."""
    params = json.dumps(["rows", TRANSACTION, {codec.table: rows}]).encode()
    _, transaction, tables = ovsdb.updates_decoder([codec]).update3(params)
    assert transaction == TRANSACTION
    found = getattr(tables, codec.table)
    assert isinstance(found, dict)
    return found


def decoded(codec: Codec[R], row: Mapping[str, object]) -> R:
    return codec.decode(updates_of(codec, {A: {"insert": row}})[A].insert)


def patched(row: Thing, difference: Mapping[str, object]) -> Thing:
    codec = Codec(Thing)
    return codec.patch(row, updates_of(codec, {A: {"modify": difference}})[A].modify)


def test_every_type_of_column_is_read() -> None:
    assert decoded(Codec(Thing), FULL_JSON) == FULL


def test_a_column_that_is_omitted_has_the_default_of_its_type_and_not_of_the_struct() -> None:
    assert decoded(Codec(Thing), {}) == EMPTY


def test_a_column_that_the_server_lacks_has_the_default_of_the_struct() -> None:
    codec = Codec(Thing, frozenset({"count"}))
    assert codec.columns == ("count",)
    assert decoded(codec, {"count": 1}) == Thing(name="", count=1)
    assert decoded(codec, {}) == Thing(name="", count=0)


def test_a_set_of_one_is_read_with_and_without_brackets() -> None:
    bare = {"tags": "x", "numbers": 4, "friends": ["uuid", A], "nick": ["set", ["q"]]}
    brackets = {
        "tags": ["set", ["x"]],
        "numbers": ["set", [4]],
        "friends": ["set", [["uuid", A]]],
        "nick": "q",
    }
    assert decoded(Codec(Thing), bare) == decoded(Codec(Thing), brackets)
    row = decoded(Codec(Thing), bare)
    assert (row.tags, row.numbers, row.friends, row.nick) == (("x",), (4,), frozenset({A}), "q")


def test_sets_are_sorted_whatever_the_order_on_the_wire() -> None:
    row = decoded(Codec(Thing), {"tags": ["set", ["b", "a"]], "numbers": ["set", [10, 9]]})
    assert (row.tags, row.numbers) == (("a", "b"), (9, 10))


def test_a_real_may_be_written_as_an_integer() -> None:
    assert decoded(Codec(Thing), {"ratio": 3}).ratio == 3.0


def test_an_empty_optional_is_none() -> None:
    row = decoded(Codec(Thing), {"nick": ["set", []], "owner": ["set", []]})
    assert row.nick is None
    assert row.owner is None


def test_only_what_has_changed_is_replaced() -> None:
    assert patched(FULL, {"count": 1, "nick": ["set", []], "owner": ["uuid", C]}) == (
        msgspec.structs.replace(FULL, count=1, nick=None, owner=C)
    )


def test_a_scalar_can_change_to_its_default() -> None:
    assert patched(FULL, {"name": "", "flag": False, "holder": ["uuid", NO_ROW]}) == (
        msgspec.structs.replace(FULL, name="", flag=False, holder=NO_ROW)
    )


def test_the_difference_of_sets_takes_away_what_is_there_and_adds_what_is_not() -> None:
    row = patched(
        FULL,
        {"tags": "x", "numbers": ["set", [2, 5]], "friends": ["set", [["uuid", A], ["uuid", C]]]},
    )
    assert row.tags == ("y",)
    assert row.numbers == (1, 5, 30)
    assert row.friends == {B, C}


def test_the_difference_of_maps_removes_equal_pairs_and_replaces_others() -> None:
    row = patched(FULL, {"options": ["map", [["a", "1"], ["b", "3"], ["c", "4"]]]})
    assert row.options == {"b": "3", "c": "4"}
    assert FULL.options == {"a": "1", "b": "2"}


WORDS = st.text(max_size=3)
THINGS = st.builds(
    Thing,
    name=WORDS,
    count=st.integers(-(2**63), 2**63 - 1),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    holder=st.sampled_from([NO_ROW, A, B]),
    nick=st.none() | WORDS,
    number=st.none() | st.integers(-9, 9),
    owner=st.none() | st.sampled_from([A, B]),
    tags=st.sets(WORDS, max_size=4).map(lambda found: tuple(sorted(found))),
    numbers=st.sets(st.integers(-9, 9), max_size=4).map(lambda found: tuple(sorted(found))),
    friends=st.frozensets(st.sampled_from([A, B, C])),
    options=st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
)


def difference(old: Thing, new: Thing) -> dict[str, Any]:
    """As ovsdb-server(7) section 4.1.14 says it, from the JSON of two rows."""
    before, after = row_json(old), row_json(new)
    found: dict[str, Any] = {}
    for column in before:
        if before[column] == after[column]:
            continue
        found[column] = after[column]
        if column in ("tags", "numbers", "friends"):
            a, b = before[column][1], after[column][1]
            only = [x for x in a if x not in b] + [x for x in b if x not in a]
            found[column] = only[0] if len(only) == 1 else ["set", only]
        elif column == "options":
            a, b = dict(before[column][1]), dict(after[column][1])
            gone = [[k, v] for k, v in a.items() if k not in b]
            found[column] = ["map", gone + [[k, v] for k, v in b.items() if a.get(k) != v]]
    return found


def row_json(row: Thing) -> dict[str, Any]:
    """With every column."""
    operation = ovsdb.update("Thing", ovsdb.NO_ROW, row, Codec(Thing).columns)
    found = json.loads(json.dumps(operation["row"]))
    assert isinstance(found, dict)
    return found


@given(THINGS)
def test_what_is_written_is_read_back(row: Thing) -> None:
    assert decoded(Codec(Thing), row_json(row)) == row
    inserted = json.loads(json.dumps(ovsdb.insert("Thing", row)["row"]))
    assert decoded(Codec(Thing), inserted) == row


@given(THINGS, THINGS)
def test_a_difference_makes_the_new_row_of_the_old(old: Thing, new: Thing) -> None:
    assert patched(old, difference(old, new)) == new


@pytest.mark.parametrize(
    "bad",
    [
        {"name": 1},
        {"count": "1"},
        {"count": 1.5},
        {"flag": 1},
        {"holder": A},
        {"holder": ["named-uuid", "x"]},
        {"tags": ["bag", ["x"]]},
        {"tags": ["set", [1]]},
        {"tags": None},
        {"numbers": ["set", "12"]},
        {"friends": ["set", [A]]},
        {"options": ["map", ["a"]]},
        {"options": {"a": "1"}},
    ],
)
@pytest.mark.parametrize("kind", ["initial", "insert", "modify"])
def test_a_column_of_another_type_is_malformed(bad: dict[str, object], kind: str) -> None:
    if kind != "modify" and bad == {"tags": None}:
        return  # an omitted column is None there
    with pytest.raises(Malformed):
        updates_of(Codec(Thing), {A: {kind: bad}})


def test_a_type_that_no_column_has_is_refused_at_once() -> None:
    class Odd(msgspec.Struct):
        TABLE: ClassVar[str] = "Odd"
        nested: tuple[tuple[str, ...], ...] = ()

    class Homeless(msgspec.Struct):
        name: str = ""

    with pytest.raises(TypeError):
        Codec(Odd)
    with pytest.raises(TypeError):
        Codec(Homeless)


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
