# SPDX-License-Identifier: Apache-2.0
"""A resource kind: its struct, its children, and what is shown of it beyond its own fields.

Per API version a kind is compiled once into the tables that reading and rendering run on
(`Projection`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from isthmus.intent.fields import Access, Part, decode, encode
from isthmus.intent.model import Json, JsonObject, Stored, View
from isthmus.intent.refusals import NotSent
from isthmus.intent.resource import Resource
from isthmus.intent.specs import FieldSpec, Reader, Writer, fields_of, readers, writers
from isthmus.intent.values import ValueType
from isthmus.intent.versions import V1, Version


class BackReference(NamedTuple):
    """A read-only list of the resources of one kind that refer to this one."""

    wire: str
    kinds: tuple[str, ...]
    """Empty: none of the kinds that could be in it is offered, it is always empty."""
    description: str
    since: Version = V1
    by: str = ""
    """The attribute by which they refer to it; empty: by any."""


class Computed(NamedTuple):
    """A value that is worked out when the resource is rendered. It is read-only but where a field
    of the same name takes it."""

    wire: str
    of: Callable[[Stored, View], Json]
    schema: JsonObject
    description: str
    since: Version = V1
    as_null: bool = False
    """Whether None is shown as null; else it is left out."""


class Located(NamedTuple):
    """A read-only reference, or list of them, that depends on where ports were seen."""

    wire: str
    as_list: bool
    description: str
    since: Version = V1


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of resource.

    `name` is the collection names from the root, joined by ``/``. A kind with a `singleton` id has
    that one resource only, which exists with defaults before it is first written and cannot be
    deleted.
    """

    name: str
    model: type[Resource]
    children: tuple[Kind, ...] = ()
    singleton: str = ""
    in_use_code: str = "ResourceInUse"
    """Code of the 409 when it is to be deleted and something requires it."""
    since: Version = V1
    """Requests of an older version neither see nor change it; a parent's DELETE takes it along."""
    back_references: tuple[BackReference, ...] = ()
    computed: tuple[Computed, ...] = ()
    has_state: bool = False
    """Whether hosts report a configurationState for it (section A.9)."""
    located: Located | None = None
    applied_by: str = ""
    """The attribute that names what this resource is applied to: it is in use while it names any,
    though none of these refers to it."""

    @functools.cached_property
    def collection(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]

    @functools.cached_property
    def depth(self) -> int:
        return self.name.count("/") + 1

    @functools.cached_property
    def fields(self) -> tuple[FieldSpec, ...]:
        return fields_of(self.model)

    @functools.cached_property
    def referring(self) -> tuple[FieldSpec, ...]:
        """The fields whose values can hold references."""
        return tuple(spec for spec in self.fields if spec.type.can_mention())

    @functools.cached_property
    def immutable(self) -> tuple[FieldSpec, ...]:
        return tuple(spec for spec in self.fields if spec.rules.immutable)

    @functools.cached_property
    def inner_defaults(self) -> tuple[FieldSpec, ...]:
        """The fields that are objects and have one by default."""
        return tuple(spec for spec in self.fields if isinstance(spec.default, Part))

    @functools.cached_property
    def child_by_word(self) -> dict[str, Kind]:
        return {child.collection.lower(): child for child in self.children}

    @functools.cached_property
    def tree(self) -> dict[str, Kind]:
        """Itself and all kinds below it, by name."""
        below = (one for child in self.children for one in child.tree.values())
        return {kind.name: kind for kind in (self, *below)}

    @functools.cached_property
    def projections(self) -> dict[Version, Projection]:
        return {}

    def projection(self, version: Version) -> Projection:
        """The kind as one API version sees it."""
        found = self.projections.get(version)
        if found is None:
            found = self.projections[version] = project(self, version)
        return found

    def children_in(self, version: Version) -> tuple[Kind, ...]:
        """Its children that a version has."""
        return tuple(child for child in self.children if child.since <= version)

    @functools.cached_property
    def shown_elsewhere(self) -> frozenset[str]:
        """Wire names of the fields that a `Computed` shows."""
        return frozenset(
            spec.wire for spec in self.fields if spec.rules.access is Access.SHOWN_ELSEWHERE
        )

    def applied_to(self, stored: Stored) -> tuple[str, ...]:
        """References of what the resource is applied to."""
        found: tuple[str, ...] = ()
        if self.applied_by:
            found = getattr(self.decoded(stored), self.applied_by)
        return found

    def decoded(self, stored: Stored) -> Resource:
        return decode(stored, self.model)


class Projection(NamedTuple):
    """The tables of one kind for one version."""

    readers: dict[str, Reader]
    children: dict[str, Kind]
    """By wire name and by that in lower case."""
    carried: tuple[str, ...]
    """Attributes that keep their stored value when a request does not give them."""
    required: tuple[FieldSpec, ...]
    writers: tuple[Writer, ...]
    back_references: tuple[BackReference, ...]
    computed: tuple[Computed, ...]


def project(kind: Kind, version: Version) -> Projection:
    """Compile the tables of `kind` as `version` sees it."""
    visible = [spec for spec in kind.fields if spec.rules.since <= version]
    table = readers(visible)
    for spec in kind.fields:
        if spec.rules.since > version and spec.rules.too_early:
            refusal: ValueType = NotSent(spec.rules.too_early, str(spec.rules.since))
            table[spec.wire] = table[spec.wire.lower()] = (spec.attribute, spec.wire, refusal)
    children = {}
    for child in kind.children_in(version):
        children[child.collection] = children[child.collection.lower()] = child
    return Projection(
        readers=table,
        children=children,
        carried=tuple(spec.attribute for spec in kind.fields if _is_carried(spec, version)),
        required=tuple(spec for spec in visible if spec.rules.required),
        writers=writers(visible),
        back_references=tuple(b for b in kind.back_references if b.since <= version),
        computed=tuple(c for c in kind.computed if c.since <= version),
    )


def _is_carried(spec: FieldSpec, version: Version) -> bool:
    rules = spec.rules
    return (
        rules.access is not rules.access.WRITABLE or bool(rules.immutable) or rules.since > version
    )


def default_of(kind: Kind) -> Stored:
    """The singleton of `kind` as it is before it is first written."""
    ref = f"/{kind.name}/{kind.singleton}"
    # always the same, on every replica and after every restart
    instance_id = str(uuid5(NAMESPACE_URL, f"isthmus:{ref.lower()}"))
    return Stored(
        key=ref.lower(),
        ref=ref,
        kind=kind.name,
        resource_id=kind.singleton,
        instance_id=instance_id,
        etag=instance_id,
        properties=encode(kind.model()),
    )
