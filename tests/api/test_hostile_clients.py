# SPDX-License-Identifier: Apache-2.0
"""Clients that nobody knows and that mean ill: bounded in what they cost, and in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from isthmus.api.certificates import issue, make_authority
from isthmus.api.http import accepting, connection
from isthmus.api.http.admission import MOST, MOST_UNKNOWN
from isthmus.api.http.connection import LONGEST_HEAD_BYTES, MOST_AHEAD, MOST_HEADERS
from isthmus.api.http.listening import Listener
from isthmus.api.http.request import MOST_BYTES, MOST_LARGE
from isthmus.api.http.server import ApiServer
from isthmus.api.http.tls import TlsFiles
from isthmus.api.http.users import set_user
from tests.api.conftest import Api

HOST = b"host: localhost\r\n"
DISCOVERY = b"GET /networking/discovery HTTP/1.1\r\n" + HOST + b"\r\n"
BATCH = b"POST /networking/v1/batch HTTP/1.1\r\ncontent-type: application/json\r\n" + HOST
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
WAITING_BYTES = 100 * 1024
"""What a body may cost that waits until others have been read."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ho", dir="/tmp"))
    yield made
    shutil.rmtree(made)


class Served:
    """A port and the operator's unix socket."""

    def __init__(self, server: ApiServer) -> None:
        self.port = int(server.urls[0].rpartition(":")[2])
        self.path = server.urls[1].removeprefix("unix:")

    async def stranger(self, *said: bytes) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in said:
            writer.write(piece)
        await drained(writer)
        return reader, writer

    async def operator(self) -> int:
        """Status of an answer over the unix socket."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(DISCOVERY)
        found = await status(reader)
        writer.close()
        return found


async def drained(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.drain()


async def status(reader: asyncio.StreamReader) -> int:
    """Of the next answer, which is taken whole; 0 where the connection ends instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    return int(head.split()[1])


async def ends(streams: Streams) -> bool:
    """Waits for the end of a connection, whatever comes before."""
    with contextlib.suppress(ConnectionError):
        while await streams[0].read(65536):
            pass
    streams[1].close()
    return True


def attacked(
    folder: Path,
    work: Callable[[Served], Awaitable[None]],
    *,
    users: bool = False,
    tls: TlsFiles | None = None,
    api: Api | None = None,
) -> None:
    async def go() -> None:
        if users:
            set_user(folder / "users", "ann", "correct horse battery staple")
        port = Listener("127.0.0.1:0", tls=tls, users=folder / "users" if users else None)
        server = ApiServer((api or Api()).app, [port, Listener(f"unix:{folder}/s")])
        await server.start()
        try:
            async with asyncio.timeout(100):
                await work(Served(server))
        finally:
            await server.stop()

    asyncio.run(go())


@contextlib.asynccontextmanager
async def all_closed(streams: list[Streams]) -> AsyncIterator[list[Streams]]:
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.transport.abort()


@pytest.mark.parametrize("users", [False, True], ids=["open", "users"])
def test_a_trailer_without_end_is_cut_off(folder: Path, users: bool) -> None:
    async def work(served: Served) -> None:
        for begun in (b"0\r\n", b"2;x=", b"1\r\n{\r\n0\r\n"):
            streams = await served.stranger(BATCH + CHUNKED + begun)
            line = b"x-filler: " + b"x" * 1000 + b"\r\n"
            sent = 0
            while not streams[1].is_closing() and not streams[0].at_eof() and sent < 64 << 20:
                streams[1].write(line.strip() if begun.startswith(b"2;") else line)
                sent += len(line)
                await drained(streams[1])
                await asyncio.sleep(0)
            assert await ends(streams)
            assert sent < 16 << 20  # what sockets hold on the way, on both sides
        assert await served.operator() == 200

    attacked(folder, work, users=users)


