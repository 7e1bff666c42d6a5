# SPDX-License-Identifier: Apache-2.0
"""What an agent is told when it starts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from isthmus.agent.ovs.host import Identity


class Settings(NamedTuple):
    """What the agent is told. `bridge` is the integration bridge, made when it is missing."""

    identity: Identity
    south: tuple[str, ...]
    switch: str
    switch_run_directory: Path
    bridge: str = "br-int"
    datapath_type: str = "netdev"
    version: str = "0"
    tls: Callable[[], ssl.SSLContext] | None = None
    """Of each connection to the south store that is made."""
    scope_file: Path | None = None
    """Where the scope is remembered, so that a restart asks for all of it at once."""
    certificate: Path | None = None
    authorities: Path | None = None
    """What this host proves itself with and whom it trusts, for the doctor to look at."""
    metrics: str = ""
    """Address of the Prometheus end point, ``host:port``; empty for none."""
    underlay_interface: str = ""
    """The uplink that the agent may put into a bridge where the datapath is in userspace
    (`agent.ovs.underlay`); empty for none."""
