# SPDX-License-Identifier: Apache-2.0
"""api_rate: PUT and GET of a networkInterface, beside a bare Starlette handler on the same server
set-up; and store_load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.http import Connection as Http
from bench.isthmus_rig import body_of, isthmus_rig
from bench.results import Figure, figure
from bench.topology import places
from isthmus.policy.rows import Port
from isthmus.store import schema
from isthmus.store.connection import Connection
from isthmus.store.servers import ServerFiles, ensure_server, stop_server
from isthmus.wire.ovsdb import insert

_BARE = """
import asyncio, sys
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from isthmus.api.http.access import EVERY_WAY
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer

class Bare(Starlette):
    def ways(self, scope):
        return EVERY_WAY

async def answer(request):
    await request.body()
    return JSONResponse({"properties": {"provisioningState": "Succeeded"}})

async def main():
    route = Route("/{path:path}", answer, methods=["GET", "PUT"])
    server = ApiServer(Bare(routes=[route]), [Listener(f"unix:{sys.argv[1]}")])
    await server.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def api_rate(seconds: float) -> list[Figure]:
    figures = []
    with isthmus_rig(100) as rig, tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.sock"
        process = subprocess.Popen([sys.executable, "-c", _BARE, str(bare)])
        try:
            until = time.monotonic() + 10
            while not bare.exists() and time.monotonic() < until:
                time.sleep(0.05)
            for method in ("GET", "PUT"):
                for clients in (1, 16):
                    ours = asyncio.run(_rate(rig.socket, method, clients, seconds))
                    theirs = asyncio.run(_rate(bare, method, clients, seconds))
                    figures.append(
                        figure(
                            *(f"api_rate_{method.lower()}_{clients}", 100, ours, "requests/s"),
                            peer="bare Starlette",
                            peer_value=theirs,
                        )
                    )
        finally:
            process.terminate()
            process.wait()
    return figures


async def _rate(socket: Path, method: str, clients: int, seconds: float) -> float:
    found = list(places(100))
    end = time.perf_counter() + seconds
    counts = [0] * clients

    async def client(number: int) -> None:
        place = found[number]
        path = f"/networking/v1/networkInterfaces/{place.name}"
        body = body_of(place) if method == "PUT" else None
        async with Http(socket) as connection:
            while time.perf_counter() < end:
                await connection.ask(method, path, body)
                counts[number] += 1

    await asyncio.gather(*(client(number) for number in range(clients)))
    return sum(counts) / seconds


def store_load(n_rows: int) -> Figure:
    """CPU of a client that takes in the first picture."""
    with tempfile.TemporaryDirectory(prefix="bn", dir="/tmp") as folder:
        return asyncio.run(_store_load(Path(folder), n_rows))


async def _store_load(folder: Path, n_rows: int) -> Figure:
    files = ServerFiles("south", folder / "d", folder / "r")
    server = await ensure_server(
        "south",
        schema.south_schema(),
        directory=files.directory,
        run_directory=files.run_directory,
    )
    try:
        writer = Connection([server.remote], schema.SOUTH, (), name="writer")
        await writer.start()
        await writer.loaded(30)
        for start in range(0, n_rows, 1000):
            rows = [_row(number) for number in range(start, start + 1000)]
            await writer.transact([insert(Port.TABLE, row) for row in rows], timeout_s=60)
        await writer.stop()
        reader = Connection([server.remote], schema.SOUTH, (Port,), name="reader")
        cpu, wall = time.process_time(), time.perf_counter()
        await reader.start()
        await reader.loaded(120)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        n_loaded = len(reader.table(Port))
        await reader.stop()
    finally:
        await stop_server(files)
    return figure(*("store_load", n_loaded, cpu, "s CPU"), goal="≤ 1", note=f"{wall:.2f} s in all")


def _row(number: int) -> Port:
    return Port(
        id=f"port-{number:06d}",
        segment=f"net{number // 100}/s{number % 2}",
        mac=f"02:00:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
        addresses=(f"10.0.{number >> 8 & 255}.{number & 255}",),
        dhcp_address=f"10.0.{number >> 8 & 255}.{number & 255}",
        profile_id=f"00000000-0000-4000-8000-{number:012x}",
        revision=f"00000000-0000-4000-9000-{number:012x}",
        origin=f"/networkInterfaces/port-{number:06d}",
    )
