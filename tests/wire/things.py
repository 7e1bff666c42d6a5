# SPDX-License-Identifier: Apache-2.0
"""A table with a column of every type, and what a server says of its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

from isthmus.wire import ovsdb
from isthmus.wire.ovsdb import Codec, RowId
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


def row_json(row: Thing) -> dict[str, Any]:
    """With every column."""
    operation = ovsdb.update("Thing", ovsdb.NO_ROW, row, Codec(Thing).columns)
    found = json.loads(json.dumps(operation["row"]))
    assert isinstance(found, dict)
    return found
