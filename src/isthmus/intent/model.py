# SPDX-License-Identifier: Apache-2.0
"""Intent as stored, and what a request would change: the values between the REST API and the north
store.

A resource, child or not, is one `Stored` row. Its `key` is its reference in lower case, which is
how it is found; `ref` keeps the client's letter case. A request is turned by `planning` into a
`Plan` by pure code that sees the store through a `View`. Whoever applies a plan must apply all of
it or nothing, and only while every etag in `reads` is still the stored one; else it makes a new
plan from fresh data. What must be unique is an `Allocation`; applying a plan fails when another
resource holds the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

Json = object
"""A decoded JSON value: str, int, float, bool, None, list[Json] or dict[str, Json]. Narrow with
isinstance."""

JsonObject = Mapping[str, Json]


class Allocation(NamedTuple):
    """Something that only one resource may hold. `scope` names the space, `value` is canonical.

    Scopes in use: ``vsid``, ``rdid``, ``mac``, ``instance``; ``ip <subnet key>``; ``acl of <tag
    key>``.
    """

    scope: str
    value: str


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One resource at rest. `properties` is canonical JSON text of the writable and allocated
    fields only: read-only views (back references, states, usage) are made when it is rendered."""

    key: str
    ref: str
    kind: str
    """Collection names from the root, joined by ``/``: ``virtualNetworks/subnets``."""
    resource_id: str
    instance_id: str
    etag: str
    """A bare GUID; the wire form is ``W/"<guid>"``."""
    parent: str | None = None
    """Key of the parent resource."""
    position: int = 0
    """Order among the siblings, as the client gave it."""
    properties: bytes = b"{}"
    tags: bytes = b"{}"
    metadata: bytes = b"{}"
    """resourceMetadata, as sent."""
    requires: frozenset[str] = frozenset()
    """Keys that must exist while this exists."""
    mentions: frozenset[str] = frozenset()
    """Keys that may vanish."""
    allocations: frozenset[Allocation] = frozenset()
    owner: str = ""
    """Who created it: a user or the common name of a certificate. Empty for whoever need not say
    who they are, and for what an older version stored."""
    request_id: str = ""
    """x-ms-client-request-id of the last write, and below what it was answered."""
    operation_id: str = ""
    status: int = 0


class View(Protocol):
    """The north store as one consistent picture. Every look-up is O(1) or O(result)."""

    def get(self, key: str) -> Stored | None: ...

    def children(self, key: str, kind: str) -> Sequence[Stored]:
        """Children of that kind, by position, then key."""
        ...

    def collection(self, kind: str) -> Iterable[Stored]:
        """All resources of a top-level kind, by key."""
        ...

    def referrers(self, key: str) -> Collection[str]:
        """Keys of the resources that require or mention `key`."""
        ...

    def holder(self, allocation: Allocation) -> str | None:
        """Key of the resource that holds it."""
        ...

    def free(self, scope: str, ranges: Sequence[tuple[int, int]]) -> int | None:
        """A number in the inclusive `ranges` that nobody holds in `scope` (values of such a scope
        are integers as text: addresses and MACs too), lowest first for a single controller; None if
        there is none. The same number is not proposed twice while a plan that took it may still be
        on its way."""
        ...

    def held(self, scope: str, first: int, last: int) -> int:
        """How many numbers of the inclusive range are held in `scope`."""
        ...


class Places(Protocol):
    """Where hosts have said that ports are. Look-ups must be O(1) or O(result)."""

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        """Of a network interface, the reference of the server on whose switch it is; of a server,
        those of the network interfaces on its switch."""
        ...


class Outcome(NamedTuple):
    """What one request of a batch is answered with."""

    status: int
    ref: str
    """Key of the resource to answer with; empty for none."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one request (or one batch) changes, all or nothing.

    `inserts` are new; `updates` keep their identity in the store; `replaces` are deleted and
    inserted anew in the same transaction under the same key, which the store refuses when something
    requires them: that is how "may not change while in use" holds against concurrent writers;
    `deletes` likewise are refused while required. A row below a replaced or deleted one is replaced
    or deleted too, so that no row loses its parent.
    """

    inserts: tuple[Stored, ...] = ()
    updates: tuple[Stored, ...] = ()
    replaces: tuple[Stored, ...] = ()
    deletes: tuple[str, ...] = ()
    reads: Mapping[str, str] = {}
    """key → etag of everything that the checks relied upon."""
    status: int = 200
    ref: str = ""
    """Key of the resource to answer with; empty for none."""
    in_use_code: str = "ResourceInUse"
    """The code of the 409 when the store refuses a delete or a replacement."""
    outcomes: tuple[Outcome, ...] = ()
    """One for each request, in their order."""


def written_by(plan: Plan) -> dict[str, Stored]:
    """The rows that a plan would store, by key."""
    return {row.key: row for row in (*plan.inserts, *plan.updates, *plan.replaces)}


class Ids(Protocol):
    """Source of identifiers, so that planning stays pure."""

    def guid(self) -> str:
        """A new random GUID in lower case."""
        ...
