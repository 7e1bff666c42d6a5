# SPDX-License-Identifier: Apache-2.0
"""What somebody whom nobody knows costs a controller: memory, and the operator's patience.

The controller is the real one without hosts. The stranger is a process of its own, which does in
turn all that can be done before authentication; meanwhile the operator asks over the unix socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.http import Connection
from bench.results import Figure, figure
from isthmus.api.certificates import issue, make_authority
from isthmus.api.http.users import set_user
from isthmus.store.servers import ServerFiles, stop_server

ATTACK_S = 5.0
"""Of each attack."""
STARTED_S = 60.0
MANY = 1_013
HOST = b"host: 127.0.0.1\r\n"
HEAD = b"POST /networking/v1/batch HTTP/1.1\r\ncontent-type: application/json\r\n" + HOST
FILLER = b"x-filler: " + b"x" * 1000 + b"\r\n"

Said = tuple[bytes, bytes]
"""What a connection says at first, and then without end."""

ATTACKS: dict[str, tuple[int, Said]] = {
    "trailers": (20, (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", FILLER * 50)),
    "extensions": (20, (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", b"x" * 50_000)),
    "heads": (MANY, (HEAD, FILLER)),
    "headers": (200, (HEAD, b"a:\r\n" * 20_000)),
    "bodies": (200, (HEAD + b"content-length: 33000000\r\n\r\n", b"[" * 50_000)),
    "requests ahead": (200, (b"", (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2_000)),
    "connections": (MANY, (b"", b"")),
}


def memory_mib(pid: int) -> float:
    """Of a process now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def strangers(port: int, *, tls: bool) -> None:
    """All attacks, one after the other; a process of its own."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    for number, (first, then) in ATTACKS.values():
        asyncio.run(_attack(port, tls, number, first, then))


async def _attack(port: int, tls: bool, number: int, first: bytes, then: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls else None
    if context is not None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    until_s = time.monotonic() + ATTACK_S
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ATTACK_S + 1):
            await asyncio.gather(
                *(_one(port, context, first, then, until_s) for _ in range(number)),
                return_exceptions=True,
            )


async def _one(
    port: int, context: ssl.SSLContext | None, first: bytes, then: bytes, until_s: float
) -> None:
    """Comes again whenever it is thrown out; never reads what it is told."""
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            try:
                writer.write(first)
                while time.monotonic() < until_s and not writer.is_closing():
                    writer.write(then)
                    await writer.drain()
                    await asyncio.sleep(0 if then else 0.1)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.05)


async def _watched(work: Callable[[], None], pid: int, unix_socket: Path) -> tuple[float, float]:
    """Most memory in MiB beyond that before, and the operator's longest wait in seconds."""
    before = most = memory_mib(pid)
    longest = 0.0
    process = multiprocessing.get_context("spawn").Process(target=work)
    async with Connection(unix_socket) as operator:
        await operator.ask("GET", "/networking/v1/isthmus/status")
        before = most = memory_mib(pid)
        process.start()
        while process.is_alive():
            started = time.perf_counter()
            async with Connection(unix_socket) as anew:  # as a new command would
                await anew.ask("GET", "/networking/v1/isthmus/status")
            await operator.ask("GET", "/networking/discovery")
            longest = max(longest, time.perf_counter() - started)
            most = max(most, memory_mib(pid))
            await asyncio.sleep(0.02)
    process.join()
    if process.exitcode != 0:
        raise RuntimeError("the strangers' process has failed: what it cost says nothing")
    return most - before, longest


_CONTROLLER = """
import asyncio, sys
from pathlib import Path
from isthmus.controller.process import Settings, run

folder = Path(sys.argv[1])
asyncio.run(run(Settings(
    name="c1", data_directory=folder / "data", run_directory=folder / "run",
    listen=(
        f"unix:{folder}/s",
        f"http://127.0.0.1:{sys.argv[2]}",
        f"https://127.0.0.1:{sys.argv[3]}",
    ),
    certificate=folder / "controller.pem", key=folder / "controller-key.pem", ca=folder / "ca.pem",
    users=folder / "users")))
"""


def stranger_figures() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="bench", dir="/tmp"))
    make_authority(folder)
    issue(folder, "controller", addresses=["127.0.0.1"])
    set_user(folder / "users", "operator", "what nobody else knows")
    ports = _free_port(), _free_port()
    command = [sys.executable, "-c", _CONTROLLER, str(folder), *map(str, reversed(ports))]
    controller = subprocess.Popen(command)
    try:
        until_s = time.monotonic() + STARTED_S
        while not (folder / "s").exists():
            if time.monotonic() > until_s or controller.poll() is not None:
                raise TimeoutError("the controller does not start")
            time.sleep(0.05)
        figures: list[Figure] = []
        # One after the other: what the first has taken and given back is there for the second, so
        # the one that others than this machine reach comes first.
        for port, tls in zip(ports, (True, False), strict=True):
            work = partial(strangers, port, tls=tls)
            grown, longest = asyncio.run(_watched(work, controller.pid, folder / "s"))
            how = "a port with TLS" if tls else "a port of this machine that lets everybody in"
            figures += [
                figure("stranger_memory", 0, grown, "MiB", goal="≤ 32", note=how),
                figure("stranger_answer", 0, longest, "s", goal="≤ 1", note=f"longest; {how}"),
            ]
        return figures
    finally:
        controller.terminate()
        controller.wait()
        for name in ("north", "south"):
            asyncio.run(stop_server(ServerFiles(name, folder / "data", folder / "run")))
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
