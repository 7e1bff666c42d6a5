# SPDX-License-Identifier: Apache-2.0
"""A gate between a client and the server of a store: what goes through it is held from one moment
on, as the network, or a process that was stopped, holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

QUESTIONS, ANSWERS = "questions", "answers"
"""The two ways: to the server, and back."""

_PIECE_BYTES = 1 << 20


class Gate:
    """Open until `hold` is called."""

    def __init__(self, remote: str) -> None:
        self._path = remote.removeprefix("unix:")
        self._open = asyncio.Event()
        self._open.set()
        self._way, self._left = "", 0
        self.holding = asyncio.Event()
        """Set once something stands before the gate."""
        self.passed = 0
        """Pieces that have gone one way or the other."""

    def hold(self, way: str, after: int) -> None:
        """Let so many more pieces go that way, and hold all that follow them."""
        self._way, self._left = way, after
        self.holding.clear()
        self._open.clear()

    def release(self) -> None:
        """Let everything through again, what was held first."""
        self._way = ""
        self._open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        to_us, to_server = await asyncio.open_unix_connection(self._path)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(reader, to_server, QUESTIONS))
                tasks.create_task(self._carry(to_us, writer, ANSWERS))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # either end has gone
        finally:
            to_server.close()
            writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if way == self._way:
                if self._left == 0:
                    self.holding.set()
                    await self._open.wait()
                else:
                    self._left -= 1
            self.passed += 1
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def gate_before(remote: str, path: Path) -> AsyncIterator[Gate]:
    """A gate that is reached by ``unix:`` and `path`, before the server at `remote`."""
    gate = Gate(remote)
    server = await asyncio.start_unix_server(gate.serve, path)
    try:
        yield gate
    finally:
        gate.release()
        server.close()
        path.unlink(missing_ok=True)  # Python 3.13 takes it away itself
