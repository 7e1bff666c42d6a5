# SPDX-License-Identifier: Apache-2.0
"""The fields of a struct, compiled from its annotations: what reads each from a client's JSON, what
writes it, and its JSON Schema.

`fields` says how they are declared. A struct inside another is a type too (`Nested`).
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from isthmus.errors import Invalid
from isthmus.intent.fields import Access, Field, Part, Rules
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import (
    Boolean,
    Choice,
    Integer,
    Many,
    Mention,
    Text,
    ValueType,
    inside,
    join,
    wrong_type,
)
from isthmus.intent.versions import V1


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field, compiled from its annotation."""

    attribute: str
    wire: str
    type: ValueType
    description: str
    rules: Rules
    default: object
    """None for a required field as well."""

    @property
    def rendered(self) -> bool:
        return self.rules.access in (Access.WRITABLE, Access.READ_ONLY)

    @property
    def read(self) -> bool:
        return self.rules.access not in (Access.READ_ONLY, Access.INTERNAL)


@functools.cache
def fields_of(model: type[Part]) -> tuple[FieldSpec, ...]:
    """The fields of a struct, in the order of their declaration."""
    hints: Mapping[str, object] = get_type_hints(model, include_extras=True)
    specs = []
    for info in msgspec.structs.fields(model):
        notes = _notes(hints[info.name])
        described = next((note for note in notes if isinstance(note, Field)), None)
        assert described is not None, f"{model.__name__}.{info.name} says not what it means"
        default = None if info.required else info.default
        kind = value_type(hints[info.name])
        specs.append(
            FieldSpec(
                info.name, info.encode_name, kind, described.description, described.rules, default
            )
        )
    return tuple(specs)


def wire_name(model: type[Part], attribute: str) -> str:
    """The wire name of an attribute."""
    return next(spec.wire for spec in fields_of(model) if spec.attribute == attribute)


def _notes(hint: object) -> tuple[object, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


_SCALARS: dict[object, ValueType] = {str: Text(), int: Integer(), bool: Boolean()}


def value_type(hint: object) -> ValueType:
    """The wire type of a type annotation: what is annotated explicitly, else what the Python type
    implies."""
    given = next((note for note in _notes(hint) if isinstance(note, ValueType)), None)
    if given is not None:
        return given
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return value_type(arguments[0])
    if origin in (Union, UnionType):
        return value_type(next(argument for argument in arguments if argument is not NoneType))
    if origin is tuple:
        return Many(value_type(arguments[0]))
    if hint in _SCALARS:
        return _SCALARS[hint]
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return Choice(hint)
    assert isinstance(hint, type) and issubclass(hint, Part), f"no wire type for {hint!r}"
    return Nested(hint)


@dataclass(frozen=True, slots=True)
class Nested(ValueType):
    """An object inside the properties."""

    model: type[Part]

    def read(self, value: Json) -> Part:
        if not isinstance(value, dict):
            raise wrong_type(value, "an object")
        values = read_fields(_readers(self.model), value)
        for spec in fields_of(self.model):
            if spec.rules.required and spec.attribute not in values:
                raise missing(spec)
        return build(self.model, values)

    def write(self, value: object) -> Json:
        return write_fields(_writers(self.model), value)

    def schema(self) -> JsonObject:
        return object_schema(fields_of(self.model))

    def mentions(self, value: object) -> Iterable[Mention]:
        for spec in fields_of(self.model):
            inner = getattr(value, spec.attribute)
            if inner is not None:
                for found in spec.type.mentions(inner):
                    yield found._replace(path=join(spec.wire, found.path))

    def can_mention(self) -> bool:
        return any(spec.type.can_mention() for spec in fields_of(self.model))


def missing(spec: FieldSpec) -> Invalid:
    return Invalid(
        f"{spec.wire} is missing: {spec.description}", code=spec.rules.required, target=spec.wire
    )


S = TypeVar("S", bound=Part)


def build(model: type[S], values: Mapping[str, object]) -> S:
    """A struct of canonical values."""
    return model(**values)


Reader = tuple[str, str, ValueType]
"""Attribute, wire name, type."""
Writer = tuple[str, str, ValueType | None]
"""Attribute, wire name, type; None for a value that is its own wire form."""


@functools.cache
def _readers(model: type[Part]) -> dict[str, Reader]:
    return readers(fields_of(model))


def readers(specs: Iterable[FieldSpec]) -> dict[str, Reader]:
    """What reads each field, by its wire name and by that in lower case."""
    table = {}
    for spec in specs:
        if spec.read:
            table[spec.wire] = table[spec.wire.lower()] = (spec.attribute, spec.wire, spec.type)
    return table


@functools.cache
def _writers(model: type[Part]) -> tuple[Writer, ...]:
    return writers(fields_of(model))


def writers(specs: Iterable[FieldSpec]) -> tuple[Writer, ...]:
    """What writes each rendered field."""
    return tuple(
        (s.attribute, s.wire, None if type(s.type).write is ValueType.write else s.type)
        for s in specs
        if s.rendered
    )


def read_fields(table: Mapping[str, Reader], body: Mapping[str, Json]) -> dict[str, object]:
    """The canonical values of what `body` has, by attribute. Nulls are absent, unknown names are
    dropped (MS-NCNBI clients send fields of other versions and read-only ones). Raises Invalid."""
    values: dict[str, object] = {}
    wire = ""
    try:
        for name, value in body.items():
            if value is not None:
                reader = table.get(name) or table.get(name.lower())
                if reader is not None:
                    attribute, wire, kind = reader
                    if (value == "" or type(value) is dict) and kind.is_absent(value):
                        continue
                    values[attribute] = kind.read(value)
    except Invalid as error:
        raise inside(error, wire) from error
    return values


def write_fields(table: Iterable[Writer], value: object) -> dict[str, Json]:
    """The wire form of a struct: unset values are left out, empty lists are not (section A.5)."""
    written: dict[str, Json] = {}
    for attribute, wire, kind in table:
        inner: object = getattr(value, attribute)
        if kind is None:
            if inner is not None:
                written[wire] = inner
        elif inner is not None:
            written[wire] = kind.write(inner)
    return written


def object_schema(specs: Iterable[FieldSpec]) -> dict[str, Json]:
    """JSON Schema of an object with these fields, as it is on the wire."""
    shown_specs = [spec for spec in specs if spec.rules.access is not Access.INTERNAL]
    properties: dict[str, Json] = {spec.wire: _field_schema(spec) for spec in shown_specs}
    schema: dict[str, Json] = {"type": "object", "properties": properties}
    # what may be left out, once it is stored, need not be in an answer either
    needed: list[Json] = [
        spec.wire
        for spec in shown_specs
        if spec.rules.required and spec.rules.access is not Access.SHOWN_ELSEWHERE
    ]
    return {**schema, "required": needed} if needed else schema


def _field_schema(spec: FieldSpec) -> dict[str, Json]:
    schema: dict[str, Json] = {**spec.type.schema(), "description": spec.description}
    if spec.default is not None:
        schema["default"] = spec.type.write(spec.default)
    if spec.rules.access is Access.READ_ONLY:
        schema["readOnly"] = True
    if spec.rules.since != V1:
        schema["x-isthmus-since"] = str(spec.rules.since)
    if spec.rules.extension:
        schema["x-isthmus-extension"] = spec.rules.extension
    return schema
