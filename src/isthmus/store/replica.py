# SPDX-License-Identifier: Apache-2.0
"""A copy of some tables of a data base, kept up to date by the updates of one monitor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from isthmus.wire.malformed import Malformed
from isthmus.wire.ovsdb import Buffer, Codec, RowId, updates_decoder

Row = TypeVar("Row", bound=msgspec.Struct)


class Change(NamedTuple):
    """What became of one row; None is absent."""

    row_type: type
    row_id: RowId
    old: msgspec.Struct | None
    new: msgspec.Struct | None


class Replica:
    """Rows by row type. A consistent picture after every call."""

    def __init__(self, row_types: Sequence[type[msgspec.Struct]]) -> None:
        self.rows: dict[type, dict[RowId, msgspec.Struct]] = {kind: {} for kind in row_types}
        self.fit({})

    def fit(self, schema: Mapping[str, Iterable[str]]) -> None:
        """Learn which columns of which tables the server has; before any update."""
        self._codecs: list[Codec[Any]] = [
            Codec(kind, frozenset(schema[table]) & _columns(kind))
            for kind in self.rows
            if (table := kind.TABLE) in schema  # type: ignore[attr-defined]  # the declaration's rule
        ]
        self._updates = updates_decoder(self._codecs)

    @property
    def monitored(self) -> list[Codec[Any]]:
        """What to ask the server for."""
        return self._codecs

    def load(self, raw: Buffer) -> tuple[bool, str, list[Change]]:
        """Take in the answer to ``monitor_cond_since``: whether the server could resume where we
        were, its last transaction, and what changed. Raises Malformed."""
        resumed, transaction, tables = self._updates.initial(raw)
        return resumed, transaction, self._apply(tables) if resumed else self._replace(tables)

    def load_plain(self, raw: Buffer) -> list[Change]:
        """Take in the answer to ``monitor_cond``. Raises Malformed."""
        return self._replace(self._updates.plain(raw))

    def update3(self, raw: Buffer) -> tuple[str, list[Change]]:
        """Take in ``update3``: the transaction, and what changed. Raises Malformed."""
        _, transaction, tables = self._updates.update3(raw)
        return transaction, self._apply(tables)

    def update2(self, raw: Buffer) -> list[Change]:
        """Take in ``update2``. Raises Malformed."""
        return self._apply(self._updates.update2(raw)[1])

    def _replace(self, tables: Any) -> list[Change]:
        """A whole picture: what was known and is not in it has gone."""
        changes: list[Change] = []
        picture = {codec.row_type: self._whole(codec, tables) for codec in self._codecs}
        for kind, old in self.rows.items():
            new = picture.get(kind, {})
            changes += [Change(kind, i, row, None) for i, row in old.items() if i not in new]
            for row_id, row in new.items():
                before = old.get(row_id)
                if before != row:
                    changes.append(Change(kind, row_id, before, row))
            old.clear()  # the same mapping for whoever holds it
            old.update(new)
        return changes

    def _whole(self, codec: Codec[Any], tables: Any) -> dict[RowId, msgspec.Struct]:
        decode, found = codec.decode, {}
        for row_id, what in (getattr(tables, codec.table) or {}).items():
            whole = what.initial or what.insert
            if whole is None:
                raise Malformed(f"a first picture of {codec.table} that lacks a row's columns")
            found[RowId(row_id)] = decode(whole)
        return found

    def _apply(self, tables: Any) -> list[Change]:
        changes: list[Change] = []
        for codec in self._codecs:
            rows = self.rows[codec.row_type]
            for row_id, what in (getattr(tables, codec.table) or {}).items():
                old = rows.get(row_id)
                new = _after(codec, RowId(row_id), old, what)
                if old != new:
                    changes.append(Change(codec.row_type, RowId(row_id), old, new))
        # All could be read; half an update would make every later difference wrong.
        for kind, row_id, _, new in changes:
            if new is None:
                del self.rows[kind][row_id]
            else:
                self.rows[kind][row_id] = new
        return changes


def _after(
    codec: Codec[Any], row_id: RowId, old: msgspec.Struct | None, what: Any
) -> msgspec.Struct | None:
    """What a row is after one ``<row-update2>``; None is absent."""
    whole = what.insert or what.initial
    if whole is not None:
        new: msgspec.Struct = codec.decode(whole)
        return new
    if what.modify is None:
        return None
    if old is None:
        raise Malformed(f"a change of {codec.table} row {row_id}, which is not known")
    new = codec.patch(old, what.modify)
    return new


def table(replica: Replica, row_type: type[Row]) -> Mapping[RowId, Row]:
    """The rows of one type."""
    return cast("Mapping[RowId, Row]", replica.rows[row_type])


def _columns(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))
