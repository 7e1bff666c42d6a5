# SPDX-License-Identifier: Apache-2.0
"""What is told of one packet that was shown (`agent.ovs.watching`)."""

from __future__ import annotations

import msgspec

from isthmus.policy.answers import DecisionTold, Verdict
from isthmus.policy.rows import Port
from isthmus.switches.ovs.feature import Decision
from isthmus.switches.ovs.pipeline import ALLOWED, DROPS, PASSED, Stage
from isthmus.wire.conversation import Conversation
from isthmus.wire.openflow_packets import PacketIn
from isthmus.wire.summary import summary


def is_allowed(packet: PacketIn) -> bool:
    """Whether it is shown before it is let pass; else it was dropped."""
    return packet.userdata in (ALLOWED, PASSED)


def undecided(
    packet: PacketIn,
    ends: Conversation | None,
    ports: tuple[Port | None, Port | None],
    host: str,
    at_us: int,
) -> Verdict:
    """A verdict without who decided it. `ports`: the local ones that it came from and went to."""
    sender, receiver = ports
    port = sender or receiver
    stage = Stage(packet.table) if packet.table in Stage._value2member_map_ else None
    found = Verdict(
        verdict="dropped",
        at_us=at_us,
        host=host,
        port=port.id if port is not None else "",
        receiver=receiver.id if receiver is not None and sender is not None else "",
        place=stage.name if stage is not None else str(packet.table),
        reason=DROPS.get(stage, "") if stage is not None else "",
        decision="",
        origin="",
        packet=summary(packet.packet),
    )
    if ends is not None:
        found = msgspec.structs.replace(
            found,
            protocol=ends.protocol,
            source=str(ends.source),
            destination=str(ends.destination),
            source_port=ends.source_port,
            destination_port=ends.destination_port,
        )
    if is_allowed(packet):
        begins = packet.userdata == ALLOWED
        return msgspec.structs.replace(found, verdict="allowed", place="", reason="", begins=begins)
    return found


def told(decision: Decision) -> DecisionTold:
    """As it is told."""
    return DecisionTold(
        direction=decision.direction,
        level=decision.level,
        decision=decision.text,
        origin=decision.origin,
    )
