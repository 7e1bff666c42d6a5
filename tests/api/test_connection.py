# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as it arrives on a socket (RFC 9112), byte by byte where it matters."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from isthmus.api.http.connection import LONGEST_HEAD_BYTES
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from tests.api.conftest import BODY, NIC, Api

HOST = b"host: localhost\r\n"
JSON = HOST + b"content-type: application/json\r\n"
PATH = f"/networking/v1{NIC}".encode()


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body. A body is as long as it says."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = 0 if head_only else int(headers.get("content-length", 0))
        return int(first.split()[1]), headers, await self.reader.readexactly(length)

    async def is_closed(self) -> bool:
        return await self.reader.read(1) == b""


def spoken(api: Api, work: Callable[[Wire], Awaitable[None]]) -> None:
    async def go() -> None:
        folder = Path(tempfile.mkdtemp(prefix="co", dir="/tmp"))
        server = ApiServer(api.app, [Listener(f"unix:{folder}/s")])
        await server.start()
        try:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_unix_connection(str(folder / "s"))
                await work(Wire(reader, writer))
                writer.close()
                await writer.wait_closed()
        finally:
            await server.stop()
            shutil.rmtree(folder)

    asyncio.run(go())


def test_requests_that_are_sent_ahead_are_answered_in_their_order(furnished: Api) -> None:
    body = json.dumps({"properties": BODY}).encode()

    async def work(wire: Wire) -> None:
        put = b"PUT %s HTTP/1.1\r\n%scontent-length: %d\r\n\r\n%s" % (PATH, JSON, len(body), body)
        get = b"GET %s HTTP/1.1\r\n%s\r\n" % (PATH, HOST)
        delete = b"DELETE %s HTTP/1.1\r\n%s\r\n" % (PATH, HOST)
        await wire.send(put + get + delete + delete + get)
        answers = [await wire.answer() for _ in range(5)]
        assert [status for status, _, _ in answers] == [201, 200, 200, 204, 404]
        assert answers[0][2] == answers[1][2]
        assert all(headers["server"] == "Isthmus" for _, headers, _ in answers)
        assert all("date" in headers for _, headers, _ in answers)

    spoken(furnished, work)


def test_a_body_may_come_in_chunks_and_a_head_byte_by_byte(furnished: Api) -> None:
    body = json.dumps({"properties": BODY}).encode()

    async def work(wire: Wire) -> None:
        head = b"PUT %s HTTP/1.1\r\n%stransfer-encoding: chunked\r\n\r\n" % (PATH, JSON)
        await wire.send(*(head[k : k + 1] for k in range(len(head))))
        for start in range(0, len(body), 7):
            piece = body[start : start + 7]
            await wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")
        status, _, content = await wire.answer()
        assert status == 201
        assert json.loads(content)["resourceId"] == "n"

    spoken(furnished, work)


def test_a_head_has_no_body_and_the_next_answer_follows_it(furnished: Api) -> None:
    furnished.put(NIC, BODY)

    async def work(wire: Wire) -> None:
        head = b"HEAD %s HTTP/1.1\r\n%s\r\n" % (PATH, HOST)
        await wire.send(head, head.replace(b"HEAD", b"GET"))
        status, headers, _ = await wire.answer(head_only=True)
        assert status == 200
        _, of_get, body = await wire.answer()
        assert headers["etag"] == of_get["etag"]
        assert headers["content-length"] == of_get["content-length"] == str(len(body))

    spoken(furnished, work)


def test_a_body_that_nobody_reads_is_not_taken_for_the_next_request(furnished: Api) -> None:
    furnished.put(NIC, BODY)

    async def work(wire: Wire) -> None:
        smuggled = b"DELETE %s HTTP/1.1\r\n%s\r\n" % (PATH, HOST)
        for method in (b"GET", b"DELETE"):
            await wire.send(
                b"%s /networking/v1/networkInterfaces/none HTTP/1.1\r\n%scontent-length: %d\r\n\r\n"
                % (method, HOST, len(smuggled)),
                smuggled,
            )
            status, _, _ = await wire.answer()
            assert status in (204, 404)
        await wire.send(b"GET %s HTTP/1.1\r\n%s\r\n" % (PATH, HOST))
        status, _, _ = await wire.answer()
        assert status == 200

    spoken(furnished, work)


def test_a_head_that_does_not_end_is_refused(furnished: Api) -> None:
    async def work(wire: Wire) -> None:
        await wire.send(b"GET / HTTP/1.1\r\n" + HOST)
        line = b"x-filler: " + b"x" * 1000 + b"\r\n"
        for _ in range(LONGEST_HEAD_BYTES // len(line) + 1):
            await wire.send(line)
        status, _, _ = await wire.answer()
        assert status == 400
        assert await wire.is_closed()

    spoken(furnished, work)


def test_what_is_no_http_is_refused(furnished: Api) -> None:
    async def work(wire: Wire) -> None:
        await wire.send(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 and so on\r\n\r\n")
        status, _, _ = await wire.answer()
        assert status == 400
        assert await wire.is_closed()

    spoken(furnished, work)


def test_two_lengths_of_one_body_are_refused(furnished: Api) -> None:
    # RFC 9112 section 6.1: a request with both "ought to be handled as an error".
    async def work(wire: Wire) -> None:
        await wire.send(
            b"PUT %s HTTP/1.1\r\n%scontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            % (PATH, HOST)
        )
        status, _, _ = await wire.answer()
        assert status == 400

    spoken(furnished, work)


def test_a_client_that_goes_away_in_mid_request_writes_nothing(furnished: Api) -> None:
    async def work(wire: Wire) -> None:
        await wire.send(b"PUT %s HTTP/1.1\r\n%scontent-length: 500\r\n\r\n{" % (PATH, HOST))

    spoken(furnished, work)
    assert furnished.get("/networkInterfaces")["value"] == []
