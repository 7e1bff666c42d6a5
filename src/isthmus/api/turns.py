# SPDX-License-Identifier: Apache-2.0
"""Long answers, made in turns with other requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 200
"""Resources that are looked at before other requests get their turn: some milliseconds."""


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """`items` as they are now; whoever walks them must expect that some vanish meanwhile."""
    for number, item in enumerate(list(items), start=1):
        yield item
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
