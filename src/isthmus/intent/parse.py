# SPDX-License-Identifier: Apache-2.0
"""A request body to canonical values (MS-NCNBI sections A.5 and B.99): keys in any letter case,
strings for numbers and booleans, nulls as absent (but of children, whom a null leaves alone),
read-only and unknown fields ignored.

What is judged here is the body alone. What needs the stored state (is a required field missing, or
kept from before?) is planning's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from isthmus.errors import Invalid
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json
from isthmus.intent.paths import checked_id
from isthmus.intent.refusals import Unoffered
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.specs import read_fields
from isthmus.intent.values import inside, is_nothing, shown, text_of, wrong_type
from isthmus.intent.versions import LATEST, Version

_GUID = re.compile(r"\{?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\}?\Z")
_NO_GUID = "00000000-0000-0000-0000-000000000000"
_ETAG = re.compile(r'(?:W/)?"?([^"]*)"?\Z', re.IGNORECASE)
_ETAGS = re.compile(r'(?:W/)?"([^"]*)"|([^",\s]+)', re.IGNORECASE)

ENVELOPE = ("resourceId", "instanceId", "etag", "tags", "resourceMetadata", "properties")
_ENVELOPE_NAMES = {name.lower(): name for name in ENVELOPE} | {name: name for name in ENVELOPE}

CHILDREN_LIMIT = 10_000
"""Children of one kind in one request; a request that large is refused rather than planned for
minutes."""


@dataclass(slots=True)
class Parsed:
    """One resource of a request body, its children below it."""

    kind: Kind
    path: str
    """JSON path of the object, ending in a dot if not empty: what error targets begin with."""
    resource_id: str = ""
    instance_id: str = ""
    """The client's choice, if it is a GUID."""
    etag: str = ""
    tags: bytes = b"{}"
    metadata: bytes = b"{}"
    values: dict[str, object] = field(default_factory=dict)
    """Canonical values by attribute: only what the body gives."""
    children: dict[Kind, list[Parsed]] = field(default_factory=dict)
    untouched: list[Kind] = field(default_factory=list)
    """The kinds of children that the body has null for: they stay as they are stored."""


def bare_etag(text: str) -> str:
    """``W/"<guid>"``, with or without its dress, to the bare text in lower case."""
    match = _ETAG.match(text.strip())
    return (match.group(1) if match else text).lower()


def etags(text: str) -> tuple[str, ...]:
    """The bare texts of a list of etags (RFC 9110 section 13.1.1), be they in quotes or not."""
    return tuple(
        (match.group(1) or match.group(2) or "").lower() for match in _ETAGS.finditer(text)
    )


def parse(
    kind: Kind,
    body: Json,
    *,
    version: Version = LATEST,
    path: str = "",
    registry: Registry = REGISTRY,
) -> Parsed:
    """Read the body of a PUT. Raises Invalid, its target the JSON path of the field in canonical
    spelling."""
    if not isinstance(body, dict):
        raise Invalid(
            f"{shown(body)} is not an object.",
            code="InvalidRequestFormat",
            target=path.rstrip(".") or None,
        )
    parsed, properties = Parsed(kind, path), None
    name: str | None = None
    try:
        for sent, value in body.items():
            name = _ENVELOPE_NAMES.get(sent) or _ENVELOPE_NAMES.get(sent.lower())
            if name == "properties":
                properties = value
            elif name is not None and value is not None:
                _read_envelope(parsed, name, value)
    except Invalid as error:
        raise inside(error, f"{path}{name}") from error
    if properties is not None:
        _read_properties(parsed, properties, version, registry)
    return parsed


def _read_envelope(parsed: Parsed, name: str, value: Json) -> None:
    if name == "resourceId":
        parsed.resource_id = checked_id(value) if value != "" else ""
    elif name == "instanceId":
        # what is no GUID is not honoured, and not refused: the field is read-only (section A.5)
        match = _GUID.match(value.lower()) if isinstance(value, str) else None
        guid = match.group(1) if match else ""
        # serialisers of .NET clients send zeros for none, and SDNExplorer reads them as none
        parsed.instance_id = "" if guid == _NO_GUID else guid
    elif name == "etag":
        parsed.etag = bare_etag(text_of(value))
    else:
        if is_nothing(value):
            return
        if isinstance(value, msgspec.Raw):
            given = bytes(value)  # as `render` shows what is stored
        elif isinstance(value, dict):
            given = _as_given(value)
        else:
            raise wrong_type(value, "an object")
        if name == "tags":
            parsed.tags = given
        else:
            parsed.metadata = given


def _as_given(value: Json) -> bytes:
    """JSON that is kept as the client gave it (tags, resourceMetadata). Raises Invalid."""
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        raise Invalid(
            f"{shown(value)} cannot be kept: {error}.", code="InvalidRequestFormat"
        ) from error


def _read_properties(
    parsed: Parsed, properties: Json, version: Version, registry: Registry
) -> None:
    where = f"{parsed.path}properties"
    if is_nothing(properties):
        return
    if not isinstance(properties, dict):
        raise inside(wrong_type(properties, "an object"), where)
    projection = parsed.kind.projection(version)
    try:
        parsed.values = read_fields(projection.readers, properties)
    except Unoffered as error:
        raise inside(error.beside(registry.offered), where) from error
    except Invalid as error:
        raise inside(error, where) from error
    if projection.children:
        for sent, value in properties.items():
            child = projection.children.get(sent) or projection.children.get(sent.lower())
            if child is not None and value is None:
                parsed.untouched.append(child)
            elif child is not None and not is_nothing(value):
                here = f"{where}.{child.collection}"
                parsed.children[child] = list(_read_children(child, value, version, here, registry))


def _read_children(
    kind: Kind, value: Json, version: Version, where: str, registry: Registry
) -> Iterator[Parsed]:
    elements = value if isinstance(value, list) else [value]
    if len(elements) > CHILDREN_LIMIT:
        raise Invalid(f"{len(elements)} are too many: at most {CHILDREN_LIMIT}.", target=where)
    seen: dict[str, int] = {}
    for index, element in enumerate(elements):
        child = parse(kind, element, version=version, path=f"{where}[{index}].", registry=registry)
        # MS-NCNBI section A.5: an embedded child must say its resourceId
        if not child.resource_id:
            raise Invalid(
                f"Every one of {kind.collection} needs a resourceId, unique among its siblings.",
                code="RequiredParamMissing",
                target=f"{child.path}resourceId",
            )
        first = seen.setdefault(child.resource_id.lower(), index)
        if first != index:
            raise Invalid(
                f"{shown(child.resource_id)} is already the resourceId of {where}[{first}].",
                code="InvalidResourceName",
                target=f"{child.path}resourceId",
            )
        yield child
