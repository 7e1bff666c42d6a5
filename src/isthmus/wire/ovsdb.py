# SPDX-License-Identifier: Apache-2.0
"""OVSDB (RFC 7047, and ovsdb-server(7) where it goes further), without I/O: messages, operations
and updates. Rows are structs (`ovsdb_rows`); bytes are cut into messages by `Framer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from isthmus.errors import Invalid
from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb_columns import NO_ROW, NamedRow, RowId, reference
from isthmus.wire.ovsdb_framing import Framer
from isthmus.wire.ovsdb_rows import Codec, shapes, table_name, written

__all__ = [
    "NO_ROW",
    "Buffer",
    "Codec",
    "Framer",
    "Message",
    "Operation",
    "RowId",
    "delete",
    "insert",
    "message",
    "mutate",
    "named",
    "notification",
    "operation_error",
    "request",
    "response",
    "shapes",
    "table_name",
    "update",
    "updates_decoder",
    "wait",
]

Operation = dict[str, object]
"""One operation of a transaction, ready to be encoded (RFC 7047 section 5.2)."""

Buffer = bytes | memoryview
"""JSON to be decoded; a view spares the copy of a first picture of tens of megabytes."""

Mutation = tuple[str, str, object]
"""Column, mutator, value."""


def named(name: str) -> RowId:
    """Stands for the row that the same transaction inserts under that name, which is letters,
    digits and underscores."""
    return RowId(NamedRow(name))


# -- operations ------------------------------------------------------------------------------------


def insert(table: str, row: msgspec.Struct, uuid_name: str | None = None) -> Operation:
    """RFC 7047 section 5.2.1."""
    operation: Operation = {"op": "insert", "table": table, "row": written(row)}
    if uuid_name is not None:
        operation["uuid-name"] = str(uuid_name)
    return operation


def update(table: str, row_id: RowId, row: msgspec.Struct, columns: Sequence[str]) -> Operation:
    """RFC 7047 section 5.2.3: set `columns` to what they are in `row`."""
    return {"op": "update", "table": table, "where": _where(row_id), "row": written(row, columns)}


def delete(table: str, row_id: RowId) -> Operation:
    """RFC 7047 section 5.2.5."""
    return {"op": "delete", "table": table, "where": _where(row_id)}


def mutate(table: str, row_id: RowId, mutations: Iterable[Mutation]) -> Operation:
    """RFC 7047 section 5.2.4. Values are numbers, text, frozensets of RowIds, or maps of text to
    text."""
    shown = [[column, mutator, _mutation_value(value)] for column, mutator, value in mutations]
    return {"op": "mutate", "table": table, "where": _where(row_id), "mutations": shown}


def wait(table: str, row_id: RowId, row: msgspec.Struct, columns: Sequence[str]) -> Operation:
    """RFC 7047 section 5.2.6: the row must exist, with `columns` as in `row`, or the transaction
    fails at once."""
    return {
        "op": "wait",
        "timeout": 0,
        "table": table,
        "where": _where(row_id),
        "columns": list(columns),
        "until": "==",
        "rows": [written(row, columns)],
    }


def _where(row_id: RowId) -> list[object]:
    # Any other condition makes ovsdb-server look at every row of the table.
    return [["_uuid", "==", reference(row_id)]]


def _mutation_value(value: object) -> object:
    if isinstance(value, frozenset):
        return ["set", [reference(row_id) for row_id in sorted(value)]]
    if isinstance(value, dict):
        return ["map", [list(pair) for pair in sorted(value.items())]]
    return value


# -- messages --------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True):
    """A JSON-RPC 1.0 message (RFC 7047 section 4); `params` and `result` are decoded by who knows
    what they are."""

    method: str | None = None
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: object = None
    id: str | int | float | bool | None = None


_MESSAGE = msgspec.json.Decoder(Message)
_ENCODER = msgspec.json.Encoder()
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def message(data: bytes) -> Message:
    """Read one. Raises Malformed."""
    try:
        return _MESSAGE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no JSON-RPC message: {error}") from error


def request(method: str, params: object, number: int) -> bytes:
    """Raises Invalid for text with a lone surrogate or a NUL: ovsdb-server ends the connection of
    who sends one."""
    try:
        data = _ENCODER.encode({"method": method, "params": params, "id": number})
    except UnicodeEncodeError as error:
        raise Invalid(f"text that is not Unicode cannot be stored: {error}") from error
    if b"\\u0000" in data and _NUL.search(data):
        raise Invalid("text with a NUL character cannot be stored")
    return data


def notification(method: str, params: object) -> bytes:
    return _ENCODER.encode({"method": method, "params": params, "id": None})


def response(result: object, number: object) -> bytes:
    """What we answer to the server's own requests: echo."""
    return _ENCODER.encode({"result": result, "error": None, "id": number})


