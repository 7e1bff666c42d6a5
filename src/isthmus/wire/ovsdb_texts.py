# SPDX-License-Identifier: Apache-2.0
"""Columns of text that stand for something else: words of an enumeration, and values that OVSDB has
no type for, whose form whoever knows it gives (`give_form`).

A text that is none of the values stays as it is: one row that somebody else has written must not
keep all others from being read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

Shape = tuple[str, str, str]
"""Of a type in a schema: scalar, optional, set or map; the atoms' type; that of a map's values."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a value that OVSDB has no type for stands in a string: `parse` raises ValueError for a
    text that is none, and takes one text only for each value; in sets, values are sorted by
    `order`; `empty` is what no text at all stands for."""

    parse: Callable[[str], Any]
    write: Callable[[Any], str]
    order: Callable[[Any], Any] | None = None
    empty: Any = ""

    def read(self, text: str) -> Any:
        """The value, or the text where it is none: whoever reads rows of others looks for that."""
        try:
            return self.parse(text)
        except ValueError:
            return text


_FORMS: dict[object, TextForm] = {}


def give_form(annotation: object, form: TextForm) -> None:
    """Let fields of this annotation be columns of text, or of sets of texts; ``X | None`` is an
    empty text where there is none. For whoever knows the text of these values, once at import."""
    _FORMS[annotation] = form


def text_type(annotation: object) -> _Word | _Text | _TextSet | None:
    """The column type of a field's annotation, if it is one of these."""
    if annotation in _FORMS:
        return _Text(_FORMS[annotation])
    words = _words(annotation)
    if words is not None:
        return _Word(words)
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType) and NoneType in arguments:
        inner = next(one for one in arguments if one is not NoneType)
        return _Text(replace(_FORMS[inner], empty=None)) if inner in _FORMS else None
    if get_origin(annotation) is tuple and arguments[1:] == (Ellipsis,):
        words = _words(arguments[0])
        if words is not None:
            return _TextSet(TextForm(words.__getitem__, str))
        return _TextSet(_FORMS[arguments[0]]) if arguments[0] in _FORMS else None
    return None


def _words(annotation: object) -> _Words | None:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return _Words((word.value, word) for word in annotation)
    return None


def _elements(wire: Any) -> Iterable[str]:
    """Of a set, which is its one element or a list of any number (RFC 7047 section 5.1)."""
    elements: Iterable[str] = (wire,) if wire.__class__ is not tuple else wire[1]
    return elements


class _Words(dict[str, Any]):
    """The words of an enumeration; a text that is none of them stands for itself."""

    def __missing__(self, text: str | None) -> str:
        return text or ""


class _String:
    """A column of one string."""

    __slots__ = ()

    @property
    def wire_type(self) -> Any:
        return str

    @property
    def shape(self) -> Shape:
        return "scalar", "string", ""

    @property
    def is_read(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _Word(_String):
    """A string that is one of some words."""

    words: _Words

    @property
    def empty(self) -> str:
        return ""

    @property
    def read(self) -> Callable[[Any], Any]:
        return self.words.__getitem__

    def merge(self, _old: Any, difference: Any) -> Any:
        return self.words[difference]

    def write(self, value: Any) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class _Text(_String):
    """A string that has a form."""

    form: TextForm

    @property
    def empty(self) -> Any:
        return self.form.empty

    def read(self, wire: Any) -> Any:
        return self.form.read(wire) if wire else self.form.empty

    def merge(self, _old: Any, difference: Any) -> Any:
        return self.read(difference)

    def write(self, value: Any) -> object:
        if value == self.form.empty:
            return ""
        return value if isinstance(value, str) else self.form.write(value)


@dataclass(frozen=True, slots=True)
class _TextSet:
    """A set of strings that have a form: sorted, those that are none of its values last."""

    form: TextForm

    @property
    def wire_type(self) -> Any:
        return str | tuple[Literal["set"], list[str]]

    @property
    def shape(self) -> Shape:
        return "set", "string", ""

    @property
    def empty(self) -> tuple[Any, ...]:
        return ()

    @property
    def is_read(self) -> bool:
        return True

    def read(self, wire: Any) -> Any:
        if wire is None:
            return ()
        parse, texts = self.form.parse, _elements(wire)
        try:
            values = [parse(text) for text in texts]
        except ValueError:
            return self._sorted(list(map(self.form.read, texts)))
        if len(values) > 1:
            values.sort(key=self.form.order)
        return tuple(values)

    def merge(self, old: Any, difference: Any) -> Any:
        changed = map(self.form.read, _elements(difference))
        return self._sorted(frozenset(old).symmetric_difference(changed))

    def write(self, value: Any) -> object:
        texts = (one if isinstance(one, str) else self.form.write(one) for one in value)
        return ["set", sorted(map(str, texts))]

    def _sorted(self, values: Iterable[Any]) -> tuple[Any, ...]:
        unread = [one for one in values if one.__class__ is str]
        if not unread:
            return tuple(sorted(values, key=self.form.order))
        read = (one for one in values if one.__class__ is not str)
        return (*sorted(read, key=self.form.order), *sorted(unread))
