# SPDX-License-Identifier: Apache-2.0
"""The types of columns: what they are on the wire (RFC 7047 section 5.1), in schemas (section 3.2)
and in Python, and how a difference is applied to a value (ovsdb-server(7) section 4.1.14).

What comes in has been checked by msgspec against `wire_type`; an omitted column is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NewType, Protocol, Union, get_args, get_origin

from isthmus.wire.ovsdb_texts import Shape, text_type

RowId = NewType("RowId", str)
"""A row's UUID, in lower case."""

NO_ROW = RowId("00000000-0000-0000-0000-000000000000")


class NamedRow(str):
    """The name of a row that the same transaction inserts, in the place of its RowId."""

    __slots__ = ()


class ColumnType(Protocol):
    """`wire_type` is what msgspec decodes a column's JSON as, `empty` the default value of the type
    in OVSDB (RFC 7047 section 5.2.1), which servers omit."""

    @property
    def wire_type(self) -> Any: ...
    @property
    def shape(self) -> Shape: ...
    @property
    def empty(self) -> Any: ...
    @property
    def is_read(self) -> bool:
        """Whether what is on the wire is not yet the value."""
        ...

    def read(self, wire: Any) -> Any: ...
    def merge(self, old: Any, difference: Any) -> Any: ...
    def write(self, value: Any) -> object: ...


def column_type(annotation: object) -> ColumnType:
    """The column type of a field's annotation. Raises TypeError for what no column can be."""
    of_text = text_type(annotation)
    if of_text is not None:
        return of_text
    arguments = get_args(annotation)
    match get_origin(annotation):
        case None:
            return _Scalar(_atom(annotation))
        case origin if origin in (Union, UnionType) and NoneType in arguments:
            (inner,) = (argument for argument in arguments if argument is not NoneType)
            return _Optional(_atom(inner))
        case origin if origin is tuple and arguments[1:] == (Ellipsis,):
            return _Set(_atom(arguments[0]), lambda elements: tuple(sorted(elements)))
        case origin if origin is frozenset:
            return _Set(_atom(arguments[0]), frozenset)
        case origin if origin is dict:
            return _Map(_atom(arguments[0]), _atom(arguments[1]))
    raise TypeError(f"{annotation} is the type of no OVSDB column")


@dataclass(frozen=True, slots=True)
class _Atom:
    name: str
    wire_type: Any
    empty: Any

    @property
    def is_reference(self) -> bool:
        return self.name == "uuid"

    def read(self, wire: Any) -> Any:
        return wire[1] if self.is_reference else wire

    def write(self, value: Any) -> object:
        return reference(value) if self.is_reference else value


_ATOMS: dict[object, _Atom] = {
    str: _Atom("string", str, ""),
    # Not bounded to 64 bits: msgspec 0.22 crashes the process at the next garbage collection over a
    # union of an integer with bounds and a tuple. A larger number is only a larger number.
    int: _Atom("integer", int, 0),
    bool: _Atom("boolean", bool, False),
    float: _Atom("real", float, 0.0),
    RowId: _Atom("uuid", tuple[Literal["uuid"], str], NO_ROW),
}

_REFERENCES = tuple[Literal["uuid", "set"], str | list[tuple[Literal["uuid"], str]]]
"""One reference, or a set of them: two forms that msgspec cannot tell apart as two types."""


def _atom(annotation: object) -> _Atom:
    if annotation not in _ATOMS:
        raise TypeError(f"{annotation} is the type of no OVSDB column's elements")
    return _ATOMS[annotation]


def reference(row: str) -> list[str]:
    """A RowId on the wire."""
    return ["named-uuid", str(row)] if isinstance(row, NamedRow) else ["uuid", row]