def test_a_trailer_is_no_header(folder: Path) -> None:
    body = b'{"requests": []}'
    typed = b"content-type: application/json\r\n"
    head = b"POST /networking/v1/batch HTTP/1.1\r\n" + HOST + CHUNKED
    chunk = b"%x\r\n%s\r\n0\r\n" % (len(body), body)

    async def work(served: Served) -> None:
        reader, writer = await served.stranger(head + chunk + typed + b"\r\n")
        assert await status(reader) == 415
        writer.close()

    attacked(folder, work)


def test_headers_are_counted(folder: Path) -> None:
    async def work(served: Served) -> None:
        first = DISCOVERY.removesuffix(b"\r\n")
        streams = await served.stranger(first + b"a: b\r\n" * (MOST_HEADERS - 1) + b"\r\n")
        assert await status(streams[0]) == 200
        streams[1].write(first + b"a: b\r\n" * MOST_HEADERS + b"\r\n")
        assert await status(streams[0]) == 400
        assert await ends(streams)

    attacked(folder, work)


def test_a_second_head_is_as_long_as_the_first_may_be(folder: Path) -> None:
    async def work(served: Served) -> None:
        streams = await served.stranger(DISCOVERY, b"GET / HTTP/1.1\r\n")
        assert await status(streams[0]) == 200
        for _ in range(LONGEST_HEAD_BYTES // 1000 + 1):
            streams[1].write(b"x" * 1000)
            await drained(streams[1])
        assert await status(streams[0]) == 400
        assert await ends(streams)

    attacked(folder, work)


def test_requests_that_are_sent_ahead_are_counted(folder: Path) -> None:
    async def work(served: Served) -> None:
        streams = await served.stranger(DISCOVERY * (MOST_AHEAD + 1))
        assert [await status(streams[0]) for _ in range(MOST_AHEAD + 1)] == [200] * (MOST_AHEAD + 1)
        streams[1].write(DISCOVERY * 5000)
        assert await ends(streams)

    attacked(folder, work)


@pytest.mark.parametrize(
    "said",
    [
        (),
        (b"GET / HT",),
        (DISCOVERY, b"GET / HT"),
        (DISCOVERY + b"GET / HT",),
        (DISCOVERY, b"\r\n"),
        (BATCH + b"content-length: 100\r\n\r\n", b"{"),
        (BATCH + CHUNKED, b"1\r\n{\r\n", b"0\r\n", b"x: "),
        # Nobody wants the rest of this body.
        (b"GET /x HTTP/1.1\r\n" + HOST + b"content-length: 100\r\n\r\n", b"{"),
    ],
    ids=[
        *("nothing", "head", "second head", "second head at once", "empty line"),
        *("body", "trailer", "unwanted"),
    ],
)
def test_what_is_never_finished_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[bytes, ...]
) -> None:
    for name in ("HEAD_S", "BODY_S", "UNWANTED_S"):
        monkeypatch.setattr(connection, name, 0.05)
    monkeypatch.setattr(accepting, "LOOK_S", 0.01)

    async def work(served: Served) -> None:
        reader, writer = await served.stranger(*said[:1])
        if said[:1] == (DISCOVERY,):
            assert await status(reader) == 200
        writer.writelines(said[1:])
        assert await ends((reader, writer))

    attacked(folder, work)


def test_who_takes_no_answer_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "UNACKNOWLEDGED_MS", 300)

    async def work(served: Served) -> None:
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            stranger.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(stranger, ("127.0.0.1", served.port))
            many = b"GET /networking/openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
            with pytest.raises(ConnectionError):
                while True:
                    await loop.sock_sendall(stranger, many)
                    await asyncio.sleep(0.01)

    attacked(folder, work)


def test_a_request_that_comes_slowly_is_answered_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "LOOK_S", 0.001)
    body = b'{"requests": []}'

    async def work(served: Served) -> None:
        for ahead in (b"", DISCOVERY):
            reader, writer = await served.stranger(ahead)
            if ahead:
                assert await status(reader) == 200
            for byte in BATCH + b"content-length: %d\r\n\r\n%s" % (len(body), body):
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            assert await status(reader) == 200
            writer.close()

    attacked(folder, work)


