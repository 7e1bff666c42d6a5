# SPDX-License-Identifier: Apache-2.0
"""Fields that are known and not taken: of resources that this controller does not have, and of
newer API versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.errors import Invalid
from isthmus.intent.model import Json, JsonObject
from isthmus.intent.values import ValueType, is_nothing, shown


class Unoffered(Invalid):
    """A request asks for what this controller does not have. Who knows the resources that it does
    have adds them (`beside`)."""

    default_code = "OperationNotSupported"

    def beside(self, offered: Iterable[str]) -> Unoffered:
        """The same error, which also names the resources that are offered."""
        message = f"{self.message} Its resources are {', '.join(offered)}."
        return Unoffered(message, target=self.target)


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
            raise Unoffered(
                f"{shown(value)} asks for {self.subject}, which this controller does not have:"
                " leave it out."
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
