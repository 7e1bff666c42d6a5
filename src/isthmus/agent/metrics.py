# SPDX-License-Identifier: Apache-2.0
"""A Prometheus end point of one host: what rules, stages and ports have counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from isthmus.agent import connection_limits
from isthmus.agent.decisions import Counted
from isthmus.agent.packets import Counters
from isthmus.errors import Invalid, IsthmusError
from isthmus.switches.ovs.pipeline import DROPS, Stage

SCRAPE_S = 5.0


class HostMetrics:
    """Collects when it is asked, in the thread that asks; the counting is the agent's loop's."""

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
        self._loop = asyncio.get_running_loop()

    def collect(self) -> Iterable[Metric]:
        """What `prometheus_client` calls."""
        ports, flows = self._sizes()
        yield GaugeMetricFamily("isthmus_host_ports", "Interfaces that name a port.", ports)
        yield GaugeMetricFamily("isthmus_host_flows", "Flows of the program.", flows)
        for name, text, value in (
            ("dhcp_answered", "DHCP messages answered.", self._counters.dhcp_answered),
            ("dhcp_ignored", "DHCP messages that ask nothing of us.", self._counters.dhcp_ignored),
            ("malformed", "Messages of guests that cannot be read.", self._counters.malformed),
            ("announcements", "Address pairs announced.", self._counters.announcements),
        ):
            yield CounterMetricFamily(f"isthmus_host_{name}", text, value)
        yield from limited_families(self._connections())
        asked = asyncio.run_coroutine_threadsafe(self._counted(), self._loop)
        try:
            found = asked.result(SCRAPE_S)
        except (TimeoutError, IsthmusError):
            yield GaugeMetricFamily("isthmus_host_switch_up", "Whether the switch answers.", 0)
            return
        yield GaugeMetricFamily("isthmus_host_switch_up", "Whether the switch answers.", 1)
        yield from _families(found)

    async def _counted(self) -> Counted:
        return await self._count()


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
    """What is known of limits of connections."""
    followed = GaugeMetricFamily(
        "isthmus_network_connections", "Connections followed here.", labels=("network",)
    )
    limits = GaugeMetricFamily(
        "isthmus_network_connections_limit", "How many there may be.", labels=("network",)
    )
    for network, zone in found.networks.items():
        followed.add_metric((network,), zone.n_connections)
        limits.add_metric((network,), zone.limit)
    dropped = CounterMetricFamily(
        "isthmus_port_unopened_packets",
        "Packets dropped because connections were opened too fast.",
        labels=("port", "direction"),
    )
    for labels, n_packets in found.dropped.items():
        dropped.add_metric(labels, n_packets)
    yield from (followed, limits, dropped)


def serve(address: str, metrics: HostMetrics) -> Callable[[], None]:
    """Serve ``/metrics`` on ``host:port``; the answer ends it. Raises Invalid."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise Invalid(f"{address!r} is no address to serve metrics on: write 127.0.0.1:9477")
    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, thread = start_http_server(int(port), host or "127.0.0.1", registry)
    except OSError as error:
        raise Invalid(f"metrics cannot be served on {address}: {error.strerror}") from error

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end
