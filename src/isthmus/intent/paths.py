# SPDX-License-Identifier: Apache-2.0
"""Resource paths: ``/virtualNetworks/v/subnets/s`` to a kind and a key (MS-NCNBI section A.1).

Paths are relative to ``/networking/<version>``, already percent-decoded, and match in any letter
case, with or without a trailing slash.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from isthmus.errors import Invalid, NotFound
from isthmus.intent.kind import Kind, default_of
from isthmus.intent.model import Json, Stored, View
from isthmus.intent.registry import REGISTRY, Registry
from isthmus.intent.values import shown, text_of
from isthmus.intent.versions import LATEST, Version

RESOURCE_ID_LENGTH = 128
"""Longer than every id that known clients make (the longest, Neutron's ``<port>_<address>``, has
82)."""

# Seen on the wire (section A.5): GUIDs with and without braces, names with dots, ``10.0.0.0_24``;
# virtual switch names with spaces. What would need escaping in a path, or could be mistaken for
# one, is left out.
RESOURCE_ID_PATTERN = r"[A-Za-z0-9_{(]([A-Za-z0-9 ._:@~+(){}-]*[A-Za-z0-9_:)}-])?"
_RESOURCE_ID = re.compile(RESOURCE_ID_PATTERN + r"\Z")


class Target(NamedTuple):
    """What a path names: a resource, or the collection of `kind` under `parent` (`resource_id` is
    empty)."""

    kind: Kind
    ref: str
    """Collection names in canonical spelling, ids as given."""
    resource_id: str = ""
    parent_kind: Kind | None = None
    """Kind of the parent resource; None for what stands at the root."""

    @property
    def key(self) -> str:
        return self.ref.lower()

    @property
    def parent(self) -> str | None:
        """Key of the parent resource; None for what stands at the root."""
        levels = 2 if self.resource_id else 1
        return self.key.rsplit("/", levels)[0] or None

    @property
    def is_collection(self) -> bool:
        return not self.resource_id


def resolve(path: str, version: Version = LATEST, registry: Registry = REGISTRY) -> Target:
    """What `path` names; it need not exist. Raises NotFound for a collection that this controller
    does not have, or that came with a newer version. A singleton's collection name alone stands for
    the singleton."""
    parts = path.strip("/").split("/")
    kind = registry.root_by_word.get(parts[0].lower())
    if kind is None:
        raise NotFound(
            f"There is no {shown(parts[0])} here: resources are {', '.join(registry.offered)}.",
            target=path,
        )
    walked: list[str] = []
    parent: Kind | None = None
    for position, part in enumerate(parts):
        if position == 0:
            walked.append(kind.collection)
        elif position % 2:
            walked.append(part)
        else:
            child = kind.child_by_word.get(part.lower())
            if child is None:
                raise NotFound(f"{kind.name} have no {shown(part)}.", target=path)
            parent, kind = kind, child
            walked.append(kind.collection)
        if kind.since > version:
            raise NotFound(
                f"{kind.name} came with API version {kind.since}, and the path says {version}: ask"
                f" at /networking/{kind.since}.",
                target=path,
            )
    if kind.singleton and len(parts) == 1:
        walked.append(kind.singleton)
    return Target(kind, "/" + "/".join(walked), "" if len(walked) % 2 else walked[-1], parent)


def find(view: View, target: Target) -> Stored | None:
    """The stored resource, or the defaults of a singleton that was not written yet."""
    stored = view.get(target.key)
    if stored is None and target.kind.singleton:
        default = default_of(target.kind)
        return default if default.key == target.key else None
    return stored


def listed(view: View, target: Target) -> list[Stored]:
    """The members of a collection. Raises NotFound when its parent does not exist."""
    parent = target.parent
    if parent is None:
        return list(view.collection(target.kind.name))
    if view.get(parent) is None:
        raise NotFound(f"{parent} does not exist.", target=parent)
    return list(view.children(parent, target.kind.name))


def checked_id(value: Json) -> str:
    """A resourceId that a client chose. Raises Invalid."""
    text = text_of(value, "a resourceId")
    if len(text) > RESOURCE_ID_LENGTH or not _RESOURCE_ID.match(text):
        raise Invalid(
            f"{shown(text)} cannot be a resourceId: use 1 to {RESOURCE_ID_LENGTH} letters, digits"
            " and"
            " . _ - : @ ~ + ( ) { }, beginning with a letter, a digit, _, ( or {.",
            code="InvalidResourceName",
        )
    return text
