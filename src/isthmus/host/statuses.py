# SPDX-License-Identifier: Apache-2.0
"""What a host says of a port that is on its switch: pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from isthmus.host.facts import Problem
from isthmus.policy.rows import Port, PortStatus
from isthmus.policy.values import PortState


def wanted_status(
    port: Port,
    *,
    host: str,
    problems: Sequence[Problem],
    elsewhere: bool,
    stored: PortStatus | None,
    now_us: int,
) -> PortStatus:
    """`problems` are sorted; `elsewhere`: another host has the port. What is `stored` already
    stands, with its time."""
    wanted = PortStatus(
        port=port.id,
        host=host,
        segment=port.segment,
        revision=port.revision,
        state=PortState.ERROR if problems else PortState.STANDBY if elsewhere else PortState.UP,
        code=problems[0].code if problems else "Success",
        detail="; ".join(dict.fromkeys(problem.detail for problem in problems)),
        closed=tuple(sorted({problem.closes for problem in problems} - {""})),
        changed_us=stored.changed_us if stored else now_us,
    )
    if stored == wanted:
        return wanted
    return msgspec.structs.replace(wanted, changed_us=now_us)
