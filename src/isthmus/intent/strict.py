# SPDX-License-Identifier: Apache-2.0
"""What a body says that nobody would read: for clients that ask to be told (RFC 7240 section 4.4,
``Prefer: handling=strict``).

A server must ignore fields that it does not know, for clients send those of other versions and
implementations (MS-NCNBI section A.5). A person who writes ``inboundDefaultActions: Deny`` is not
helped by that: the list would stay open. All mistakes of all bodies are told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from isthmus.errors import Detail, Invalid, IsthmusError
from isthmus.intent.address_values import IpAddress, MacAddress
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json, Stored
from isthmus.intent.parse import ENVELOPE, Parsed, parse
from isthmus.intent.paths import resolve
from isthmus.intent.planning import Put, Request
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import Nested, fields_of
from isthmus.intent.values import Many, ValueType, join
from isthmus.intent.versions import LATEST, Version

UNKNOWN = "UnknownField"


class Unknown(NamedTuple):
    """A field that no resource of its kind has. `path` is the place of the object that it is in."""

    path: str
    name: str
    known: tuple[str, ...]

    @property
    def place(self) -> str:
        return join(self.path, self.name) if self.path else self.name

    @property
    def message(self) -> str:
        near = get_close_matches(self.name.lower(), [one.lower() for one in self.known], 1, 0.6)
        meant = [one for one in self.known if near and one.lower() == near[0]]
        if meant:
            return f"{self.name} is no field here: did you mean {meant[0]}?"
        return f"{self.name} is no field here; there are {', '.join(sorted(self.known))}"


def check_strict(
    requests: Iterable[Request], version: Version, registry: Registry = REGISTRY
) -> None:
    """Raises Invalid with a detail for each field that would be ignored and each body that cannot
    be read, their targets as in `plan_batch`: ``[3].properties.subnet``."""
    details = [
        detail
        for index, request in enumerate(requests)
        if isinstance(request, Put)
        for detail in _mistakes(request, f"[{index}]", version, registry)
    ]
    if len(details) == 1:
        raise Invalid(details[0].message, code=details[0].code, target=details[0].target)
    if details:
        raise Invalid(
            f"{len(details)} things are wrong, and nothing was stored",
            code="InvalidRequestFormat",
            target=details[0].target,
            details=tuple(details),
        )


def refuse_unknown(kind: Kind, body: Json, version: Version) -> None:
    """Raises Invalid with a detail for each field of one body that would be ignored."""
    details = tuple(
        Detail(UNKNOWN, one.message, one.place) for one in unknown_fields(kind, body, version)
    )
    if details:
        message = "; ".join(one.message for one in details)
        raise Invalid(message, code=UNKNOWN, target=details[0].target, details=details)


def refuse_other_addresses(
    written: Mapping[str, Stored],
    request: Request,
    version: Version,
    registry: Registry = REGISTRY,
) -> None:
    """Refuse that a resource gets another address than its body names: one that is Dynamic is the
    named one only where that is free. `written` has what a plan would store, by key. Raises
    Invalid."""
    if isinstance(request, Put):
        target = resolve(request.path, version, registry)
        parsed = parse(target.kind, request.body, version=version, registry=registry)
        for error in _other_addresses(parsed, target.key, written):
            raise error


def _other_addresses(parsed: Parsed, key: str, written: Mapping[str, Stored]) -> Iterator[Invalid]:
    row = written.get(key)
    for spec in parsed.kind.fields:
        given = parsed.values.get(spec.attribute)
        if given is None or row is None or not isinstance(spec.type, IpAddress | MacAddress):
            continue
        became: object = getattr(parsed.kind.decoded(row), spec.attribute)
        if became != given:
            yield Invalid(
                f"{spec.wire} is given as {given}, and would be {became}: leave it out, or make it"
                " Static.",
                target=f"{parsed.path}properties.{spec.wire}",
            )
    for kind, children in parsed.children.items():
        for child in children:
            below = f"{key}/{kind.collection}/{child.resource_id}".lower()
            yield from _other_addresses(child, below, written)


def _mistakes(request: Put, where: str, version: Version, registry: Registry) -> Iterator[Detail]:
    try:
        target = resolve(request.path, version, registry)
        if target.is_collection:
            return  # planning says so
        for unknown in unknown_fields(target.kind, request.body, version):
            yield Detail(UNKNOWN, unknown.message, join(where, unknown.place))
        parse(target.kind, request.body, version=version, registry=registry)
    except IsthmusError as error:
        yield Detail(error.code, error.message, join(where, error.target))


def unknown_fields(kind: Kind, body: Json, version: Version = LATEST) -> Iterator[Unknown]:
    """The fields of a PUT's body that a version of its kind neither reads nor renders."""
    if not isinstance(body, Mapping):
        return
    yield from _unknown("", body, (*ENVELOPE, "resourceRef"))
    properties = _inside(body, "properties")
    if not isinstance(properties, Mapping):
        return
    seen = kind.projection(version)
    shown = (
        *(reader[1] for reader in seen.readers.values()),
        *(child.collection for child in seen.children.values()),
        *(writer[1] for writer in seen.writers),
        *(one.wire for one in seen.back_references),
        *(one.wire for one in seen.computed),
        *((kind.located.wire,) if kind.located else ()),
        *RENDERED,
    )
    yield from _unknown("properties", properties, tuple(dict.fromkeys(shown)))
    for name, value in properties.items():
        child = seen.children.get(name) or seen.children.get(name.lower())
        if child is not None:
            for index, one in enumerate(value if isinstance(value, list) else [value]):
                for found in unknown_fields(child, one, version):
                    yield _under(f"properties.{child.collection}[{index}]", found)
        reader = seen.readers.get(name) or seen.readers.get(name.lower())
        if reader is not None:
            for found in _in_value(reader[2], value):
                yield _under(f"properties.{reader[1]}", found)


RENDERED = ("provisioningState", "configurationState")
"""What is rendered of every kind, and comes back with what was read (section A.9)."""


def _in_value(kind: ValueType, value: Json) -> Iterator[Unknown]:
    if isinstance(kind, Many) and isinstance(value, list):
        for index, one in enumerate(value):
            for found in _in_value(kind.item, one):
                yield _under(f"[{index}]", found)
    elif isinstance(kind, Nested) and isinstance(value, Mapping):
        specs = {spec.wire: spec.type for spec in fields_of(kind.model)}
        yield from _unknown("", value, tuple(specs))
        by_name = {wire.lower(): (wire, inner) for wire, inner in specs.items()}
        for name, one in value.items():
            if name.lower() in by_name:
                wire, inner = by_name[name.lower()]
                for found in _in_value(inner, one):
                    yield _under(wire, found)


def _unknown(path: str, body: Mapping[str, Json], known: tuple[str, ...]) -> Iterator[Unknown]:
    lower = {one.lower() for one in known}
    for name in body:
        if name.lower() not in lower:
            yield Unknown(path, name, known)


def _under(outer: str, found: Unknown) -> Unknown:
    return found._replace(path=join(outer, found.path))


def _inside(body: Mapping[str, Json], wanted: str) -> Json:
    return next((value for name, value in body.items() if name.lower() == wanted), None)
