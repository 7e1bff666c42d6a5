# SPDX-License-Identifier: Apache-2.0
"""What the agent of an Open vSwitch host is told beside what every agent is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from isthmus.switches.ovs.facts import Limits


class OvsSettings(NamedTuple):
    """`bridge` is the integration bridge, made when it is missing."""

    switch: str
    switch_run_directory: Path
    bridge: str = "br-int"
    datapath_type: str = "netdev"
    limits: Limits = Limits()
    certificate: Path | None = None
    authorities: Path | None = None
    """What this host proves itself with and whom it trusts, for the doctor to look at."""
    metrics: str = ""
    """Address of the Prometheus end point, ``host:port``; empty for none."""
    underlay_interface: str = ""
    """The uplink that the agent may put into a bridge where the datapath is in userspace
    (`agent.ovs.underlay`); empty for none."""
