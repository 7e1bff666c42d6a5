# SPDX-License-Identifier: Apache-2.0
"""How many questions (`policy.rows.Query`) a host works on at once, and how many may wait.

Whoever has a certificate of the south store can ask any host anything, as often as it likes. What
is too many is not answered: the host has its ports to serve first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from isthmus.errors import IsthmusError
from isthmus.policy import answers
from isthmus.policy.rows import Answer, Query
from isthmus.wire.ovsdb import RowId

MOST_AT_ONCE = 8
"""The longest take a second or two, and those who ask wait three (`controller.asking`)."""
MOST_WAITING = 64


class Answering:
    """Of one host. `answer` raises nothing; `is_asked` tells whether a question still stands."""

    def __init__(
        self,
        answer: Callable[[RowId, Query], Awaitable[None]],
        is_asked: Callable[[RowId], bool],
    ) -> None:
        self._answer = answer
        self._is_asked = is_asked
        self._waiting: dict[RowId, Query] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, queries: Mapping[RowId, Query]) -> list[RowId]:
        """Answer questions, the oldest first; those that are too many."""
        refused = []
        for row_id, query in queries.items():
            if len(self._waiting) < MOST_WAITING:
                self._waiting[row_id] = query
            else:
                refused.append(row_id)
        for _ in range(min(len(self._waiting), MOST_AT_ONCE - len(self._tasks))):
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return refused

    async def _work(self) -> None:
        while self._waiting:
            row_id = next(iter(self._waiting))
            query = self._waiting.pop(row_id)
            if self._is_asked(row_id):
                await self._answer(row_id, query)


def refusal(query: Query, error: IsthmusError) -> Answer:
    """What to say when there is no answer now."""
    return Answer(id=query.id, host=query.host, result=answers.write_refusal(error.message))
