# SPDX-License-Identifier: Apache-2.0
"""Has the switch forget connections (`forgetting`), without keeping it from its work for long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from isthmus.agent.ovs.forgetting import FEW, with_connections
from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import Unavailable
from isthmus.switches.ovs import control
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.facts import TrackedAddress

TIME_S, AGAIN_S = 0.2, 1.0
"""For how long it forgets, and until it goes on."""


class Flushing:
    """Of one host. `again` is called when there is more to forget, and it is time for it."""

    def __init__(
        self,
        state: OvsHost,
        connection: Connection,
        run_directory: Path,
        again: Callable[[], None],
    ) -> None:
        self._state, self._connection = state, connection
        self._run_directory, self._again = run_directory, again
        self._waiting: asyncio.TimerHandle | None = None

    async def flush(self) -> None:
        """Have forgotten what is to be forgotten by now. Raises Unavailable."""
        zones, gone = self._state.forgotten()
        try:
            if zones:
                await self._connection.flush(zones, [])
            if len(gone) > FEW:
                gone = await self._known(gone)
            await self._flush(gone)
        finally:
            self._state.forgetting.put_back(gone)
        if self._state.forgetting.must_go_on and self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(AGAIN_S, self._go_on)

    async def _known(self, gone: Sequence[TrackedAddress]) -> list[TrackedAddress]:
        """Those that the switch has connections of; all, where it does not say."""
        dumped: dict[int, str] = {}
        for zone in sorted({one.zone for one in gone}):
            with contextlib.suppress(Unavailable):
                dumped[zone] = await control.ask(
                    self._run_directory, "dpctl/dump-conntrack", [f"zone={zone}"]
                )
        return with_connections(gone, dumped)

    async def _flush(self, gone: list[TrackedAddress]) -> None:
        """The first of them, and as many as there is time for; these are taken out."""
        until_s = time.monotonic() + TIME_S
        while gone:
            one = gone[0]
            await self._connection.flush([], [(one.zone, ip_address(one.address))])
            del gone[0]
            if time.monotonic() > until_s:
                return

    def _go_on(self) -> None:
        self._waiting = None
        self._again()
