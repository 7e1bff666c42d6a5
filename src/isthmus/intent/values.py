# SPDX-License-Identifier: Apache-2.0
"""How one value is read from a client's JSON and written back: liberal in, canonical out.

MS-NCNBI section A.5: clients send numbers and booleans as strings and enumerations in any letter
case. Each type here turns what it accepts into one canonical value, which is what is stored,
compared and rendered; what it does not accept raises `Invalid` with the specification's code.
`Invalid.target` is the path inside the value; whoever read the surrounding object puts its own part
in front (`inside`).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, TypeGuard

from isthmus.errors import Detail, Invalid
from isthmus.intent.model import Json, JsonObject

SHOWN = 80
"""Characters of a refused value that an error message repeats."""

MOST_DEPTH = 64
"""Levels of objects and lists in a resource's body. The deepest that means anything has about
twelve; the rest is for what tags and resourceMetadata keep."""


class Mention(NamedTuple):
    """A reference found in a resource: where, to what, and how strong."""

    path: str
    ref: str
    kinds: tuple[str, ...]
    requires: bool
    code: str


class ValueType:
    """One JSON type of the wire. Immutable."""

    __slots__ = ()

    empty_is_absent: ClassVar[bool] = True
    """Whether empty text is as good as null: clients fill in forms."""
    extension: ClassVar[str] = ""
    """Name of the capability, for a type that takes more than MS-NCNBI says."""

    def read(self, value: Json) -> object:
        """The canonical value. Raises Invalid."""
        raise NotImplementedError

    def is_absent(self, value: Json) -> bool:
        """Whether empty text or an object is as good as null here."""
        return value == "" and self.empty_is_absent

    def write(self, value: object) -> Json:
        """The wire form of a canonical value."""
        return value

    def schema(self) -> JsonObject:
        """JSON Schema of the wire form."""
        raise NotImplementedError

    def mentions(self, value: object) -> Iterable[Mention]:
        """The references in a canonical value."""
        return ()

    def can_mention(self) -> bool:
        """Whether `mentions` can give any."""
        return False


def shown(value: object) -> str:
    """A refused value as a message repeats it, cut to `SHOWN` characters: text in quotes, all else
    as JSON, which is what the caller has written."""
    # JSON's escapes cover halves of characters too, which UTF-8 refuses.
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def is_deeper(value: Json, most: int) -> bool:
    """Whether objects and lists in `value` are nested in more than `most` levels. O(values)."""
    level = [value] if isinstance(value, list | dict) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def join(outer: str, inner: str | None) -> str:
    """``a`` and ``[0].b`` give ``a[0].b``."""
    if not inner:
        return outer
    return outer + inner if inner.startswith("[") else f"{outer}.{inner}"


def inside(error: Invalid, part: str) -> Invalid:
    """The same error, its target now seen from one level further out."""
    error.target = join(part, error.target)
    return error


def wrong_type(value: Json, wanted: str) -> Invalid:
    # MS-NCNBI section A.7: InvalidRequestFormat is the code, its details carry the finer one
    message = f"{shown(value)} is not {wanted}."
    return Invalid(message, code="InvalidRequestFormat", details=(Detail("InvalidJson", message),))


def text_of(value: Json, wanted: str = "text") -> str:
    """Text, or a number as text (clients send ``7`` where ``"7"`` is meant). Raises Invalid."""
    if type(value) is str:
        # a lone surrogate is a legal JSON escape but has no UTF-8 form: it could never be stored
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise wrong_type(value, wanted)
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise wrong_type(value, wanted)


def is_whole(value: Json) -> TypeGuard[float | str]:
    """Whether a number or text says a whole number; text of at most 20 digits, as 64 bits have."""
    if isinstance(value, str):
        return len(value) <= 20 and value.strip().isdecimal()
    return isinstance(value, float) and value.is_integer()


def is_nothing(value: Json) -> bool:
    """Null and what clients write for "not set": empty text, list or object."""
    return value is None or value == "" or value == [] or value == {}


@dataclass(frozen=True, slots=True)
class Text(ValueType):
    """Any text."""

    empty_is_absent = False

    def read(self, value: Json) -> str:
        return text_of(value)

    def schema(self) -> JsonObject:
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Secret(ValueType):
    """Text that no error message repeats. It may be empty (MS-NCNBI section B.2)."""

    empty_is_absent = False

    def read(self, value: Json) -> str:
        try:
            return text_of(value)
        except Invalid:
            raise wrong_type(None, "text (what was sent is not repeated here)") from None

    def schema(self) -> JsonObject:
        return {"type": "string", "format": "password"}


@dataclass(frozen=True, slots=True)
class Integer(ValueType):
    """A number of a range, also as text; `as_text` is the wire form of some fields (vlanID,
    virtualSubnetId)."""

    minimum: int = 0
    maximum: int = 2**63 - 1
    as_text: bool = False
    code: str = "InvalidParameterValue"

    def read(self, value: Json) -> int:
        if type(value) is int:
            number = value
        elif is_whole(value):
            number = int(value)
        else:
            raise wrong_type(value, "a whole number")
        if not self.minimum <= number <= self.maximum:
            raise Invalid(
                f"{shown(number)} is out of range: {self.minimum} to {self.maximum}.",
                code=self.code,
            )
        return number

    def write(self, value: object) -> Json:
        return str(value) if self.as_text else value

    def schema(self) -> JsonObject:
        if self.as_text:
            return {"type": "string", "pattern": f"^[0-9]{{1,{len(str(self.maximum))}}}$"}
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


_BOOLEANS: dict[str, bool] = {"true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class Boolean(ValueType):
    """True or false; `as_text` writes ``"True"``/``"False"``, as networkVirtualizationEnabled does
    (section B.8)."""

    as_text: bool = False

    def read(self, value: Json) -> bool:
        if type(value) is bool:
            return value
        word = str(value).strip().lower() if isinstance(value, str | int) else ""
        if word not in _BOOLEANS:
            raise wrong_type(value, "true or false")
        return _BOOLEANS[word]

    def write(self, value: object) -> Json:
        return str(value) if self.as_text else value

    def schema(self) -> JsonObject:
        return (
            {"type": "string", "enum": ["True", "False"]} if self.as_text else {"type": "boolean"}
        )


@dataclass(frozen=True, slots=True)
class Choice(ValueType):
    """One word of a closed set, in any letter case; `aliases` maps further words (lower case) to
    members."""

    members: type[enum.StrEnum]
    aliases: tuple[tuple[str, str], ...] = ()
    code: str = "InvalidParameterValue"
    by_word: dict[str, enum.StrEnum] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = {member.value.lower(): member for member in self.members}
        words.update({word: self.members(value) for word, value in self.aliases})
        object.__setattr__(self, "by_word", words)

    def read(self, value: Json) -> enum.StrEnum:
        member = self.by_word.get(value.lower()) if isinstance(value, str) else None
        if member is None:
            words = ", ".join(member.value for member in self.members)
            raise Invalid(f"{shown(value)} is not one of {words}.", code=self.code)
        return member

    def write(self, value: object) -> Json:
        return str(value)

    def schema(self) -> JsonObject:
        return {"type": "string", "enum": [member.value for member in self.members]}


@dataclass(frozen=True, slots=True)
class Many(ValueType):
    """A list. One bare element stands for a list of one, as PowerShell unrolls arrays of one
    element; empty text and an empty object stand for none."""

    empty_is_absent = False
    item: ValueType
    limit: int = 10_000
    code: str = "InvalidParameterValue"

    def read(self, value: Json) -> tuple[object, ...]:
        elements = value if isinstance(value, list) else [] if value in ("", {}) else [value]
        if len(elements) > self.limit:
            raise Invalid(
                f"{len(elements)} entries are too many: at most {self.limit}.", code=self.code
            )
        read = self.item.read
        result: list[object] = []
        try:
            for element in elements:
                result.append(read(element))
        except Invalid as error:
            raise inside(error, f"[{len(result)}]") from error
        return tuple(result)

    def write(self, value: object) -> Json:
        assert isinstance(value, tuple)
        return [self.item.write(element) for element in value]

    def schema(self) -> JsonObject:
        return {"type": "array", "items": self.item.schema()}

    def mentions(self, value: object) -> Iterable[Mention]:
        assert isinstance(value, tuple)
        for index, element in enumerate(value):
            for found in self.item.mentions(element):
                yield found._replace(path=join(f"[{index}]", found.path))

    def can_mention(self) -> bool:
        return self.item.can_mention()
