# SPDX-License-Identifier: Apache-2.0
"""The north store in memory is one."""

from __future__ import annotations

import asyncio

import pytest

from tests.api.memory_north import MemoryNorth
from tests.api.north_contract import CONTRACT, Rule, furnish


@pytest.mark.parametrize("rule", CONTRACT, ids=lambda rule: rule.__name__)
def test_a_north_store_in_memory_keeps_the_contract(rule: Rule) -> None:
    async def go() -> None:
        north = MemoryNorth()
        await furnish(north)
        await rule(north)

    asyncio.run(go())
