# SPDX-License-Identifier: Apache-2.0
"""The agent of an Open vSwitch host, from its parts."""

from __future__ import annotations

from typing import Never

from isthmus.agent.metrics import MetricsServer
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.settings import OvsSettings
from isthmus.agent.ovs.switch import OvsSwitch
from isthmus.agent.process import Agent
from isthmus.agent.settings import Settings
from isthmus.host.facts import Identity
from isthmus.tending import Tending


async def serve(identity: Identity, settings: Settings, ovs: OvsSettings) -> Never:
    """Serve until cancelled. Raises Invalid for what cannot be listened on."""
    tending = Tending()
    state = OvsHost(identity, ovs.limits)
    switch = OvsSwitch(state, ovs, tending)
    metrics = MetricsServer(switch.metrics().collect)
    if ovs.metrics:
        await metrics.start(ovs.metrics)
    try:
        await Agent(state, switch, settings, tending).run()
    finally:
        await metrics.stop()
    raise AssertionError("the agent ends by cancellation only")
