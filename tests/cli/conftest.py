# SPDX-License-Identifier: Apache-2.0
"""The commands against the real API over a north store in memory, on a unix socket."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from isthmus.api.app import create_app
from isthmus.api.http.listening import Listener
from isthmus.api.http.server import ApiServer
from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Check, Wanted, Watched
from isthmus.cli.main import app
from isthmus.errors import IsthmusError
from isthmus.intent.model import JsonObject
from isthmus.intent.planning import Request
from isthmus.intent.versions import Version
from isthmus.reach.trace import Question
from tests.api.memory_north import MemoryNorth, SilentHosts

HOST = {
    "host": "h1",
    "known": True,
    "alive": True,
    "ageSeconds": 3,
    "claims": 1,
    "ports": 1,
    "flows": 40,
    "problems": [],
    "encapsulations": ["vxlan", "nvgre"],
    "providerAddresses": ["192.0.2.1"],
    "version": "1.2.3",
    "switchVersion": "3.1.0",
}


class Hosts(SilentHosts):
    """One host that is well and has everything, until a test says otherwise."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {
            "software": "1.2.3",
            "controllers": [{"name": "c1", "alive": True, "deriving": True}],
            "stores": [{"name": "north", "connected": True, "problem": "", "rows": 7}],
            "deriver": {"problem": "", "failures": []},
            "hosts": [HOST],
            "ports": {"total": 1, "claimed": 1, "up": 1, "error": 0},
            "errors": [],
            "unknownClaims": [],
        }
        self.verdict = "works: h1 has it, and its switch holds all its flows"
        self.answers: dict[str, JsonObject] = {}
        """By command, what a test has them say."""
        self.errors: dict[str, IsthmusError] = {}
        """By command, what a test has them be refused with."""
        self.messages: list[Message] = []
        self.asked: list[tuple[object, ...]] = []
        self.checks: list[Check] = []

    def status(self) -> JsonObject:
        return self.told

    async def status_asked(self) -> JsonObject:
        hosts = [{"unknown": "", **host} for host in self.told["hosts"]]
        return {**self.told, "hosts": hosts, "ports": {"unknown": 0, **self.told["ports"]}}

    async def remove_host(self, host: str) -> JsonObject:
        self.asked.append((host,))
        if "remove" in self.errors:
            raise self.errors["remove"]
        return {"host": host, "removed": {"Claim": 2, "Heartbeat": 1}}

    async def explain_port(self, resource_id: str) -> JsonObject:
        config = {"privateIPAddress": "10.0.0.4", "subnet": {"resourceRef": "/v"}}
        return {
            "request": {
                "resourceRef": f"/networkInterfaces/{resource_id}",
                "etag": 'W/"e"',
                "instanceId": "i",
                "properties": {"ipConfigurations": [{"resourceId": "c", "properties": config}]},
            },
            "policy": [{"table": "Port", "row": {"id": resource_id, "addresses": ["10.0.0.4"]}}],
            "claims": [{"table": "Claim", "row": {"host": "h1", "state": "active"}}],
            "hosts": [
                {
                    "host": "h1",
                    "answer": {
                        "interface": {"id": resource_id, "ofport": 3},
                        "flows": [{"stage": "CLASSIFY", "flow": "in_port=3", "packets": 12}],
                        "missing": ["priority=9"],
                    },
                },
                {"host": "h2", "answer": {"error": "silent"}},
            ],
            "state": {
                "status": "Success",
                "detailedInfo": [{"code": "Success", "message": "applied on h1"}],
            },
            "verdict": self.verdict,
        }

    async def trace(self, question: Question, *, by_switches: bool) -> JsonObject:
        self.asked.append((*question, by_switches))
        return self.answers["trace"]

    async def plan(self, requests: Sequence[Request], version: Version) -> JsonObject:
        self.asked += [(request.path,) for request in requests]
        return self.answers["plan"]

    async def check_connectivity(self, check: Check) -> str:
        self.checks.append(check)
        return "c1"

    def check_results(self) -> dict[str, JsonObject]:
        return {"c1": self.answers["check"]} if self.checks else {}

    async def doctor(self) -> JsonObject:
        return self.answers["doctor"]

    async def bundle(self) -> JsonObject:
        return self.answers["bundle"]

    async def counters(self) -> JsonObject:
        return self.answers["counters"]

    async def _told(self) -> AsyncIterator[Message]:
        for message in self.messages:
            yield message

    def flows(self, watched: Watched, kind: str) -> AsyncIterator[Message]:
        self.asked.append((kind, *watched))
        return self._told()

    def events(self, after: str, wanted: Wanted) -> AsyncIterator[Message]:
        self.asked.append((after, *filter(None, wanted)))
        return self._told()

    async def raise_probe(self) -> JsonObject:
        return {"probe": 4, "hosts": [{"host": "h1", "milliseconds": None}], "silent": []}

    async def probe(self, number: int, answered: int, wait_s: float) -> JsonObject:
        return {"probe": number, "hosts": [{"host": "h1", "milliseconds": 2.5}], "silent": []}


class Cli:
    """Runs commands against a controller."""

    def __init__(self, url: str, north: MemoryNorth, hosts: Hosts) -> None:
        self.url = url
        self.north = north
        self.hosts = hosts

    def run(self, *arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
        """Exit status, output, and what was said on the side; an error's sentence is there too."""
        return run(arguments, self.url, stdin)


def run(arguments: Sequence[str], url: str = "", stdin: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments), input=stdin, env={"ISTHMUS_URL": url})
    if isinstance(result.exception, IsthmusError):
        return 1, result.stdout, result.exception.message
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def cli() -> Iterator[Cli]:
    folder = Path(tempfile.mkdtemp(prefix="cl", dir="/tmp"))
    north, hosts = MemoryNorth(), Hosts()
    loop, ready = asyncio.new_event_loop(), threading.Event()
    server: list[ApiServer] = []

    async def start() -> None:
        made = create_app(
            north,
            states=hosts,
            operations=hosts,
            software_version="1.2.3",
            registry=CollectorRegistry(),
        )
        server.append(ApiServer(made, [Listener(f"unix:{folder}/rest.sock")]))
        await server[0].start()
        ready.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    yield Cli(f"unix:{folder}/rest.sock", north, hosts)
    asyncio.run_coroutine_threadsafe(server[0].stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    shutil.rmtree(folder)
