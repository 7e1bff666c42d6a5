# SPDX-License-Identifier: Apache-2.0
"""Answers on the wire: a status, headers, JSON; and errors in the form of MS-NCNBI section A.7."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import NamedTuple

import msgspec
from starlette.types import Receive, Send

from isthmus.errors import IsthmusError
from isthmus.intent.model import Json

Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json; charset=utf-8")
TEXT_TYPE: Header = (b"content-type", b"text/plain; charset=utf-8")

encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """An answer. `headers` are all but Content-Length, names in lower case; `stream` instead of a
    body is sent piece by piece, until it ends or the client goes away."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()
    stream: AsyncIterator[bytes] | None = None


def json_reply(status: int, value: Json, headers: tuple[Header, ...] = ()) -> Reply:
    return Reply(status, encode(value), (JSON_TYPE, *headers))


def text_reply(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), (TEXT_TYPE,))


def error_reply(error: IsthmusError) -> Reply:
    """The error as an answer, with Retry-After where waiting helps."""
    headers: tuple[Header, ...] = ()
    if error.retry_after_s is not None:
        headers = ((b"retry-after", str(error.retry_after_s).encode()),)
    return json_reply(error.status, {"error": error_object(error)}, headers)


def error_object(error: IsthmusError) -> Mapping[str, Json]:
    """``{code, message, target, details}`` (section A.7), without what is empty."""
    found: dict[str, Json] = {"code": error.code, "message": error.message}
    if error.target:
        found["target"] = error.target
    if error.details:
        found["details"] = [
            {"code": one.code, "message": one.message}
            | ({"target": one.target} if one.target else {})
            for one in error.details
        ]
    return found


async def send_reply(send: Send, reply: Reply, receive: Receive) -> None:
    if reply.stream is not None:
        await _send_stream(send, reply, reply.stream, receive)
        return
    length = (b"content-length", str(len(reply.body)).encode())
    # RFC 9110 section 8.6: "A server MUST NOT send a Content-Length header field in any response
    # with a status code of ... 204 (No Content)".
    headers = reply.headers if reply.status == 204 else (*reply.headers, length)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


async def _send_stream(
    send: Send, reply: Reply, stream: AsyncIterator[bytes], receive: Receive
) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    gone = asyncio.ensure_future(_disconnected(receive))
    piece: asyncio.Future[bytes | None] | None = None
    try:
        while not gone.done():
            piece = asyncio.ensure_future(anext(stream, None))
            await asyncio.wait((piece, gone), return_when=asyncio.FIRST_COMPLETED)
            if not piece.done() or (data := piece.result()) is None:
                break
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        if piece is not None and not piece.done():
            piece.cancel()
            await asyncio.wait((piece,))
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
