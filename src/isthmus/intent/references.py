# SPDX-License-Identifier: Apache-2.0
"""References between resources: ``{"resourceRef": "/virtualNetworks/v/subnets/s"}`` (MS-NCNBI
section A.1).

They are relative, without version, and are found in any letter case. Inside they are plain text,
the collection names in canonical spelling, the ids as the client spelled them; in lower case they
are the key of the resource.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from isthmus.errors import Detail, Invalid
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import Mention, ValueType, is_nothing, shown, text_of


def key_of(ref: str) -> str:
    """The store's key of what `ref` names."""
    return ref.lower()


def bare(ref: str) -> list[str]:
    """The parts of a reference: ``/a/b`` gives [a, b]. A leading ``/networking/<version>``, which
    only backup lists have, and a trailing slash are dropped."""
    parts = ref.strip("/").split("/")
    return parts[2:] if len(parts) > 2 and parts[0].lower() == "networking" else parts


@dataclass(frozen=True, slots=True)
class Reference(ValueType):
    """A reference to a resource of one of `kinds` (names as in ``virtualNetworks/subnets``).

    `requires`: the referenced resource must exist as long as the reference does, else it may
    vanish. `code` is that of the error when it does not exist.
    """

    kinds: tuple[str, ...]
    requires: bool = True
    code: str = "InvalidResourceReference"
    by_words: dict[tuple[str, ...], tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = {tuple(kind.lower().split("/")): tuple(kind.split("/")) for kind in self.kinds}
        object.__setattr__(self, "by_words", words)

    def is_absent(self, value: Json) -> bool:
        """Clients write ``{}`` and ``{"resourceRef": null}`` for none."""
        return all(map(is_nothing, value.values())) if isinstance(value, dict) else value == ""

    def read(self, value: Json) -> str:
        if type(value) is dict:
            text = value.get("resourceRef")
            if text is None:
                text = next((v for k, v in value.items() if str(k).lower() == "resourceref"), None)
            value = text
        if not isinstance(value, str):
            message = (
                f'{shown(value)} is not a reference: write {{"resourceRef": "/{self._example()}"}}.'
            )
            detail = Detail("InvalidJsonReferenceFormat", message)
            raise Invalid(message, code="InvalidRequestFormat", details=(detail,))
        parts = bare(text_of(value))
        if parts[-1] == "" or len(parts) % 2 or not all(parts):
            raise Invalid(
                f"{shown(value)} is not a reference: write it as /{self._example()}.",
                code="InvalidJsonReferenceFormat",
            )
        collections = self.by_words.get(tuple(part.lower() for part in parts[::2]))
        if collections is None:
            message = f"{shown(value)} does not name one of {', '.join(self.kinds)}."
            detail = Detail("InvalidJsonReferenceWrongType", message)
            raise Invalid(message, code="InvalidRequestFormat", details=(detail,))
        parts[::2] = collections
        return "/" + "/".join(parts)

    def _example(self) -> str:
        return "/".join(f"{part}/<id>" for part in self.kinds[0].split("/"))

    def write(self, value: object) -> Json:
        return {"resourceRef": value}

    def schema(self) -> JsonObject:
        return {"$ref": "#/components/schemas/Reference"}

    def mentions(self, value: object) -> Iterable[Mention]:
        assert isinstance(value, str)
        return (Mention("", value, self.kinds, self.requires, self.code),)

    def can_mention(self) -> bool:
        return True
