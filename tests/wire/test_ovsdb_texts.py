# SPDX-License-Identifier: Apache-2.0
"""Columns of text that stand for words and for values: what is none stays as it is."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, NamedTuple

import msgspec
import pytest

from isthmus.wire.ovsdb_columns import column_type
from isthmus.wire.ovsdb_rows import shapes, texts, written
from isthmus.wire.ovsdb_texts import TextForm, give_form


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Half(NamedTuple):
    """Written behind an equals sign."""

    number: int


def _parse(text: str) -> Half:
    if not text.startswith("="):
        raise ValueError(text)
    return Half(int(text[1:]))


give_form(Half, TextForm(_parse, lambda one: f"={one.number}", lambda one: one.number))


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "Thing"
    colour: Colour = Colour.RED
    colours: tuple[Colour, ...] = ()
    half: Half = Half(0)
    maybe: Half | None = None
    halves: tuple[Half, ...] = ()


def test_all_are_strings_in_a_schema() -> None:
    assert shapes(Thing) == {
        "colour": ("scalar", "string", ""),
        "colours": ("set", "string", ""),
        "half": ("scalar", "string", ""),
        "maybe": ("scalar", "string", ""),
        "halves": ("set", "string", ""),
    }


@pytest.mark.parametrize(
    ("annotation", "wire", "value", "back"),
    [
        (Colour, "blue", Colour.BLUE, "blue"),
        (Colour, "green", "green", "green"),
        (Colour, None, "", ""),
        (tuple[Colour, ...], ("set", ["red", "blue"]), (Colour.BLUE, Colour.RED), None),
        (tuple[Colour, ...], "red", (Colour.RED,), ["set", ["red"]]),
        (tuple[Colour, ...], None, (), ["set", []]),
        (Half, "=7", Half(7), "=7"),
        (Half, "7", "7", "7"),
        (Half | None, "", None, ""),
        (Half | None, "=7", Half(7), "=7"),
        (tuple[Half, ...], ("set", ["=10", "=9"]), (Half(9), Half(10)), None),
        (tuple[Half, ...], ("set", ["=x", "=9", "b", "a"]), (Half(9), "=x", "a", "b"), None),
    ],
)
def test_a_text_is_read_once_and_written_as_it_was(
    annotation: object, wire: object, value: object, back: object
) -> None:
    kind = column_type(annotation)
    found = kind.read(wire)
    assert found == value
    assert type(found) is type(value)
    if isinstance(wire, tuple):
        back = ["set", sorted(wire[1])]
    assert kind.write(found) == back


def test_a_change_of_a_set_takes_values_and_texts_out_and_puts_them_in() -> None:
    kind = column_type(tuple[Half, ...])
    before = kind.read(("set", ["=1", "none"]))
    assert kind.merge(before, ("set", ["=1", "=2", "none", "other"])) == (Half(2), "other")
    assert column_type(Colour).merge(Colour.RED, "blue") is Colour.BLUE
    assert column_type(Half).merge(Half(1), "=2") == Half(2)


def test_an_insert_leaves_out_what_is_empty_and_people_see_texts() -> None:
    assert written(Thing()) == {"colour": "red", "half": "=0"}
    assert texts(Thing(halves=(Half(2),))) == {
        **{"colour": "red", "colours": [], "half": "=0", "maybe": "", "halves": ["=2"]}
    }
