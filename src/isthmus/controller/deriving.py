# SPDX-License-Identifier: Apache-2.0
"""The loop from intent to policy: every controller derives, one writes.

All keep their engine up to date, so that a take-over is a comparison and not a computation. What
failed to be written is not remembered: the next write compares everything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Never

from isthmus.controller.foreign import Foreign
from isthmus.controller.leadership import HEARTBEAT_S, Watch
from isthmus.controller.sequences import counts, skipped
from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import IsthmusError
from isthmus.intent.model import Stored
from isthmus.policy.rows import DESIRED, Claim, LearnedAddress, Row
from isthmus.store.connection import Change
from isthmus.store.south import FenceLost, Place, PolicyWriter, Wanted
from isthmus.tending import Tending

log = logging.getLogger(__name__)

AUDIT_CALLS = 20
"""How many unit calls are checked against what is held, each `AUDIT_S`."""
AUDIT_S = 60.0


def faults(engine: Engine) -> Iterator[str]:
    """What derivation could not do, and the rows that several resources say differently, of which
    one holds: for the operator."""
    for (name, key), error in engine.failures.items():
        yield f"{name} {key}: {error!r}"
    for table, row_key in sorted(engine.conflicts(), key=repr):
        calls = " and ".join(f"{name} of {key}" for name, key, _ in engine.givers(table, row_key))
        yield f"{table.__name__} {row_key} is not the same by {calls}: the first of them holds"


class Deriving:
    """Keeps policy at intent while this controller is the deriver."""

    def __init__(
        self,
        writer: PolicyWriter,
        underlay: Underlay,
        *,
        name: str,
        heartbeats: Callable[[], Mapping[str, int]],
        holder: Callable[[], str | None],
    ) -> None:
        """`heartbeats`: of all controllers, by name. `holder`: whom the south store names the
        deriver, empty for nobody, None while that is not known.
        """
        self.engine: Engine = new_engine(underlay)
        self.watch = Watch(name)
        self.problem = ""
        self.written_s = 0.0
        """Monotonic time at which the store last held all that was derived."""
        self._writer = writer
        self._heartbeats = heartbeats
        self._holder = holder
        self._changed = asyncio.Event()
        self._compare_all = True
        self._skipped = False
        """Some sequence may be one that nobody has counted to."""
        self._writing = False
        self.tending = Tending()
        self.foreign = Foreign(
            lambda place: self.engine.rows(place[0]).get(place[1]),
            lambda place: writer.stored(*place),
            time.monotonic,
        )
        self._awaited: dict[Place, Row | None] = {}
        """What another controller has yet to write, as we have derived it too."""

    @property
    def is_deriver(self) -> bool:
        return self._writer.generation is not None

    @property
    def pending(self) -> bool:
        """Whether something derived is not in the south store yet, by our hands or another's."""
        if self._changed.is_set() or self._writing:
            return True
        if self.is_deriver:
            return self._compare_all
        self._forget_written()
        return bool(self._awaited)

    @property
    def told(self) -> Iterator[str]:
        """What is wrong beside what derivation could not do, for the operator."""
        for work, error in sorted(self.tending.faults.items()):
            yield f"a fault of the controller: {work} fails with {error}; it is tried again"
        if self.foreign.told:
            yield self.foreign.told

    def _forget_written(self) -> None:
        """What another controller has written meanwhile is not awaited any more."""
        for place in [p for p, row in self._awaited.items() if self._writer.stored(*p) == row]:
            del self._awaited[place]

    def changed(self, changes: Iterable[tuple[Stored | None, Stored | None]]) -> None:
        """Resources that changed in the north store."""
        for old, new in changes:
            put(self.engine, old, new)
        self._changed.set()

    def south_changed(self, changes: Iterable[Change]) -> None:
        """Rows that changed in the south store; the writer must have noted them."""
        if not self.is_deriver:
            return
        self._skipped |= any(counts(change.new) for change in changes)
        if self.foreign.note(changes) or self._skipped:
            self._changed.set()

    def forget(self) -> None:
        """The south store may hold something else than was written."""
        self._compare_all = True
        self._changed.set()

    async def run(self) -> Never:
        """Lead and write, until cancelled. Both stores must be loaded."""
        await self.tending.attempt("lead", self._lead)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.tending.every(HEARTBEAT_S / 4, "lead", self._lead))
            tasks.create_task(self.tending.whenever("derive", self._changed, self._write))
            tasks.create_task(self.tending.every(AUDIT_S, "audit", self._audit))
        raise AssertionError("the tasks end by cancellation only")

    async def _lead(self) -> None:
        """See who derives, and take over when nobody does."""
        holder = self._holder()
        if holder is not None and self._writer.notice_successor():
            log.warning("deriver=lost to=%s", holder)
            self._compare_all = True
        if holder is not None and not self.is_deriver:
            now_s = time.monotonic()
            if self.watch.should_take_over(holder, self._heartbeats(), now_s):
                await self._take_over()
        elif holder is not None:
            self.watch.should_take_over(holder, self._heartbeats(), time.monotonic())
        if not self.is_deriver:
            self._forget_written()

    async def _take_over(self) -> None:
        try:
            generation = await self._writer.take_over()
        except IsthmusError as error:
            # That another was faster is no problem: it derives.
            self.problem = "" if isinstance(error, FenceLost) else error.message
            log.info("deriver=not-taken reason=%s", error)
        else:
            self.problem = ""
            log.info("deriver=taken generation=%d", generation)
            self.forget()

    async def _write(self) -> None:
        try:
            self.engine.settle()
            changes = self._changes()
        except Exception:
            self._compare_all = True  # some changes may have been taken and not written
            raise
        if not self.is_deriver:
            self._compare_all = True
            self.foreign.forget()
            self._await(changes)
            return
        self._awaited.clear()
        self._writing = True
        try:
            await self._bring_about(changes)
        except FenceLost as error:
            self._compare_all = True
            self.problem = ""
            log.warning("deriver=lost reason=%s", error)
        except IsthmusError as error:
            self._compare_all = True
            self.problem = error.message
            raise
        except BaseException:
            self._compare_all = True
            raise
        finally:
            self._writing = False

    def _await(self, changes: Sequence[Wanted]) -> None:
        """Note what another controller will write; `_lead` forgets what it has written."""
        for change in changes:
            self._awaited[_place(change)] = change[1]

    async def _bring_about(self, changes: Sequence[Wanted]) -> None:
        started = time.monotonic()
        if self._skipped or self._compare_all:
            await self._take_out_skipped()
        if self._compare_all:
            self._compare_all = False
            self.foreign.forget()
            rows = [row for table in DESIRED for row in self.engine.rows(table).values()]
            n_rows = await self._writer.write_all(rows)
            log.info(
                "policy=compared rows=%d changed=%d ms=%.0f",
                *(len(rows), n_rows, (time.monotonic() - started) * 1e3),
            )
        else:
            ours = [_place(change) for change in changes]
            await self._writer.write([*changes, *self.foreign.take(ours)])
        self.problem = ""
        self.written_s = time.monotonic()

    async def _take_out_skipped(self) -> None:
        self._skipped = False
        for table in (Claim, LearnedAddress):
            found = skipped(self._writer.observed(table))
            if found:
                log.error("sequences=skipped table=%s rows=%d", table.TABLE, len(found))
                await self._writer.take_out(table, found)

    def _changes(self) -> list[Wanted]:
        found: list[Wanted] = []
        for table in DESIRED:
            for change in self.engine.changes(table):
                old, new = change.old, change.new
                assert old is None or isinstance(old, Row)
                assert new is None or isinstance(new, Row)
                found.append((old, new))
        return found

    async def _audit(self) -> None:
        """Check at run time, by sampling, that incremental is the same as from nothing."""
        if self._changed.is_set():
            return
        wrong = self.engine.audit(
            lambda calls: random.sample(list(calls), min(AUDIT_CALLS, len(calls)))
        )
        for call in wrong:
            log.error("derivation=wrong unit=%s", call)
        if wrong:
            self.problem = f"derivation differs from what is held: {', '.join(wrong)}"


def _place(change: Wanted) -> Place:
    row = change[1] if change[1] is not None else change[0]
    assert row is not None, "a change has a row before it or after it"
    return type(row), row.key
