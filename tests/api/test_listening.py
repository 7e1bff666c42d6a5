# SPDX-License-Identifier: Apache-2.0
"""Who is let in: what is refused before anything listens, and clients over real sockets."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from isthmus.api.app import App, create_app
from isthmus.api.certificates import Kind, issue, make_authority
from isthmus.api.client import Client
from isthmus.api.http import server
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from isthmus.api.http.tls import TlsFiles
from isthmus.api.http.users import set_user
from isthmus.api.rotation import rotate
from isthmus.errors import Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from tests.api.memory_north import MemoryNorth, SilentHosts

PASSWORD = "correct horse battery staple"


def application() -> App:
    hosts = SilentHosts()
    return create_app(
        MemoryNorth(),
        states=hosts,
        operations=hosts,
        software_version="1",
        registry=CollectorRegistry(),
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ls", dir="/tmp"))
    make_authority(made)
    issue(made, "controller", addresses=["127.0.0.1"])
    issue(made, "admin", [Kind.CLIENT])
    issue(made, "stranger", [Kind.CLIENT])
    set_user(made / "users", "ann", PASSWORD)
    yield made
    shutil.rmtree(made)


def tls(folder: Path) -> TlsFiles:
    return TlsFiles(folder / "controller.pem", folder / "controller-key.pem", folder / "ca.pem")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:443"])
def test_what_others_reach_needs_tls_and_to_know_its_clients(folder: Path, address: str) -> None:
    with pytest.raises(Invalid, match="without TLS"):
        ApiServer(application(), [Listener(address)])
    with pytest.raises(Invalid, match="without TLS"):
        ApiServer(application(), [Listener(address, users=folder / "users")])
    with pytest.raises(Invalid, match="for everybody"):
        ApiServer(application(), [Listener(address, tls=tls(folder))])
    for more in ({"users": folder / "users"}, {"certificates": ("admin",)}):
        ApiServer(application(), [Listener(address, tls=tls(folder), **more)])


def test_settings_that_cannot_be_used_are_named(folder: Path) -> None:
    for listener, kind in (
        (Listener("nonsense"), Invalid),
        (Listener("127.0.0.1:99999"), Invalid),
        (Listener("127.0.0.1:0", users=folder / "missing"), NotFound),
        (Listener("127.0.0.1:0", certificates=("admin",)), Invalid),
        (Listener("0.0.0.0:0", tls=tls(folder), certificates=("",)), Invalid),
        (Listener("127.0.0.1:0", tls=TlsFiles(*(folder / name for name in "xyz"))), NotFound),
    ):
        with pytest.raises(kind):
            ApiServer(application(), [listener])


def served(listener: Listener, work: Callable[[ApiServer, str], Awaitable[None]]) -> None:
    async def go() -> None:
        serving = ApiServer(application(), [listener])
        await serving.start()
        try:
            await work(serving, serving.urls[0])
        finally:
            await serving.stop()

    asyncio.run(go())


def discovered(url: str, folder: Path, **who: Any) -> bool:
    """Whether somebody is told what the controller offers."""
    with Client(url, ca=folder / "ca.pem", **who) as client:
        return bool(client.discovery()["resourceId"] == "discovery")


def with_certificate(folder: Path, name: str) -> dict[str, Path]:
    return {"certificate": folder / f"{name}.pem", "key": folder / f"{name}-key.pem"}


def test_a_listed_certificate_is_let_in_another_or_none_is_not(folder: Path) -> None:
    async def work(_: ApiServer, url: str) -> None:
        ask = asyncio.to_thread
        assert await ask(discovered, url, folder, **with_certificate(folder, "admin"))
        with pytest.raises(Forbidden, match="stranger"):
            await ask(discovered, url, folder, **with_certificate(folder, "stranger"))
        with pytest.raises(Unauthorized):
            await ask(discovered, url, folder)

    served(Listener("127.0.0.1:0", tls=tls(folder), certificates=("admin",)), work)


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(folder: Path) -> None:
    async def work(_: ApiServer, url: str) -> None:
        foreign = folder / "foreign"
        make_authority(foreign, "Others")
        issue(foreign, "admin", [Kind.CLIENT])
        with pytest.raises(Unavailable):
            await asyncio.to_thread(discovered, url, folder, **with_certificate(foreign, "admin"))

    served(Listener("127.0.0.1:0", tls=tls(folder), certificates=("admin",)), work)


def test_a_user_is_let_in_by_password_and_by_no_other(folder: Path) -> None:
    async def work(_: ApiServer, url: str) -> None:
        ask = asyncio.to_thread
        assert await ask(discovered, url, folder, user="ann", password=PASSWORD)
        for user, password in (("ann", "wrong password"), ("bob", PASSWORD)):
            with pytest.raises(Unauthorized):
                await ask(discovered, url, folder, user=user, password=password)
        with pytest.raises(Unauthorized):
            await ask(discovered, url, folder)

        def health() -> int:
            with httpx.Client(verify=False) as client:
                return client.get(f"{url}/healthz").status_code

        assert await ask(health) == 200

    served(Listener("127.0.0.1:0", tls=tls(folder), users=folder / "users"), work)


def test_a_rotated_certificate_is_used_without_a_restart(folder: Path) -> None:
    async def work(serving: ApiServer, url: str) -> None:
        before = (folder / "ca.pem").read_bytes()
        rotate(folder)
        issue(folder, "controller", addresses=["127.0.0.1"])
        issue(folder, "admin", [Kind.CLIENT])
        serving.reload()
        assert not serving.problems
        assert await asyncio.to_thread(discovered, url, folder, **with_certificate(folder, "admin"))
        (folder / "controller.pem").write_bytes(b"broken")
        serving.reload()
        assert len(serving.problems) == 1
        assert await asyncio.to_thread(discovered, url, folder, **with_certificate(folder, "admin"))
        assert (folder / "ca.pem").read_bytes() != before

    served(Listener("127.0.0.1:0", tls=tls(folder), certificates=("admin",)), work)


def test_who_was_issued_a_certificate_a_moment_ago_is_let_in_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WATCH_S", 3600.0)

    async def work(_: ApiServer, url: str) -> None:
        rotate(folder)
        issue(folder, "admin", [Kind.CLIENT])
        assert await asyncio.to_thread(discovered, url, folder, **with_certificate(folder, "admin"))

    served(Listener("127.0.0.1:0", tls=tls(folder), certificates=("admin",)), work)


def test_files_that_change_are_noticed_without_being_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "WATCH_S", 0.01)

    async def work(_: ApiServer, url: str) -> None:
        def may_enter(password: str) -> bool:
            try:
                return discovered(url, folder, user="ann", password=password)
            except Unauthorized:
                return False

        changed = f"another {PASSWORD}"
        assert await asyncio.to_thread(may_enter, PASSWORD)
        set_user(folder / "users", "ann", changed)
        async with asyncio.timeout(60):
            while await asyncio.to_thread(may_enter, PASSWORD):  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)
        assert await asyncio.to_thread(may_enter, changed)

    served(Listener("127.0.0.1:0", tls=tls(folder), users=folder / "users"), work)


def test_an_open_listener_serves_this_machine_only_by_its_own_names(folder: Path) -> None:
    async def work(_: ApiServer, url: str) -> None:
        def ask(host: str) -> int:
            with httpx.Client() as client:
                path = f"{url}/networking/discovery"
                return client.get(path, headers={"host": host}).status_code

        assert await asyncio.to_thread(ask, "localhost") == 200
        # A page in a browser here that another site's name led to us.
        assert await asyncio.to_thread(ask, "evil.example") == 403

    served(Listener("127.0.0.1:0"), work)


def test_a_password_that_a_browser_remembers_serves_no_page(folder: Path) -> None:
    async def work(_: ApiServer, url: str) -> None:
        def ask(**headers: str) -> int:
            context = ssl.create_default_context(cafile=folder / "ca.pem")
            with httpx.Client(verify=context, auth=("ann", PASSWORD)) as client:
                return client.get(f"{url}/networking/discovery", headers=headers).status_code

        assert await asyncio.to_thread(ask) == 200
        assert await asyncio.to_thread(ask, host="controller") == 200
        assert await asyncio.to_thread(ask, origin=url) == 200
        assert await asyncio.to_thread(ask, host="evil.example") == 403
        assert await asyncio.to_thread(ask, origin="https://evil.example") == 403
        assert await asyncio.to_thread(lambda: ask(**{"sec-fetch-site": "cross-site"})) == 403

    served(Listener("127.0.0.1:0", tls=tls(folder), users=folder / "users"), work)


def test_a_unix_socket_is_its_owner_s_and_a_dead_one_is_replaced(folder: Path) -> None:
    path = folder / "rest.sock"

    async def work(_: ApiServer, url: str) -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(discovered, url, folder)
        with pytest.raises(Unavailable, match="cannot listen"):
            await ApiServer(application(), [Listener(f"unix:{path}")]).start()

    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert os.path.exists(path)  # noqa: PTH110  # a socket that nobody serves
    served(Listener(f"unix:{path}"), work)
    assert not path.exists()


def test_a_client_names_certificates_that_cannot_be_used(folder: Path) -> None:
    with pytest.raises(Invalid, match="missing"):
        Client("https://127.0.0.1", ca=folder / "missing.pem")


def test_a_refusal_has_the_headers_of_every_answer(folder: Path) -> None:
    """MS-NCNBI section A.3."""

    async def work(_: ApiServer, url: str) -> None:
        async with httpx.AsyncClient() as client:
            for host, status in (("localhost", 401), ("elsewhere.example", 403)):
                headers = {"host": host, "x-ms-client-request-id": "mine"}
                reply = await client.get(f"{url}/networking/discovery", headers=headers)
                assert reply.status_code == status
                assert len(reply.headers["x-ms-request-id"]) == 36
                assert reply.headers["x-ms-client-request-id"] == "mine"

    served(Listener("127.0.0.1:0", users=folder / "users"), work)
