# SPDX-License-Identifier: Apache-2.0
"""A Prometheus end point of one host: what rules, stages and ports have counted.

Nobody who asks has said who they are, so connections are few and short, whatever is on them: the
agent's files and memory are for its ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from isthmus.agent.ovs import connection_limits
from isthmus.agent.ovs.decisions import Counted
from isthmus.agent.ovs.packets import Counters
from isthmus.errors import Invalid, IsthmusError
from isthmus.switches.ovs.pipeline import DROPS, Stage

log = logging.getLogger(__name__)

SCRAPE_S = 5.0
"""For the switch to say what it has counted,"""
VISIT_S = 10.0
"""and for a connection from its first byte to its last."""
MOST_VISITS = 16
"""Connections at once; one more ends the oldest."""
MOST_HEAD_BYTES = 8192


class HostMetrics:
    """Collects when it is asked."""

    def __init__(
        self,
        count: Callable[[], Awaitable[Counted]],
        counters: Counters,
        sizes: Callable[[], tuple[int, int]],
        connections: Callable[[], connection_limits.Counted],
    ) -> None:
        """`sizes`: how many ports and flows there are; `connections`: of the last look."""
        self._count = count
        self._counters = counters
        self._sizes = sizes
        self._connections = connections

    async def collect(self) -> list[Metric]:
        """All there is; of what the switch has counted nothing, if it does not answer."""
        ports, flows = self._sizes()
        found: list[Metric] = [
            GaugeMetricFamily("isthmus_host_ports", "Interfaces that name a port.", ports),
            GaugeMetricFamily("isthmus_host_flows", "Flows of the program.", flows),
        ]
        for name, text, value in (
            ("dhcp_answered", "DHCP messages answered.", self._counters.dhcp_answered),
            ("dhcp_ignored", "DHCP messages that ask nothing of us.", self._counters.dhcp_ignored),
            ("malformed", "Messages of guests that cannot be read.", self._counters.malformed),
            ("announcements", "Address pairs announced.", self._counters.announcements),
        ):
            found.append(CounterMetricFamily(f"isthmus_host_{name}", text, value))
        found += limited_families(self._connections())
        counted: Iterable[Metric] = ()
        with contextlib.suppress(TimeoutError, IsthmusError):
            async with asyncio.timeout(SCRAPE_S):
                counted = _families(await self._count())
        up = GaugeMetricFamily("isthmus_host_switch_up", "Whether the switch answers.", 0)
        up.samples[0] = up.samples[0]._replace(value=float(counted != ()))
        return [*found, up, *counted]


def _families(found: Counted) -> Iterable[Metric]:
    labels = ("rule_set", "rule", "direction", "level", "action")
    packets = CounterMetricFamily("isthmus_rule_packets", "Packets it decided.", labels=labels)
    octets = CounterMetricFamily("isthmus_rule_bytes", "Bytes it decided.", labels=labels)
    for decision, (n_packets, n_bytes) in found.rules.items():
        packets.add_metric(decision[:5], n_packets)
        octets.add_metric(decision[:5], n_bytes)
    dropped = CounterMetricFamily(
        "isthmus_dropped_packets", "Packets that ended at a stage.", labels=("stage", "reason")
    )
    for stage, n_packets in found.dropped.items():
        dropped.add_metric((stage, DROPS[Stage[stage]]), n_packets)
    blocked = CounterMetricFamily(
        "isthmus_port_blocked_packets", "Packets that port security dropped.", labels=("port",)
    )
    for port, n_packets in found.blocked.items():
        blocked.add_metric((port,), n_packets)
    yield from (packets, octets, dropped, blocked)


def limited_families(found: connection_limits.Counted) -> Iterable[Metric]:
    """What is known of limits of connections and fragments."""
    followed = GaugeMetricFamily(
        "isthmus_network_connections", "Connections followed here.", labels=("network",)
    )
    limits = GaugeMetricFamily(
        "isthmus_network_connections_limit", "How many there may be.", labels=("network",)
    )
    for network, zone in found.networks.items():
        followed.add_metric((network,), zone.n_connections)
        limits.add_metric((network,), zone.limit)
    yield from (followed, limits)
    for name, text, counts in (
        (
            "isthmus_port_unopened_packets",
            "Packets dropped because connections were opened too fast.",
            found.dropped,
        ),
        (
            "isthmus_port_dropped_fragments",
            "Fragments dropped because they were more than may wait for each other.",
            found.fragments,
        ),
    ):
        family = CounterMetricFamily(name, text, labels=("port", "direction"))
        for labels, n_packets in counts.items():
            family.add_metric(labels, n_packets)
        yield family
    if found.waiting is not None:
        waiting, most = found.waiting.n_fragments, found.waiting.limit
        yield GaugeMetricFamily(
            "isthmus_fragments_waiting", "Fragments that wait for each other.", value=waiting
        )
        yield GaugeMetricFamily("isthmus_fragments_limit", "How many may.", value=most)


class _Once(NamedTuple):
    """What has been collected, as `generate_latest` asks for it."""

    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


class MetricsServer:
    """Serves ``/metrics`` (RFC 9112, one request a connection) in the running event loop."""

    def __init__(self, metrics: HostMetrics, *, visit_s: float = VISIT_S) -> None:
        self._metrics = metrics
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
            found = _Once(await self._metrics.collect())
        body = generate_latest(found)
        return (
            f"HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE_LATEST}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode() + body
