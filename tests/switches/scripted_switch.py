# SPDX-License-Identifier: Apache-2.0
"""The other end of an OpenFlow connection, for what a real switch never says.

It greets and answers barriers as a switch does; the rest of its part is given by the test.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from isthmus.wire import openflow as of

Part = Callable[[of.Message], bytes | None]
"""What is sent on a message; None: what a switch would send."""


def as_a_switch(message: of.Message) -> bytes:
    if message.type == of.Type.HELLO:
        return of.hello(message.xid)
    if message.type == of.Type.BARRIER_REQUEST:
        return of.message(of.Type.BARRIER_REPLY, message.xid)
    return b""


def error(xid: int, kind: int, code: int) -> bytes:
    return of.message(of.Type.ERROR, xid, struct.pack(">HH", kind, code))


@asynccontextmanager
async def scripted(path: Path, part: Part) -> AsyncIterator[None]:
    """Listens at `path`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = of.Framer()
        while data := await reader.read(65536):
            for message in framer.feed(data):
                answer = part(message)
                writer.write(as_a_switch(message) if answer is None else answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield
