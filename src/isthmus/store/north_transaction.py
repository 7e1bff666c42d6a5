# SPDX-License-Identifier: Apache-2.0
"""A plan as one OVSDB transaction (RFC 7047 section 4.1.3): pure but for the replica that it reads.

Rows are named by ``_uuid`` only, so each operation is O(1). An `Allocation` row moves to a new
holder only if the plan takes it from the old one, whose etag is then waited on; else it is inserted
anew, and its index refuses it when somebody holds the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from isthmus.intent.model import Allocation, Plan, Stored
from isthmus.store import north_rows
from isthmus.store.connection import Connection
from isthmus.store.failures import WaitFailed
from isthmus.store.north_view import INSTANCE, NorthView
from isthmus.wire.ovsdb import Operation, RowId, delete, insert, named, update, wait

_RESOURCE = north_rows.Resource.TABLE
_COLUMNS = [name for name in north_rows.Resource.__struct_fields__ if name != "key"]


class Transaction:
    """Makes the operations of one plan."""

    def __init__(self, view: NorthView, connection: Connection) -> None:
        self._view = view
        self._resources = connection.table(north_rows.Resource)
        self._new: dict[str, RowId] = {}
        self._new_allocations: dict[Allocation, RowId] = {}
        self._free: dict[Allocation, RowId] = {}
        self._allocations = connection.table(north_rows.Allocation)

    def operations(self, plan: Plan) -> list[Operation]:
        """Raises WaitFailed when the replica shows already that the plan has been overtaken."""
        for number, row in enumerate((*plan.inserts, *plan.replaces)):
            self._new[row.key] = named(f"r{number}")
        touched = [*plan.deletes, *(row.key for row in (*plan.updates, *plan.replaces))]
        for key in touched:
            self._free.update(self._held(key))
        return [
            *self._waits(plan),
            *(delete(_RESOURCE, self._known(key)) for key in plan.deletes),
            *(delete(_RESOURCE, self._known(row.key)) for row in plan.replaces),
            *self._writes(plan),
        ]

    def _waits(self, plan: Plan) -> Iterator[Operation]:
        for key, etag in plan.reads.items():
            row_id = self._known(key)
            stored = self._resources[row_id]
            if stored.etag != etag:
                raise WaitFailed(f"{key} has changed since it was read")
            yield wait(_RESOURCE, row_id, stored, ["etag"])

    def _writes(self, plan: Plan) -> Iterator[Operation]:
        rows: list[Operation] = []
        for row in (*plan.inserts, *plan.replaces):
            rows.append(insert(_RESOURCE, self._row(row), str(self._new[row.key])))
        for row in plan.updates:
            rows.append(update(_RESOURCE, self._known(row.key), self._row(row), _COLUMNS))
        for allocation, name in self._new_allocations.items():
            value = north_rows.Allocation(scope=allocation.scope, value=allocation.value)
            yield insert(value.TABLE, value, str(name))
        yield from rows

    def _row(self, stored: Stored) -> north_rows.Resource:
        return north_rows.Resource(
            key=stored.key,
            ref=stored.ref,
            kind=stored.kind,
            resource_id=stored.resource_id,
            instance_id=stored.instance_id,
            etag=stored.etag,
            parent=None if stored.parent is None else self._target(stored.parent),
            position=stored.position,
            properties=stored.properties.decode(),
            tags=stored.tags.decode(),
            metadata=stored.metadata.decode(),
            requires=frozenset(map(self._target, stored.requires)),
            # What may vanish may have vanished already.
            mentions=frozenset(self._present(stored.mentions)),
            allocations=frozenset(
                self._allocation(one) for one in stored.allocations if one.scope != INSTANCE
            ),
            owner=stored.owner,
            request_id=stored.request_id,
            operation_id=stored.operation_id,
            status=stored.status,
        )

    def _known(self, key: str) -> RowId:
        row_id = self._view.row_ids.get(key)
        if row_id is None:
            raise WaitFailed(f"{key} is gone")
        return row_id

    def _target(self, key: str) -> RowId:
        return self._new.get(key) or self._known(key)

    def _present(self, keys: Iterable[str]) -> Iterator[RowId]:
        for key in keys:
            if key in self._new or key in self._view.row_ids:
                yield self._target(key)

    def _held(self, key: str) -> Iterator[tuple[Allocation, RowId]]:
        for row_id in self._resources[self._known(key)].allocations:
            row = self._allocations[row_id]
            yield Allocation(row.scope, row.value), row_id

    def _allocation(self, allocation: Allocation) -> RowId:
        free = self._free.get(allocation)
        if free is not None:
            return free
        if allocation not in self._new_allocations:
            self._new_allocations[allocation] = named(f"a{len(self._new_allocations)}")
        return self._new_allocations[allocation]


def stored_of(
    row: north_rows.Resource,
    resources: Mapping[RowId, north_rows.Resource],
    allocations: Mapping[RowId, north_rows.Allocation],
) -> Stored:
    """The other way round: a row as intent knows it."""
    held = [allocations[row_id] for row_id in row.allocations]
    return Stored(
        key=row.key,
        ref=row.ref,
        kind=row.kind,
        resource_id=row.resource_id,
        instance_id=row.instance_id,
        etag=row.etag,
        parent=None if row.parent is None else resources[row.parent].key,
        position=row.position,
        properties=row.properties.encode(),
        tags=row.tags.encode(),
        metadata=row.metadata.encode(),
        requires=frozenset(resources[row_id].key for row_id in row.requires),
        mentions=frozenset(resources[row_id].key for row_id in row.mentions),
        allocations=frozenset(
            (
                Allocation(INSTANCE, row.instance_id),
                *(Allocation(one.scope, one.value) for one in held),
            )
        ),
        owner=row.owner,
        request_id=row.request_id,
        operation_id=row.operation_id,
        status=row.status,
    )
