# SPDX-License-Identifier: Apache-2.0
"""The data path of a switch: what it says of itself, and started again."""

from __future__ import annotations

from tests.system import cloud as clouds
from tests.system.cloud import HOSTS, RunningCloud

UNDERLAY = "172.31.0.0/24"


def appctl(cloud: RunningCloud, command: str, *arguments: str) -> str:
    """What the data path of h1 answers to a command."""
    return cloud.lab.host("h1").switch.appctl(command, "netdev@ovs-netdev", *arguments)


def restart(cloud: RunningCloud, name: str) -> None:
    """Start the switch of that host again: its data path and its connection tracking are empty."""
    host = cloud.lab.host(name)
    others = [other for other in HOSTS if other.name != name]
    host.switch.stop_forwarding()
    forwarding = host.switch.start_forwarding()
    assert forwarding.wait(clouds.LONGEST_S) == 0
    host.switch.set_provider_address(host.spec.provider_address, 24, UNDERLAY)
    host.switch.set_neighbours({one.provider_address: one.provider_mac for one in others})
    cloud.settle()