def test_many_connections_keep_nobody_out(folder: Path) -> None:
    async def work(served: Served) -> None:
        reader, writer = await served.stranger(DISCOVERY)
        assert await status(reader) == 200
        said = [(), (b"GET / HT",), (BATCH + b"content-length: 9999\r\n\r\n",)]
        async with all_closed([]) as strangers:
            for number in range(1_100):
                strangers.append(await served.stranger(*said[number % 2]))
            assert await served.operator() == 200
            # Who was known before still is, and who comes now is heard.
            writer.write(DISCOVERY)
            assert await status(reader) == 200
            newcomer = await served.stranger(DISCOVERY)
            assert await status(newcomer[0]) == 200
            newcomer[1].close()
            await asyncio.sleep(0.1)  # for what was ended to be heard of
            left = [one for one in strangers if not one[0].at_eof()]
            assert len(left) <= MOST_UNKNOWN
        writer.close()

    attacked(folder, work)


def test_known_ones_have_bounds_too(folder: Path) -> None:
    """On an open listener whoever asks is known."""

    async def work(served: Served) -> None:
        async with all_closed([]) as strangers:
            for _ in range(MOST + 50):
                strangers.append(await served.stranger(DISCOVERY))
                assert await status(strangers[-1][0]) == 200
            assert await served.operator() == 200
            left = [one for one in strangers if not one[0].at_eof()]
            assert len(left) <= MOST

    attacked(folder, work)


def test_bodies_that_wait_for_their_turn_cost_little(folder: Path) -> None:
    """On an open listener: each body is as long as it may be, and none comes to its end."""
    number, rounds, piece = 60, 20, b" " * 65536
    said = BATCH + b"content-length: %d\r\n\r\n" % MOST_BYTES

    async def work(served: Served) -> None:
        with contextlib.ExitStack() as strangers:
            sockets = [strangers.enter_context(socket.socket()) for _ in range(number)]
            for one in sockets:
                one.connect(("127.0.0.1", served.port))
                one.setblocking(False)
                one.send(said)
            await asyncio.sleep(0.2)  # all of them are being read
            tracemalloc.start()
            try:
                for _ in range(rounds):
                    for one in sockets:
                        with contextlib.suppress(BlockingIOError):
                            one.send(piece)
                    await asyncio.sleep(0.01)
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert held > 1 << 20, "nothing was taken"
            assert held < MOST_LARGE * rounds * len(piece) + number * WAITING_BYTES

    attacked(folder, work)


def test_tls_that_never_begins_keeps_nobody_out(folder: Path) -> None:
    make_authority(folder)
    issue(folder, "controller", addresses=["127.0.0.1"])
    files = TlsFiles(folder / "controller.pem", folder / "controller-key.pem", folder / "ca.pem")

    async def work(served: Served) -> None:
        import ssl

        async with all_closed([]) as strangers:
            for number in range(300):
                said = b"\x16\x03\x01\x00\xa5\x01" if number % 2 else b""
                strangers.append(await served.stranger(said))
            trusting = ssl.create_default_context(cafile=folder / "ca.pem")
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting)
            writer.write(DISCOVERY)
            assert await status(reader) == 401
            assert await served.operator() == 200
            await asyncio.sleep(0.1)
            left = [one for one in strangers if not one[0].at_eof()]
            assert len(left) <= MOST_UNKNOWN
            writer.close()

    attacked(folder, work, users=True, tls=files)


def test_tls_that_never_begins_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accepting._TLS_TIMES, "ssl_handshake_timeout", 0.05)
    make_authority(folder)
    issue(folder, "controller", addresses=["127.0.0.1"])
    files = TlsFiles(folder / "controller.pem", folder / "controller-key.pem", folder / "ca.pem")

    async def work(served: Served) -> None:
        assert await ends(await served.stranger(b"\x16\x03\x01\x00\xa5\x01"))
        assert await ends(await served.stranger(b"no TLS at all\r\n\r\n"))

    attacked(folder, work, users=True, tls=files)
