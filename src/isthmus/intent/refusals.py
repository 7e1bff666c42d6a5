# SPDX-License-Identifier: Apache-2.0
"""Fields that are known and not taken: of resources that this controller does not have, and of
newer API versions."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import Invalid
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import ValueType, is_nothing, shown


@dataclass(frozen=True, slots=True)
class NotOffered(ValueType):
    """A field of the standard whose subject this controller does not have.

    Empty values (`or_false`: and false) are taken, anything else is refused: policy that would not
    be enforced must not be accepted. `as_list` fields are rendered as empty lists.
    """

    subject: str
    as_list: bool = False
    or_false: bool = False

    def read(self, value: Json) -> tuple[()] | None:
        if not (_says_nothing(value) or (self.or_false and str(value).lower() == "false")):
            # imported here because the registry imports every kind, and every kind this module
            from isthmus.intent.registry import OFFERED

            raise Invalid(
                f"{shown(value)} asks for {self.subject}, which this controller does not have:"
                f" leave it out. Its resources are {', '.join(OFFERED)}.",
                code="OperationNotSupported",
            )
        return () if self.as_list else None

    def write(self, value: object) -> Json:
        return []

    def schema(self) -> JsonObject:
        if self.as_list:
            return {"type": "array", "maxItems": 0}
        return {"enum": [None, False]} if self.or_false else {"type": "null"}


@dataclass(frozen=True, slots=True)
class NotSent(ValueType):
    """A field that the request's API version does not know and must not send."""

    code: str
    since: str

    def read(self, value: Json) -> object:
        raise Invalid(
            f"This field needs API version {self.since} or newer in the URI.", code=self.code
        )

    def schema(self) -> JsonObject:
        return {"type": "null"}


def _says_nothing(value: Json) -> bool:
    """Nothing, or an object that says nothing: ``{"resourceRef": null}``."""
    if isinstance(value, dict):
        return all(is_nothing(inner) for inner in value.values())
    return is_nothing(value)
