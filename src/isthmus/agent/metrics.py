# SPDX-License-Identifier: Apache-2.0
"""A Prometheus end point of one host.

Nobody who asks has said who they are, so connections are few and short, whatever is on them: the
agent's files and memory are for its ports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import Metric

from isthmus.errors import Invalid

log = logging.getLogger(__name__)

VISIT_S = 10.0
"""For a connection from its first byte to its last."""
MOST_VISITS = 16
"""Connections at once; one more ends the oldest."""
MOST_HEAD_BYTES = 8192


class _Once(NamedTuple):
    """What has been collected, as `generate_latest` asks for it."""

    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


class MetricsServer:
    """Serves ``/metrics`` (RFC 9112, one request a connection) in the running event loop."""

    def __init__(
        self, collect: Callable[[], Awaitable[list[Metric]]], *, visit_s: float = VISIT_S
    ) -> None:
        self._collect = collect
        self._visit_s = visit_s
        self._visits: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._one_at_a_time = asyncio.Lock()
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> tuple[str, int]:
        """Listen on ``host:port``; where it listens. Raises Invalid."""
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise Invalid(f"{address!r} is no address to serve metrics on: write 127.0.0.1:9477")
        try:
            self._server = await asyncio.start_server(
                self._visit,
                host.strip("[]") or "127.0.0.1",
                int(port),
                limit=MOST_HEAD_BYTES,
                backlog=MOST_VISITS,
            )
        except (OSError, OverflowError) as error:
            raise Invalid(f"metrics cannot be served on {address}: {error}") from error
        found: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return found

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._visits:
            task.cancel()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a visit is a task"
        if len(self._visits) >= MOST_VISITS:
            next(iter(self._visits)).cancel()
        self._visits[task] = None
        try:
            async with asyncio.timeout(self._visit_s):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it has said nothing, or too much, or has gone
        except asyncio.CancelledError:
            pass  # others wait, or the agent ends: nobody waits for this task
        except Exception:  # a fault of ours, of which the client hears by the end of its connection
            log.exception("metrics=failed")
        finally:
            self._visits.pop(task, None)
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        if not head.startswith(b"GET "):
            return b"HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\n\r\n"
        async with self._one_at_a_time:  # the switch is asked for its flows
            found = _Once(await self._collect())
        body = generate_latest(found)
        return (
            f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE_LATEST}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body
