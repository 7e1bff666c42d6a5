# SPDX-License-Identifier: Apache-2.0
"""What a browser adds to requests of a page, judged; with a real browser:
`tests/system/test_browser.py`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from isthmus.api.http.web_pages import is_loopback, name_of, refuse_web_pages
from isthmus.errors import Forbidden, Invalid
from tests.api.conftest import Api

NAMES = frozenset(("nc.example.org", "*.pool.example.org"))
Headers = list[tuple[bytes, bytes]]


def judged(
    *headers: tuple[str, str], scheme: str = "http", version: str = "1.1", local: bool = True
) -> None:
    sent = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    names = None if local else lambda: NAMES
    refuse_web_pages(sent, scheme=scheme, version=version, names=names)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:80"])
def test_a_listener_of_this_machine_is_called_by_a_name_of_this_machine(host: str) -> None:
    judged(("Host", host))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "192.0.2.1", "[2001:db8::1]", "localhost.evil", "["]
)
def test_who_was_led_to_it_by_another_name_is_refused(host: str) -> None:
    with pytest.raises(Forbidden, match="this machine only"):
        judged(("Host", host))


@pytest.mark.parametrize(
    "host", ["nc.example.org", "NC.example.org.:443", "a.pool.example.org", "192.0.2.1", "[::1]:1"]
)
def test_a_listener_with_tls_is_called_by_an_address_or_as_its_certificate_is(host: str) -> None:
    judged(("Host", host), scheme="https", local=False)


@pytest.mark.parametrize(
    "host", ["evil.example", "a.b.pool.example.org", "pool.example.org", "xnc.example.org"]
)
def test_a_listener_with_tls_is_not_called_otherwise(host: str) -> None:
    with pytest.raises(Forbidden, match="its certificate"):
        judged(("Host", host), scheme="https", local=False)


def test_a_request_names_its_host_once() -> None:
    judged(version="1.0")
    for headers in ((), (("Host", ""),), (("Host", "localhost"), ("Host", "evil.example"))):
        with pytest.raises(Invalid, match="once"):
            judged(*headers)


def test_a_page_of_another_origin_is_refused_and_one_of_our_own_is_not() -> None:
    here = ("Host", "127.0.0.1:8080")
    for more in (
        ("Origin", "http://127.0.0.1:8080"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "none"),
    ):
        judged(here, more)
    for more in (
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", ""),
        ("Origin", "https://127.0.0.1:8080"),
        ("Origin", "http://127.0.0.1"),
        ("Origin", "http://127.0.0.1:8081"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "something new"),
    ):
        with pytest.raises(Forbidden, match="web page"):
            judged(here, more)


@given(st.lists(st.sampled_from(["http://127.0.0.1", "http://evil.example"]), max_size=4))
def test_no_header_hides_behind_another_of_its_name(origins: list[str]) -> None:
    headers = [("Host", "127.0.0.1"), *(("Origin", one) for one in origins)]
    if "http://evil.example" in origins:
        with pytest.raises(Forbidden):
            judged(*headers)
    else:
        judged(*headers)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert is_loopback(host), host
    for host in ("0.0.0.0", "::", "192.0.2.1", "localhost.example", "127.0.0.1.example", ""):
        assert not is_loopback(host), host
    assert name_of("[fd00::1]:443") == "fd00::1"
    assert name_of("[::1") != "::1"


@pytest.mark.parametrize("kind", ["unix", "loopback"])
def test_every_listener_judges(api: Api, tmp_path: Path, kind: str) -> None:
    """A unix socket too: ``ssh -L`` makes a port of it, and a browser reaches that."""
    body = b'{"requests": []}'

    async def status(server: ApiServer, *more: bytes) -> int:
        where = server.urls[0]
        if where.startswith("unix:"):
            reader, writer = await asyncio.open_unix_connection(where.removeprefix("unix:"))
        else:
            port = int(where.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = (b"POST /networking/v1/batch HTTP/1.1", *more, b"content-length: %d" % len(body))
        writer.write(b"\r\n".join((*lines, b"", b"")) + body)
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return int(line.split()[1])

    async def go() -> None:
        address = f"unix:{tmp_path}/s" if kind == "unix" else "127.0.0.1:0"
        server = ApiServer(api.app, [Listener(address)])
        await server.start()
        json = b"content-type: application/json"
        try:
            assert await status(server, b"host: localhost", json) == 200
            for more in (
                (b"host: evil.example", json),
                (b"host: localhost", json, b"origin: http://evil.example"),
                (b"host: localhost", json, b"sec-fetch-site: cross-site"),
            ):
                assert await status(server, *more) == 403, more
            assert await status(server, b"host: localhost") == 415
            assert await status(server, b"host: localhost", b"content-type: text/plain") == 415
        finally:
            await server.stop()

    asyncio.run(go())
