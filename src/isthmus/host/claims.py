# SPDX-License-Identifier: Apache-2.0
"""Which claim a host makes of a port: pure, so that every race has a test.

A port appears on the switch: the host claims it. If another host has it, the claim is standby until
the guest's first frame here, until the other claim goes, or until the port names this host alone.
A host whose claim is overtaken keeps it, and forwards, until the port leaves its switch.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.addresses import Address
from isthmus.policy.placement import may_have, wanted_state
from isthmus.policy.rows import Claim, Port


def wanted_claim(
    port: Port | None,
    *,
    host: str,
    provider_address: Address,
    plugged: bool,
    own: Claim | None,
    others: Sequence[Claim],
    frame_seen: bool,
    before_plugged: int = 0,
) -> Claim | None:
    """The claim that `host` should have, or None for none.

    `own` is the host's claim in the store; the rest is as `policy.placement.wanted_state` has it.
    """
    if port is None or not plugged or not may_have(port, host):
        return None
    state, sequence = wanted_state(
        port, host, own, others, frame_seen=frame_seen, before_plugged=before_plugged
    )
    return Claim(
        port=port.id,
        host=host,
        segment=port.segment,
        provider_address=provider_address,
        state=state,
        sequence=sequence,
    )
