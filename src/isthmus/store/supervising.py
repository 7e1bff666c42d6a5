# SPDX-License-Identifier: Apache-2.0
"""Keeping a server of this machine running: one that has died or has given up is started again.

An ovsdb-server that could not write its log (a full disk) stays in RAFT's state ``failed`` for
ever, answers what it is asked of itself, and serves nobody: it is replaced once there is room. One
that hangs is told of, and left: it may be busy, and another cannot have its data meanwhile.

Nothing is made here. A data base that is missing stays missing, and what the operator has stopped
stays stopped.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence

from isthmus.errors import IsthmusError, Unavailable
from isthmus.store.clusters import FAILED, cluster_status, problem_of
from isthmus.store.databases import check, convert
from isthmus.store.exposure import ServerTls
from isthmus.store.files import ServerFiles, State, placement
from isthmus.store.presenting import Presenting
from isthmus.store.schema import Schema
from isthmus.store.servers import held, process_of, start, stop_server

log = logging.getLogger(__name__)

LOOK_S = 0.1
"""Between two looks whether the process is there: two small files are read."""
SUSPECT_AFTER_S = 2.0
"""Without service a server is asked what ails it; an election takes about as long."""
ASK_S = 2.0
"""Between two such questions: each is a process."""
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
STEADY_S = 2.0
"""A server that dies after so long in service is started again without a longer delay: what ends it
is not how it starts."""
ROOM_BYTES = 1 << 20
"""With less on its disk a server that has given up would do so again at its next record or two."""


class Keeper:
    """Keeps one server. `serves` says whether the controller is served by it now."""

    def __init__(
        self,
        files: ServerFiles,
        schema: Schema,
        *,
        serves: Callable[[], bool],
        listen: Sequence[str] = (),
        tls: ServerTls | None = None,
    ) -> None:
        self.problem = ""
        """What is wrong with the server here, and what is done about it; empty when nothing is."""
        self.restarts = 0
        """Since this process began."""
        self._files = files
        self._schema = schema
        self._serves = serves
        self._listen = tuple(listen)
        self._tls = tls
        self._presenting = None if tls is None else Presenting(files, listen, tls)
        self._presents = ""
        """What is wrong with the certificate that it presents."""
        self._well_s = time.monotonic()
        """When it served last, or was started."""
        self._steady_from_s = time.monotonic()
        self._not_before_s = 0.0
        self._delay_s = FIRST_DELAY_S

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._look()
            except (IsthmusError, OSError) as error:
                self._note(str(error))
            except Exception as error:  # whatever it is, the server must not be without a keeper
                log.exception("store=%s keeper=fault", self._files.name)
                self._note(f"a fault of the controller: {error!r}")
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> None:
        match placement(self._files).state:
            case State.STOPPED:
                self._note("`isthmus store stop` has stopped it: `isthmus store start`")
                return
            case State.LEFT:
                self._note("it has left its cluster: stop this controller, or name other servers")
                return
            case State.SERVES:
                pass
        now_s = time.monotonic()
        pid = process_of(self._files)
        if pid is None:
            self._steady_from_s = now_s
            await self._start_again("its ovsdb-server has ended")
        elif self._serves():
            self._well_s = now_s
            if self._presenting is not None:
                found = await self._presenting.look(pid, now_s)
                self._presents = self._presents if found is None else found
            self._note(self._presents)
            if now_s - self._steady_from_s > STEADY_S:
                self._delay_s = FIRST_DELAY_S
        elif now_s - self._well_s > SUSPECT_AFTER_S:
            self._steady_from_s = now_s
            await self._examine()

    async def _examine(self) -> None:
        """Find out why it runs and does not serve us."""
        found = await cluster_status(self._files, str(self._schema["name"]))
        if found.status == FAILED:
            await self._start_again(problem_of(found))
            return
        self._note(problem_of(found))
        await asyncio.sleep(ASK_S)

    async def _start_again(self, why: str) -> None:
        """Unless it is too early, or would be in vain."""
        now_s = time.monotonic()
        free = _free_bytes(self._files)
        if free < ROOM_BYTES:
            self._note(
                f"{why}. The disk of {self._files.directory} has {free} bytes left: make room, and"
                " it is started again"
            )
            return
        if now_s < self._not_before_s:
            self._note(f"{why}: it is started again after a pause")
            return
        self._note(why)
        self._not_before_s = now_s + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
        async with held(self._files):
            if placement(self._files).state is not State.SERVES:
                return
            await self._replace()
        self._well_s = time.monotonic()

    async def _replace(self) -> None:
        await stop_server(self._files)
        if not self._files.database.exists():
            raise Unavailable(
                f"{self._files.database} is missing: restore a backup (`isthmus restore FILE`), or"
                " `isthmus store join` where other servers have the data"
            )
        await check(self._files, self._schema)
        pid = await start(self._files, self._listen, self._tls)
        self.restarts += 1
        log.warning(
            "store=%s server=%d restarts=%d why=%s",
            *(self._files.name, pid, self.restarts, self.problem),
        )
        await convert(self._files, self._schema)

    def _note(self, problem: str) -> None:
        """Log what is wrong, once for as long as it is the same."""
        if problem and problem != self.problem:
            log.warning("store=%s problem=%s", self._files.name, problem)
        self.problem = problem


def _free_bytes(files: ServerFiles) -> int:
    found = os.statvfs(files.directory)
    return found.f_bavail * found.f_frsize
