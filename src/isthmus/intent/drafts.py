# SPDX-License-Identifier: Apache-2.0
"""A resource while it is being written: what a kind's own rules see and may ask for.

`Resource.settled` is given one. Everything that it reads through the draft is fenced, everything
that it allocates becomes part of the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from heapq import nsmallest
from typing import TypeVar

import msgspec

from isthmus.errors import Conflict
from isthmus.intent.fields import Part
from isthmus.intent.model import Allocation, Stored, View
from isthmus.intent.overlay import Overlay
from isthmus.intent.specs import wire_name
from isthmus.intent.versions import Version

P = TypeVar("P", bound=Part)

NAMED = 5
"""How many resources an in-use message names."""


class Draft:
    """One resource of a request. Lives for one plan."""

    __slots__ = (
        "_given",
        "_overlay",
        "_previous",
        "allocations",
        "etag",
        "key",
        "kind",
        "mentions",
        "model",
        "old",
        "parent",
        "path",
        "ref",
        "replacing",
        "requires",
        "tree",
        "version",
    )

    def __init__(
        self,
        overlay: Overlay,
        kind: str,
        model: type[Part],
        ref: str,
        *,
        old: Stored | None,
        previous: Part | None,
        parent: str | None,
        path: str,
        version: Version,
        replacing: bool,
        tree: Collection[str],
        etag: str,
        given: Collection[str] = (),
    ) -> None:
        self._overlay = overlay
        self._given = given
        self._previous = previous
        self.kind = kind
        """Its name, as `Stored.kind`."""
        self.model = model
        """The struct of its properties."""
        self.ref = ref
        self.key = ref.lower()
        self.old = old
        """The stored row that this one takes the place of."""
        self.parent = parent
        """Key of the parent; its row is already the new one."""
        self.path = path
        self.version = version
        self.replacing = replacing
        self.tree = tree
        """Keys of all stored rows that this request writes anew."""
        self.etag = etag
        """What all that this request writes gets as its etag."""
        self.allocations: set[Allocation] = set()
        self.requires: set[str] = set()
        self.mentions: set[str] = set()

    def before(self, model: type[P]) -> P | None:
        """The stored properties; None when the resource is new."""
        return self._previous if isinstance(self._previous, model) else None

    def gives(self, attribute: str) -> bool:
        """Whether the request has a value for one of its fields, be it the stored one."""
        return attribute in self._given

    def at(self, attribute: str) -> str:
        """The JSON path of one of its fields."""
        return f"{self.path}properties.{wire_name(self.model, attribute)}"

    def read(self, key: str) -> Stored | None:
        """Another resource, whose change until the plan is applied will refuse the plan."""
        return self._overlay.read(key)

    def get(self, key: str) -> Stored | None:
        """Another resource, not fenced."""
        return self._overlay.get(key)

    def collection(self, kind: str) -> Iterable[Stored]:
        """All resources of a top-level kind, not fenced: `require` the one that is relied upon."""
        return self._overlay.collection(kind)

    def children(self, key: str, kind: str) -> Sequence[Stored]:
        """Children of another resource; fenced when that resource is."""
        return self._overlay.children(key, kind)

    def free(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        """A number of the inclusive ranges that nobody holds, the earlier ranges first."""
        return self._overlay.free(scope, ranges)

    def held(self, scope: str, first: int, last: int) -> int:
        """How many numbers of the inclusive range are held."""
        return self._overlay.held(scope, first, last)

    def holder(self, scope: str, number: int) -> str | None:
        """Key of another resource that holds the number."""
        holder = self._overlay.holder(Allocation(scope, str(number)))
        return None if holder == self.key else holder

    def allocate(self, scope: str, number: int) -> None:
        """Hold the number as long as the resource exists or until it is written without it."""
        self.allocations.add(Allocation(scope, str(number)))

    def amend(self, row: Stored) -> None:
        """Change what only this controller knows of another resource, whose etag stays."""
        self._overlay.put(row)

    def change(self, row: Stored, *, replacing: bool = False) -> None:
        """Change what clients see of another resource; or (`replacing`) change it only if nothing
        that this request does not write requires it."""
        self._overlay.put(msgspec.structs.replace(row, etag=self.etag), replacing=replacing)

    def siblings(self) -> list[Stored]:
        """The other children of the same kind as they will be: those that this request has written
        already, and those that it does not write."""
        return [
            row
            for row in self._overlay.children(self.parent or "", self.kind)
            if row.key != self.key and (row.key not in self.tree or row.etag == self.etag)
        ]

    def users_of(self, key: str) -> list[str]:
        """Keys of all that requires another resource, in no order."""
        return requirers(self._overlay, (key,), ())

    def require(self, key: str) -> None:
        """The resource `key` must not vanish while this one exists."""
        self.requires.add(key)

    def referrers(self, key: str) -> Collection[str]:
        """Keys of the resources that require or mention another one."""
        return self._overlay.referrers(key)

    def users(self) -> list[str]:
        """Keys of the resources outside that require this one or something below it."""
        below = f"{self.key}/"
        own = [key for key in self.tree if key == self.key or key.startswith(below)]
        return requirers(self._overlay, own, self.tree)

    def replace_unless_used(self, code: str, attribute: str, rule: str) -> None:
        """Let the change of `attribute` happen only while nothing requires this resource. The store
        is told to delete and insert it, which it refuses should something require it by then.
        Raises Conflict."""
        if self.old is None:
            return
        users = self.users()
        if users:
            raise Conflict(
                f"{rule} {self.ref} is used by {named(self._overlay, users)}.",
                code=code,
                target=self.at(attribute),
            )
        self.replacing = True


def requirers(view: View, keys: Iterable[str], inside: Collection[str]) -> list[str]:
    """Keys of what requires one of `keys`, but for those in `inside`; in no order."""
    found = []
    for key in keys:
        for referrer in view.referrers(key):
            if referrer not in inside:
                row = view.get(referrer)
                if row is not None and key in row.requires:
                    found.append(referrer)
    return found


def named(view: View, keys: Collection[str]) -> str:
    """The first few of `keys`, spelled as references, for a message."""
    distinct = set(keys)
    first = nsmallest(NAMED, distinct)
    refs = [row.ref if (row := view.get(key)) else key for key in first]
    more = len(distinct) - len(first)
    return ", ".join(refs) + (f" and {more} more" if more else "")