# -- transactions and updates ----------------------------------------------------------------------


class OperationError(NamedTuple):
    """Why a transaction failed. `number` is the operation's, or their number where the fault showed
    when all were done (RFC 7047 section 4.1.3)."""

    number: int
    error: str
    details: str


def operation_error(results: object) -> OperationError | None:
    """The first error among the results of a transaction. Raises Malformed."""
    if not isinstance(results, list):
        raise Malformed("the result of a transaction is no list")
    for number, result in enumerate(results):
        if isinstance(result, Mapping) and isinstance(result.get("error"), str):
            return OperationError(number, result["error"], str(result.get("details", "")))
    return None


class Updates:
    """Decodes ``<table-updates2>`` (ovsdb-server(7) section 4.1.13) of some tables: checked JSON to
    structs whose fields are tables, each None or row id → `Codec.update_type`."""

    def __init__(self, codecs: Iterable[Codec[Any]]) -> None:
        fields = [
            (codec.table, dict[str, codec.update_type] | None, None)  # type: ignore[name-defined]  # a type made at run time
            for codec in codecs
        ]
        self._tables = msgspec.defstruct("TableUpdates", fields, gc=False)
        self._initial = msgspec.json.Decoder(tuple[bool, str, self._tables])  # type: ignore[name-defined]
        self._update3 = msgspec.json.Decoder(tuple[object, str, self._tables])  # type: ignore[name-defined]
        self._update2 = msgspec.json.Decoder(tuple[object, self._tables])  # type: ignore[name-defined]
        self._plain = msgspec.json.Decoder(self._tables)

    def initial(self, raw: Buffer) -> tuple[bool, str, Any]:
        """Of ``monitor_cond_since``: found, last transaction, updates. Raises Malformed."""
        return _decoded(self._initial, raw)  # type: ignore[no-any-return]

    def update3(self, raw: Buffer) -> tuple[object, str, Any]:
        """Parameters of ``update3``: the monitor, the last transaction, updates. Raises
        Malformed."""
        return _decoded(self._update3, raw)  # type: ignore[no-any-return]

    def update2(self, raw: Buffer) -> tuple[object, Any]:
        """Parameters of ``update2``. Raises Malformed."""
        return _decoded(self._update2, raw)  # type: ignore[no-any-return]

    def plain(self, raw: Buffer) -> Any:
        """The result of ``monitor_cond``. Raises Malformed."""
        return _decoded(self._plain, raw)


def updates_decoder(codecs: Iterable[Codec[Any]]) -> Updates:
    return Updates(codecs)


def _decoded(decoder: Any, raw: Buffer) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"an update that cannot be read: {error}") from error


def raw_list(raw: bytes | msgspec.Raw) -> list[object]:
    """A JSON list that came unread. Raises Malformed."""
    try:
        return msgspec.json.decode(raw, type=list[object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"no list: {error}") from error


def rpc_error(error: object) -> OperationError:
    """The error of a whole request."""
    if isinstance(error, Mapping):
        return OperationError(0, str(error.get("error", error)), str(error.get("details", "")))
    return OperationError(0, str(error), "")


def columns_by_table(schema: bytes | msgspec.Raw) -> Mapping[str, list[str]]:
    """The columns of each table of a schema (RFC 7047 section 3.2). Raises Malformed."""
    try:
        tables = msgspec.json.decode(schema, type=_Schema).tables
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a schema that cannot be read: {error}") from error
    return {name: list(found.columns) for name, found in tables.items()}


def schema_version(schema: bytes | msgspec.Raw) -> str:
    """Of a schema; empty where it has none, as RFC 7047 section 3.2 allowed. Raises Malformed."""
    try:
        return msgspec.json.decode(schema, type=_Schema).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"a schema that cannot be read: {error}") from error


class _Table(msgspec.Struct):
    columns: dict[str, object]


class _Schema(msgspec.Struct):
    tables: dict[str, _Table]
    version: str = ""
