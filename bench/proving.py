# SPDX-License-Identifier: Apache-2.0
"""How long the proof of one change takes: that the flows of all hosts still do what the policy
says, wherever the change can matter. Each changed resource once there and once back."""

from __future__ import annotations

from bench.results import Figure, figure, median
from tests.proof.large_cloud import changes, large_cloud
from tests.proof.one_change import measured

PORTS_A_NETWORK = 10


def incremental_check(n_ports: int) -> Figure:
    """From the rows as they are now to the last probe; without what the engines take to follow.
    Raises AssertionError if flows and policy disagree."""
    cloud = large_cloud(n_ports // PORTS_A_NETWORK, PORTS_A_NETWORK)
    network = cloud.network()
    found = [measured(name, network, before, after) for name, before, after in changes(cloud)]
    wrong = [one.name for one in found if one.checked.disagreements]
    assert not wrong, wrong
    times = [one.checked_s for one in found]
    longest = max(found, key=lambda one: one.checked_s)
    probes = max(one.checked.n_probes for one in found)
    return figure(
        *("incremental_check", n_ports, median(times), "s"),
        goal="≤ 1",
        note=f"{n_ports // PORTS_A_NETWORK} networks; median of {len(found)} changes, up to"
        f" {probes:,} probes; longest {max(times):.2f} s ({longest.name})",
    )
