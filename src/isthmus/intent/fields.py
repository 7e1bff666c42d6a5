# SPDX-License-Identifier: Apache-2.0
"""Declaring a resource: a frozen struct whose annotations say everything about its fields.

    private_mac_address: Annotated[str | None, MacAddress(), Field("MAC of the port.")] = None

The annotated type (or the plain Python type: str, int, bool, an enumeration, a tuple, another
`Part`) gives how a value is read and written; `Field` gives what it means and who may change it.
The wire name is the attribute in camel case unless ``msgspec.field(name=...)`` says otherwise.
Reading, rendering, OpenAPI and the tables of the documentation all follow from `specs.fields_of`.

At rest a resource is the struct as JSON (`encode`, `decode`), without the fields that have their
default: the defaults are those of MS-NCNBI and never change.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from isthmus.intent.model import Stored
from isthmus.intent.versions import V1, Version

MISSING = "RequiredParamMissing"


class Access(enum.Enum):
    """Who sees and writes a field."""

    WRITABLE = "read and write"
    SHOWN_ELSEWHERE = "stays as it is when left out"
    """Read from requests, and shown, if at all, by a `Computed` of the same name. A PUT without it
    keeps what is stored, so that what was read can be put back."""
    READ_ONLY = "read only"
    """Ignored in requests: this controller decides it when the resource is written."""
    INTERNAL = "internal"
    """Neither read nor rendered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The exceptions to "optional, readable, writable, since v1"."""

    required: str = ""
    """Code of the error when it is missing; empty: optional."""
    immutable: str = ""
    """Code of the error when a PUT changes it; empty: it may change. A PUT without it keeps it."""
    access: Access = Access.WRITABLE
    since: Version = V1
    """A request of an older version neither sees nor changes it."""
    too_early: str = ""
    """Code of the error when a request of an older version sends it; empty: it is ignored."""
    extension: str = ""
    """Name of the capability, for a field that MS-NCNBI does not have."""
    kept: bool = False
    """Whether it is stored and shown and changes nothing: information, or a hint for hosts of other
    kinds. What is not kept must do something, or be refused: a policy that is not enforced must not
    look as if it were."""


PLAIN = Rules()


@dataclass(frozen=True, slots=True)
class Field:
    """What a field means, in one sentence or two for its reader, and its rules."""

    description: str
    rules: Rules = PLAIN


def required(description: str, code: str = MISSING) -> Field:
    """A field that every PUT must have."""
    return Field(description, Rules(required=code))


def kept(description: str, *, required: str = "", since: Version = V1) -> Field:
    """A field that is stored and shown, and changes nothing."""
    return Field(description, Rules(kept=True, required=required, since=since))


def internal(description: str) -> Field:
    """A field that only this controller knows."""
    return Field(description, Rules(access=Access.INTERNAL))


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of the objects inside a resource's properties."""


S = TypeVar("S", bound=Part)


def encode(value: Part) -> bytes:
    """The form at rest."""
    return msgspec.json.encode(value)


def decode(stored: Stored, model: type[S]) -> S:
    """The properties of a stored resource, typed: ``decode(row,
    NetworkInterface).private_mac_address``.

    `model` must be that of `stored.kind`. About a microsecond.
    """
    return msgspec.json.decode(stored.properties, type=model)
