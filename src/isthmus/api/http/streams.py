# SPDX-License-Identifier: Apache-2.0
"""Answers that do not end: server-sent events (HTML Living Standard section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from isthmus.api.http.replies import Header, Reply, encode
from isthmus.intent.model import JsonObject

EVENT_STREAM: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
)


class Message(NamedTuple):
    """One event. Without a `kind` it is a comment, which keeps the connection; an identifier is
    remembered by the client all the same."""

    kind: str
    data: JsonObject
    identifier: str = ""


def event_stream(messages: AsyncIterator[Message]) -> Reply:
    """An answer of events, as long as there are any and the client stays."""
    return Reply(200, headers=EVENT_STREAM, stream=_encoded(messages))


async def _encoded(messages: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    yield b": events follow\n\n"
    try:
        async for message in messages:
            head = f"id: {message.identifier}\n" if message.identifier else ""
            if not message.kind:
                # With an id: who was told nothing for long need not be told that it was.
                yield f": still here\n{head}\n".encode()
                continue
            yield f"{head}event: {message.kind}\ndata: ".encode() + encode(message.data) + b"\n\n"
    finally:
        if isinstance(messages, AsyncGenerator):
            await messages.aclose()
