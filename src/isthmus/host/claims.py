# SPDX-License-Identifier: Apache-2.0
"""Which claim a host makes of a port: pure, so that every race has a test.

A port appears on the switch: the host claims it. If another host has it, the claim is standby until
the guest's first frame here, until the other claim goes, or until the port names this host alone. A
claim that becomes active takes a sequence above all others, so peers and the loser agree without
asking anyone. A host whose claim is overtaken keeps it, and forwards, until the port leaves its
switch.
"""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.policy.rows import Claim, Port


def wanted_claim(
    port: Port | None,
    *,
    host: str,
    provider_address: str,
    plugged: bool,
    own: Claim | None,
    others: Sequence[Claim],
    frame_seen: bool,
) -> Claim | None:
    """The claim that `host` should have, or None for none.

    `others` are the believed claims of other hosts; `own` is the host's claim in the store;
    `frame_seen`: the guest has sent something here since the port was plugged.
    """
    if port is None or not plugged or (port.hosts and host not in port.hosts):
        return None
    active = [claim for claim in others if claim.state == "active"]
    if own is not None and own.state == "active":
        state, sequence = "active", own.sequence
    elif not active or frame_seen or port.hosts == (host,):
        state = "active"
        sequence = max((claim.sequence for claim in others), default=0) + 1
    else:
        state, sequence = "standby", 0
    return Claim(
        port=port.id,
        host=host,
        segment=port.segment,
        provider_address=provider_address,
        state=state,
        sequence=sequence,
    )
