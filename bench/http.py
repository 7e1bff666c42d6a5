# SPDX-License-Identifier: Apache-2.0
"""The least of an HTTP client, so that it costs little of what is measured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType

import msgspec


class Connection:
    """One connection over a unix socket, kept open."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def __aenter__(self) -> Connection:
        self._reader, self._writer = await asyncio.open_unix_connection(self._socket)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def ask(self, method: str, path: str, body: object = None) -> bytes:
        """The body of the answer. Raises ConnectionError for a status of 300 or more."""
        content = b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n"
        self._writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + content)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = 0
        for line in answer.lower().split("\r\n"):
            if line.startswith("content-length:"):
                length = int(line.split(":")[1])
        told = await self._reader.readexactly(length)
        if int(answer.split(" ", 2)[1]) >= 300:
            raise ConnectionError(f"{method} {path}: {answer} {told.decode()}")
        return told
