# SPDX-License-Identifier: Apache-2.0
"""Questions of a controller to hosts, by `Query` and `Answer` rows; and waiting for changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from isthmus.errors import Unavailable
from isthmus.policy.answers import Reply, Told, read, refused
from isthmus.policy.questions import Alive, Question, shape_of
from isthmus.policy.rows import Answer, Query
from isthmus.store.connection import Connection
from isthmus.wire.ovsdb import RowId, delete, insert

A = TypeVar("A", bound=Told)

ANSWER_S = 3.0
"""How long a host is given to answer a question."""
UNREAD_S = 60.0
"""After which a question or an answer is nobody's any more."""


class Asking:
    """Asks hosts through the south store."""

    def __init__(
        self,
        south: Connection,
        is_alive: Callable[[str], bool],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._south = south
        self._is_alive = is_alive
        self._now_s = now_s
        self._waiting: set[asyncio.Event] = set()
        self._unread: dict[tuple[str, RowId], float] = {}
        """Questions and answers, and when they were first seen, by our own monotonic clock."""

    def south_changed(self) -> None:
        """Let those who wait look again."""
        for event in self._waiting:
            event.set()

    async def next_change(self, until: float) -> bool:
        """Wait for a change of the south store; False when the monotonic time is up."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await event.wait()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(event)
        return True

    async def ask(self, host: str, question: Question[A]) -> Reply[A]:
        """What a host answers, or why it does not."""
        if not self._is_alive(host):
            return refused(f"{host} is silent")
        try:
            answer = await self._answer(host, question.text)
        except Unavailable as error:
            return refused(error.message)
        if answer is None:
            return refused(f"{host} did not answer in {ANSWER_S:g} s")
        return read(answer, shape_of(question))

    async def is_there(self, host: str) -> bool:
        """Whether an agent answers under that name, whatever it says. Raises Unavailable."""
        return await self._answer(host, Alive().text) is not None

    async def _answer(self, host: str, question: str) -> str | None:
        """As the host has written it; None if it has not in time. Raises Unavailable."""
        await self.forget_unread()
        query = Query(
            id=str(uuid4()),
            host=host,
            question=question,
            deadline_s=int(time.time() + ANSWER_S) + 1,
        )
        await self._south.transact([insert(Query.TABLE, query)])
        until = time.monotonic() + ANSWER_S
        while (found := self._answer_to(query.id)) is None:
            if not await self.next_change(until):
                await self._withdraw(query)
                return None
        row_id, answer = found
        with contextlib.suppress(Unavailable):  # then it is forgotten later
            await self._south.transact([delete(Answer.TABLE, row_id)])
        return answer.result

    async def _withdraw(self, query: Query) -> None:
        """Nobody waits for its answer any more."""
        rows = self._south.table(Query).items()
        asked = [delete(Query.TABLE, row_id) for row_id, row in rows if row.id == query.id]
        if asked:
            with contextlib.suppress(Unavailable):  # then it is forgotten later
                await self._south.transact(asked)

    async def take(self, prefix: str, shape: type[A]) -> list[Reply[A]]:
        """What hosts have told under ids that begin so, in their order; it is told once."""
        found = sorted(
            (answer.host, len(answer.id), answer.id, row_id, answer.result)
            for row_id, answer in self._south.table(Answer).items()
            if answer.id.startswith(prefix)
        )
        if not found:
            return []
        await self._south.transact([delete(Answer.TABLE, row_id) for *_, row_id, _ in found])
        return [read(result, shape) for *_, result in found]

    async def keep_forgetting(self, every_s: float = UNREAD_S / 2) -> None:
        """Until cancelled: nobody need ask for anything."""
        while True:
            await self.forget_unread()
            await asyncio.sleep(every_s)

    async def forget_unread(self) -> None:
        """Questions that no host has taken in time, and answers that nobody has come for: their
        controller has ended.
        """
        now_s = self._now_s()
        found = [(Answer.TABLE, i) for i, row in self._south.table(Answer).items() if row.host]
        found += [(Query.TABLE, i) for i in self._south.table(Query)]
        self._unread = {place: self._unread.get(place, now_s) for place in found}
        old = [
            delete(*place) for place, since_s in self._unread.items() if since_s < now_s - UNREAD_S
        ]
        if old:
            with contextlib.suppress(Unavailable):
                await self._south.transact(old)

    def _answer_to(self, query_id: str) -> tuple[RowId, Answer] | None:
        for row_id, answer in self._south.table(Answer).items():
            if answer.id == query_id:
                return row_id, answer
        return None
