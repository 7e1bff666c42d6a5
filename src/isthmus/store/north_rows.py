# SPDX-License-Identifier: Apache-2.0
"""The rows of the north store: intent at rest, and what makes writing it safe.

Every resource, child or not, is one `Resource` row. References between resources are of two kinds:
`requires` and `parent` are strong (the data base itself refuses to delete what is in use),
`mentions` weak. What must be unique is an `Allocation` row, which vanishes with its last holder;
but for instance ids, of which every resource has one: they are a column with an index.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from isthmus.wire.ovsdb import RowId


class NorthRow(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the rows. `KEY`: columns that are unique together, as are those of each of
    `ALSO_UNIQUE`; `ROOT`: lives on its own."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]
    ALSO_UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = ()
    ROOT: ClassVar[bool] = True


class Resource(NorthRow, frozen=True, kw_only=True):
    """`intent.model.Stored`, with rows for names."""

    TABLE = "Resource"
    KEY = ("key",)
    ALSO_UNIQUE = (("instance_id",),)
    key: str
    ref: str
    kind: str
    resource_id: str
    instance_id: str
    etag: str
    parent: RowId | None = None
    position: int = 0
    properties: str = "{}"
    tags: str = "{}"
    metadata: str = "{}"
    requires: frozenset[RowId] = frozenset()
    mentions: frozenset[RowId] = frozenset()
    allocations: frozenset[RowId] = frozenset()
    owner: str = ""
    request_id: str = ""
    operation_id: str = ""
    status: int = 0


class Allocation(NorthRow, frozen=True, kw_only=True):
    """`intent.model.Allocation`."""

    TABLE = "Allocation"
    KEY = ("scope", "value")
    ROOT = False
    scope: str
    value: str


class Deletion(NorthRow, frozen=True, kw_only=True):
    """What a request deleted, so that its replay is answered alike by every controller. `at_s` is
    seconds since the epoch."""

    TABLE = "Deletion"
    KEY = ("operation_id",)
    operation_id: str
    request_id: str = ""
    key: str = ""
    status: int = 0
    at_s: int = 0


class Replica(NorthRow, frozen=True, kw_only=True):
    """One controller. `heartbeat` counts up while it lives. `signed_by` and `trusts` are SHA-256
    thumbprints of authorities: of its certificate, and those that it trusts; empty without TLS."""

    TABLE = "Replica"
    KEY = ("name",)
    name: str
    heartbeat: int = 0
    signed_by: str = ""
    trusts: frozenset[str] = frozenset()


TABLES: tuple[type[NorthRow], ...] = (Resource, Allocation, Deletion, Replica)

REFERENCES: dict[tuple[str, str], tuple[str, str]] = {
    ("Resource", "parent"): ("Resource", "strong"),
    ("Resource", "requires"): ("Resource", "strong"),
    ("Resource", "mentions"): ("Resource", "weak"),
    ("Resource", "allocations"): ("Allocation", "strong"),
}
"""Of columns that refer to rows: to which table, and how (RFC 7047 section 3.2)."""