@dataclass(frozen=True, slots=True)
class _Scalar:
    atom: _Atom

    @property
    def wire_type(self) -> Any:
        return self.atom.wire_type

    @property
    def shape(self) -> Shape:
        return "scalar", self.atom.name, ""

    @property
    def empty(self) -> Any:
        return self.atom.empty

    @property
    def is_read(self) -> bool:
        return self.atom.is_reference

    def read(self, wire: Any) -> Any:
        return self.atom.empty if wire is None else self.atom.read(wire)

    def merge(self, _old: Any, difference: Any) -> Any:
        return self.atom.read(difference)

    def write(self, value: Any) -> object:
        return self.atom.write(value)


def _set_wire_type(atom: _Atom) -> Any:
    if atom.is_reference:
        return _REFERENCES
    return atom.wire_type | tuple[Literal["set"], list[atom.wire_type]]  # type: ignore[name-defined]


def _elements(atom: _Atom, wire: Any) -> Iterable[Any]:
    """Of a set, which is its one element or a list of any number (RFC 7047 section 5.1)."""
    if wire.__class__ is not tuple:
        return (wire,)
    elements = wire[1]
    if not atom.is_reference:
        return elements  # type: ignore[no-any-return]  # list[atom.wire_type], by msgspec
    if elements.__class__ is str:
        return (elements,)
    return [element[1] for element in elements]


@dataclass(frozen=True, slots=True)
class _Optional:
    """A set of at most one. Its difference is the new value, as that of a scalar
    (``ovsdb_datum_diff`` of Open vSwitch: what has at most one element is not "composite")."""

    atom: _Atom

    @property
    def wire_type(self) -> Any:
        return _set_wire_type(self.atom)

    @property
    def shape(self) -> Shape:
        return "optional", self.atom.name, ""

    @property
    def empty(self) -> None:
        return None

    @property
    def is_read(self) -> bool:
        return True

    def read(self, wire: Any) -> Any:
        return None if wire is None else next(iter(_elements(self.atom, wire)), None)

    def merge(self, _old: Any, difference: Any) -> Any:
        return self.read(difference)

    def write(self, value: Any) -> object:
        return ["set", []] if value is None else self.atom.write(value)


@dataclass(frozen=True, slots=True)
class _Set:
    atom: _Atom
    make: Callable[[Iterable[Any]], tuple[Any, ...] | frozenset[Any]]

    @property
    def wire_type(self) -> Any:
        return _set_wire_type(self.atom)

    @property
    def shape(self) -> Shape:
        return "set", self.atom.name, ""

    @property
    def empty(self) -> tuple[Any, ...] | frozenset[Any]:
        return self.make(())

    @property
    def is_read(self) -> bool:
        return True

    def read(self, wire: Any) -> Any:
        return self.make(() if wire is None else _elements(self.atom, wire))

    def merge(self, old: Any, difference: Any) -> Any:
        return self.make(frozenset(old).symmetric_difference(_elements(self.atom, difference)))

    def write(self, value: Any) -> object:
        return ["set", [self.atom.write(element) for element in sorted(value)]]


@dataclass(frozen=True, slots=True)
class _Map:
    key: _Atom
    value: _Atom

    @property
    def wire_type(self) -> Any:
        pair = tuple[self.key.wire_type, self.value.wire_type]  # type: ignore[name-defined]
        return tuple[Literal["map"], list[pair]]

    @property
    def shape(self) -> Shape:
        return "map", self.key.name, self.value.name

    @property
    def empty(self) -> dict[Any, Any]:
        return {}

    @property
    def is_read(self) -> bool:
        return True

    def read(self, wire: Any) -> Any:
        return {} if wire is None else dict(self._pairs(wire))

    def merge(self, old: Any, difference: Any) -> Any:
        """A pair that was there is gone, any other is the new one of its key."""
        new = dict(old)
        for key, value in self._pairs(difference):
            if key in old and old[key] == value:
                del new[key]
            else:
                new[key] = value
        return new

    def write(self, value: Any) -> object:
        return ["map", [[self.key.write(k), self.value.write(v)] for k, v in sorted(value.items())]]

    def _pairs(self, wire: Any) -> list[tuple[Any, Any]]:
        return [(self.key.read(key), self.value.read(value)) for key, value in wire[1]]
