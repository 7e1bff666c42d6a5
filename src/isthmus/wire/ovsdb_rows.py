# SPDX-License-Identifier: Apache-2.0
"""Rows of OVSDB tables as structs.

A row type is a msgspec struct with a class variable ``TABLE``. Its fields are columns:

========================  ==========================================
``str int bool float``    a scalar
``RowId``                 a reference: the UUID of a row
``X | None``              a set of at most one
``tuple[X, ...]``         a set of ``str`` or ``int``; sorted
``frozenset[X]``          a set
``dict[K, V]``            a map
a ``StrEnum``             a string, or in ``tuple[X, ...]`` a set of strings: a text that is no
                          member stays as it is
what has a `TextForm`     likewise
========================  ==========================================

What depends on the type alone is prepared once, in its `Codec`. A message is decoded by msgspec
into structs of what is on the wire, checked on the way; `Codec` makes rows of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from isthmus.wire.ovsdb_columns import ColumnType, column_type
from isthmus.wire.ovsdb_texts import Shape

R = TypeVar("R", bound=msgspec.Struct)


class Codec(Generic[R]):
    """Of one row type, as a server has it that knows `columns` (None: all of them).

    A field whose column the server lacks has the default of the struct, or where it has none, the
    default of the column's type.
    """

    def __init__(self, row_type: type[R], known: frozenset[str] | None = None) -> None:
        self.row_type = row_type
        self.table = table_name(row_type)
        types = column_types(row_type)
        self.columns = tuple(name for name in types if known is None or name in known)
        self._types = {name: types[name] for name in self.columns}
        self._absent = {
            field.encode_name: types[field.encode_name].empty
            for field in msgspec.structs.fields(row_type)
            if field.required and field.encode_name not in self._types
        }
        self.update_type = self._update_type()
        self._getter = _getter(self.columns)
        self._readers = [(i, t.read) for i, t in enumerate(self._types.values()) if t.is_read]

    def _update_type(self) -> type[msgspec.Struct]:
        """What one ``<row-update2>`` is decoded as. Its structs hold no cycles: gc need not look.

        Of a whole row, an omitted column has its type's default: for plain scalars that is put
        there at once. Of a changed row, it has not changed.
        """
        whole = msgspec.defstruct(
            f"{self.table}_whole",
            [
                (name, kind.wire_type, kind.empty)
                if not kind.is_read
                else (name, kind.wire_type | None, None)
                for name, kind in self._types.items()
            ],
            gc=False,
        )
        changed = msgspec.defstruct(
            f"{self.table}_changed",
            [(name, kind.wire_type | UnsetType, UNSET) for name, kind in self._types.items()],
            gc=False,
        )
        return msgspec.defstruct(
            f"{self.table}_update",
            [
                ("initial", whole | None, None),
                ("insert", whole | None, None),
                ("modify", changed | None, None),
                ("delete", Any, UNSET),
            ],
            gc=False,
        )

    def decode(self, whole: Any) -> R:
        """The row of what is ``initial`` or ``insert`` in an `update_type`."""
        values = list(self._getter(whole))
        for index, read in self._readers:
            values[index] = read(values[index])
        return self.row_type(**dict(zip(self.columns, values, strict=True)), **self._absent)

    def patch(self, row: R, changed: Any) -> R:
        """The row after what is ``modify`` in an `update_type`."""
        return msgspec.structs.replace(
            row,
            **{
                name: kind.merge(getattr(row, name), difference)
                for name, kind in self._types.items()
                if (difference := getattr(changed, name)) is not UNSET
            },
        )


@cache
def column_types(row_type: type[msgspec.Struct]) -> Mapping[str, ColumnType]:
    """The columns of a row type by name. Raises TypeError for a field that can be none."""
    return {
        field.encode_name: column_type(field.type) for field in msgspec.structs.fields(row_type)
    }


def shapes(row_type: type[msgspec.Struct]) -> Mapping[str, Shape]:
    """What each column of a row type is in a schema."""
    return {name: kind.shape for name, kind in column_types(row_type).items()}


def table_name(row_type: type[msgspec.Struct]) -> str:
    """The table of a row type."""
    name = getattr(row_type, "TABLE", None)
    if not isinstance(name, str):
        raise TypeError(f"{row_type.__name__} has no class variable TABLE")
    return name


def texts(row: msgspec.Struct) -> dict[str, object]:
    """The columns of a row as people and programs are shown them: numbers, texts, lists of
    these."""
    shown: dict[str, object] = {}
    for name, kind in column_types(type(row)).items():
        value = getattr(row, name)
        on_wire = None if kind.shape[0] == "optional" and value is None else kind.write(value)
        shown[name] = on_wire[1] if isinstance(on_wire, list) else on_wire
    return shown


def written(row: msgspec.Struct, columns: Iterable[str] | None = None) -> dict[str, object]:
    """The given columns of a row as JSON (RFC 7047 section 5.1, ``<row>``); by default those that
    do not hold the default of their type, which an insert may leave out (section 5.2.1).
    """
    if columns is None:
        return {
            name: value if write is None else write(value)
            for name, write, empty in _writers(type(row))
            if (value := getattr(row, name)) != empty
        }
    types = column_types(type(row))
    return {name: types[name].write(getattr(row, name)) for name in columns}


@cache
def _writers(
    row_type: type[msgspec.Struct],
) -> tuple[tuple[str, Callable[[Any], object] | None, Any], ...]:
    """Name, how it is written (None: as it is), and default of each column."""
    return tuple(
        (name, kind.write if kind.is_read else None, kind.empty)
        for name, kind in column_types(row_type).items()
    )


def _getter(columns: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(columns) == 1:
        (only,) = columns
        return lambda whole: (getattr(whole, only),)
    if not columns:
        return lambda _whole: ()
    return attrgetter(*columns)
