# SPDX-License-Identifier: Apache-2.0
"""Intent, stored: requests applied to the north store, each wholly or not at all, in one order.

Writes are made by one loop. What has queued up while a transaction was on its way is planned
together, each request seeing those before it, and goes out as one transaction: RAFT commits one
entry at a time, so a hundred requests cost little more than one. Every transaction waits on the
etags that its plans relied upon; one that is refused is planned again on fresh data, request by
request. So any number of controllers may write at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Never

from isthmus.errors import Conflict, IsthmusError, Unavailable
from isthmus.intent.model import Ids, Plan, Stored, View
from isthmus.intent.overlay import Overlay
from isthmus.store import north_rows
from isthmus.store.connection import Change, Connection
from isthmus.store.deletions import Deletions, outdated
from isthmus.store.failures import Duplicate, IntegrityRefused, OutcomeUnknown, WaitFailed
from isthmus.store.identifiers import RandomIds
from isthmus.store.north_transaction import Transaction, stored_of
from isthmus.store.north_view import Lane, NorthView, StoredChange
from isthmus.store.schema import NORTH
from isthmus.wire.ovsdb import Operation, delete, insert, update

log = logging.getLogger(__name__)

GROUP_REQUESTS = 64
"""Of one transaction: about a hundred rows, beyond which a transaction takes as long as two."""
ATTEMPTS = 20
"""Of one request whose plan was overtaken."""
HEARTBEAT_S = 1.0
RECOVERY_S = 10.0
"""After a connection was lost in mid-transaction: how long to wait to learn what became of it."""

PlanFor = Callable[[View, Ids], Plan]


class _Request(NamedTuple):
    plan_for: PlanFor
    request_id: str
    operation_id: str
    done: asyncio.Future[Plan]


class Trust(NamedTuple):
    """Thumbprints of authorities: of the one that signed a certificate, and of those that its
    owner trusts; empty without TLS."""

    signed_by: str = ""
    trusts: frozenset[str] = frozenset()


class North:
    """The north store of one controller; without a name for it, of a command that only writes."""

    def __init__(
        self,
        remotes: Sequence[str],
        *,
        replica: str,
        leader_only: bool = True,
        tls: Callable[[], ssl.SSLContext] | None = None,
        on_changes: Callable[[Sequence[StoredChange]], None] = lambda _changes: None,
        now_s: Callable[[], float] = time.time,
        trust: Callable[[], Trust] = Trust,
    ) -> None:
        """`trust` is asked at every heartbeat: what this controller says of its certificate."""
        self.connection = Connection(
            remotes,
            NORTH,
            north_rows.TABLES,
            name="north",
            leader_only=leader_only,
            tls=tls,
            on_changes=self._changed,
        )
        self._replica = replica
        self._view = NorthView()
        self._ids = RandomIds()
        self._on_changes = on_changes
        self._now_s = now_s
        self._trust = trust
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._tasks: list[asyncio.Task[Never]] = []
        self._deletions = Deletions()

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect; `loaded` waits for the first whole picture."""
        await self.connection.start()
        self._tasks = [asyncio.create_task(self._write_forever(), name="north writes")]
        if self._replica:
            self._tasks.append(asyncio.create_task(self._beat(), name="north heartbeat"))

    async def loaded(self, timeout_s: float | None = None) -> None:
        """Raises Unavailable with the reason after `timeout_s`."""
        await self.connection.loaded(timeout_s)

    async def stop(self) -> None:
        """Stop, and tell the other controllers, so that one of them derives at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._queue.empty():
            request = self._queue.get_nowait()
            if not request.done.done():
                request.done.set_exception(Unavailable("this controller is stopping"))
        own = [
            delete(row.TABLE, row_id)
            for row_id, row in self.connection.table(north_rows.Replica).items()
            if row.name == self._replica
        ]
        if own:
            with contextlib.suppress(IsthmusError):
                await self.connection.transact(own, timeout_s=1.0)
        await self.connection.stop()

    @property
    def view(self) -> NorthView:
        """What is committed."""
        return self._view

    @property
    def connected(self) -> bool:
        return self.connection.connected

    @property
    def problem(self) -> str:
        return self.connection.problem

    @property
    def rows(self) -> int:
        """How many resources are stored."""
        return len(self._view)

    @property
    def trusts(self) -> Mapping[str, Trust]:
        """What all controllers say of their certificates, by name."""
        return {
            row.name: Trust(row.signed_by, row.trusts)
            for row in self.connection.table(north_rows.Replica).values()
        }

    @property
    def heartbeats(self) -> Mapping[str, int]:
        """Of all controllers, by name."""
        return {
            row.name: row.heartbeat for row in self.connection.table(north_rows.Replica).values()
        }

    # -- writing -----------------------------------------------------------------------------------

    async def write(
        self, plan_for: PlanFor, *, request_id: str = "", operation_id: str = ""
    ) -> Plan:
        """Plan and apply one request; the plan as it was applied, which `view` holds by then.

        `plan_for` may be called several times. What it raises is raised. Else raises Conflict when
        the data base refuses to give up what is in use, Unavailable when the store is away, cannot
        commit, or the request was overtaken too often: then nothing was written; OutcomeUnknown, a
        kind of Unavailable, when the store was lost in between and does not hold it afterwards.
        """
        if not self.connected:
            raise Unavailable(f"the north store cannot be reached: {self.problem}")
        done: asyncio.Future[Plan] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Request(plan_for, request_id, operation_id, done))
        return await done

    async def _write_forever(self) -> Never:
        while True:
            group = [await self._queue.get()]
            while len(group) < GROUP_REQUESTS and not self._queue.empty():
                group.append(self._queue.get_nowait())
            try:
                await self._write_group([r for r in group if not r.done.cancelled()])
            except Exception as error:  # a fault of ours must not end all writing
                log.exception("north=write-failed")
                for request in group:
                    if not request.done.done():
                        request.done.set_exception(error)

    async def _write_group(self, group: Sequence[_Request]) -> None:
        """All in one transaction; if it is refused, one after the other."""
        together = Overlay(self._view)
        planned: list[tuple[_Request, Plan]] = []
        for request in group:
            plan = self._plan(request, together if len(group) > 1 else self._view)
            if plan is not None:
                planned.append((request, plan))
                if len(group) > 1:
                    _absorb(together, plan)
        if len(planned) == 1 or not planned:
            for request, plan in planned:
                await self._write_one(request, plan)
            return
        whole = together.plan((), "")
        try:
            await self._apply(whole, planned)
        except (WaitFailed, Duplicate, IntegrityRefused):
            if self._was_applied(whole):
                for request, plan in planned:
                    _succeed(request, plan)
                return
            for request, _ in planned:
                await self._write_one(request, None)
        except OutcomeUnknown as error:
            await self._find_out(whole, planned, error)
        except IsthmusError as error:
            for request, _ in planned:
                _fail(request, error)
        else:
            for request, plan in planned:
                _succeed(request, plan)

    async def _write_one(self, request: _Request, plan: Plan | None) -> None:
        """A request alone, planned again for as long as it is overtaken."""
        refused: IntegrityRefused | None = None
        for attempt in range(ATTEMPTS):
            if plan is None:
                plan = self._plan(request, self._view)
                if plan is None:
                    return
            try:
                await self._apply(plan, [(request, plan)])
            except (WaitFailed, Duplicate):
                if self._was_applied(plan):
                    # A server that loses the lead may try a transaction again that it has
                    # committed: what stands in its way is itself.
                    _succeed(request, plan)
                    return
                plan = None
                await asyncio.sleep(0.001 * attempt)
            except IntegrityRefused as error:
                # Something began to require what is to go, or what is required has gone. Planning
                # on fresh data says which; where it does not, the data base's word stands.
                if refused is not None and (plan.deletes or plan.replaces):
                    _fail(request, _in_use(plan, error))
                    return
                refused, plan = error, None
                await asyncio.sleep(0.001 * attempt)
            except OutcomeUnknown as error:
                await self._find_out(plan, [(request, plan)], error)
                return
            except IsthmusError as error:
                _fail(request, error)
                return
            else:
                _succeed(request, plan)
                return
        _fail(
            request,
            Unavailable(
                f"other requests changed the same resources {ATTEMPTS} times: send it again",
                retry_after_s=1,
            ),
        )

    def _plan(self, request: _Request, view: View) -> Plan | None:
        """The request's plan; None when it was refused, which has then been answered."""
        try:
            return request.plan_for(view, self._ids)
        except Exception as error:  # whatever it is, it is the answer to that request
            _fail(request, error)
            return None

    async def _apply(self, plan: Plan, planned: Sequence[tuple[_Request, Plan]]) -> None:
        operations = Transaction(self._view, self.connection).operations(plan)
        for request, part in planned:
            if part.deletes and request.operation_id:
                operations.append(self._deletion(request, part))
        if operations:
            await self.connection.transact(operations)

    def _deletion(self, request: _Request, plan: Plan) -> Operation:
        row = north_rows.Deletion(
            operation_id=request.operation_id,
            request_id=request.request_id,
            key=min(plan.deletes),
            status=plan.status,
            at_s=int(self._now_s()),
        )
        return insert(row.TABLE, row)

    async def _find_out(
        self, whole: Plan, planned: Sequence[tuple[_Request, Plan]], error: OutcomeUnknown
    ) -> None:
        """The connection was lost in mid-transaction: see what the store holds when it is there
        again.

        What it holds is certain; what it does not hold may still come, for a server that has been
        asked goes on without us, and a new leader may commit what the last one had sent: then the
        answer is that nobody knows.
        """
        until = time.monotonic() + RECOVERY_S
        while not self.connected and time.monotonic() < until:  # noqa: ASYNC110  # as long as that
            await asyncio.sleep(0.02)
        for request, plan in planned:
            if self.connected and self._was_applied(whole):
                _succeed(request, plan)
            else:
                _fail(request, error)

    def _was_applied(self, plan: Plan) -> bool:
        """Whether the store holds the plan's etags, which are new with every plan, or nothing of
        what it deleted.
        """
        written = (*plan.inserts, *plan.updates, *plan.replaces)
        if written:
            return any(
                (row := self._view.get(wanted.key)) is not None and row.etag == wanted.etag
                for wanted in written
            )
        return bool(plan.deletes) and all(self._view.get(key) is None for key in plan.deletes)

    # -- replay ------------------------------------------------------------------------------------

    def written(self, request_id: str) -> Sequence[Stored]:
        """Resources whose last write carried that client request id."""
        return self._stored(self._view.by_request.get(request_id, ()))

    def deletion(self, request_id: str) -> north_rows.Deletion | None:
        """What a request of that client request id deleted."""
        return self._deletions.by_request.get(request_id)

    def operation(self, operation_id: str) -> Sequence[Stored] | north_rows.Deletion | None:
        """What an operation wrote last, or deleted."""
        rows = self._stored(self._view.by_operation.get(operation_id, ()))
        return rows or self._deletions.by_operation.get(operation_id)

    def _stored(self, keys: set[str] | tuple[()]) -> Sequence[Stored]:
        return [row for key in sorted(keys) if (row := self._view.get(key)) is not None]

    # -- following ---------------------------------------------------------------------------------

    def _changed(self, changes: Sequence[Change]) -> None:
        resources = [c for c in changes if c.row_type is north_rows.Resource]
        resources_now = self.connection.table(north_rows.Resource)
        allocations = self.connection.table(north_rows.Allocation)
        found: dict[str, StoredChange] = {}
        gone = [c for c in resources if c.new is None]
        for change in (*gone, *(c for c in resources if c.new is not None)):
            old, new = change.old, change.new
            assert old is None or isinstance(old, north_rows.Resource)
            assert new is None or isinstance(new, north_rows.Resource)
            stored = None if new is None else stored_of(new, resources_now, allocations)
            one = self._view.change(change.row_id, old, stored)
            first = found.get(one.key)
            found[one.key] = one if first is None else one._replace(old=first.old)
        for change in changes:
            if change.row_type is north_rows.Deletion:
                self._deletions.change(change)
            elif change.row_type is north_rows.Replica:
                self._choose_lane()
        self._on_changes([c for c in found.values() if c.old != c.new])

    def _choose_lane(self) -> None:
        names = sorted(self.heartbeats)
        if self._replica in names:
            self._view.lane = Lane(names.index(self._replica), len(names))

    # -- this controller's own row -----------------------------------------------------------------

    async def _beat(self) -> Never:
        """Say that this controller lives; forget what is too old to be asked for."""
        await self.loaded()
        while True:
            rows = self.connection.table(north_rows.Deletion)
            try:
                await self.connection.transact([*self._own_row(), *outdated(rows, self._now_s())])
            except IsthmusError as error:
                log.warning("north=heartbeat-unwritten reason=%s", error)
            except Exception:  # whatever it is, without a heartbeat another takes over
                log.exception("north=heartbeat-unwritten")
            await asyncio.sleep(HEARTBEAT_S)

    def _own_row(self) -> list[Operation]:
        trust = self._trust()
        for row_id, row in self.connection.table(north_rows.Replica).items():
            if row.name == self._replica:
                beat = north_rows.Replica(
                    name=row.name,
                    heartbeat=row.heartbeat + 1,
                    signed_by=trust.signed_by,
                    trusts=trust.trusts,
                )
                said = (row.signed_by, row.trusts) == (trust.signed_by, trust.trusts)
                columns = ["heartbeat"] if said else ["heartbeat", "signed_by", "trusts"]
                return [update(row.TABLE, row_id, beat, columns)]
        row = north_rows.Replica(
            name=self._replica, heartbeat=1, signed_by=trust.signed_by, trusts=trust.trusts
        )
        return [insert(row.TABLE, row)]


def _absorb(overlay: Overlay, plan: Plan) -> None:
    """Lay a plan on an overlay; what it relied upon in the store is relied upon."""
    for key in plan.reads:
        overlay.read(key)
    for key in plan.deletes:
        overlay.remove(key)
    for row in plan.replaces:
        overlay.put(row, replacing=True)
    for row in (*plan.inserts, *plan.updates):
        overlay.put(row)


def _in_use(plan: Plan, error: IsthmusError) -> Conflict:
    gone = ", ".join(sorted((*plan.deletes, *(row.key for row in plan.replaces))))
    return Conflict(
        f"{gone} is in use by something that was made at the same moment: {error.message}",
        code=plan.in_use_code,
        target=plan.ref or None,
    )


def _succeed(request: _Request, plan: Plan) -> None:
    if not request.done.done():
        request.done.set_result(plan)


def _fail(request: _Request, error: Exception) -> None:
    if not request.done.done():
        request.done.set_exception(error)
