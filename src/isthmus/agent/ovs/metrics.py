# SPDX-License-Identifier: Apache-2.0
"""What rules, stages and ports of an Open vSwitch host have counted, for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from isthmus.agent.ovs import connection_limits
from isthmus.agent.ovs.decisions import Counted
from isthmus.errors import IsthmusError
from isthmus.host.guests import Counters
from isthmus.switches.ovs.pipeline import DROPS, Stage

SCRAPE_S = 5.0
"""For the switch to say what it has counted."""


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
