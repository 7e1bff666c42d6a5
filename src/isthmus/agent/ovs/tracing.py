# SPDX-License-Identifier: Apache-2.0
"""Asks the host's own switch where a packet goes (`policy.questions.TracePacket`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from isthmus.agent.ovs.decisions import decision_of
from isthmus.agent.ovs.host import OvsHost
from isthmus.errors import Invalid
from isthmus.host.facts import THIS
from isthmus.policy.answers import TraceAnswer
from isthmus.policy.questions import TracePacket
from isthmus.policy.rows import Port
from isthmus.switches.ovs import control, traced
from isthmus.switches.ovs.facts import ThisBridge
from isthmus.switches.ovs.registers import VSID
from isthmus.wire.header_fields import fields_of, headers_of
from isthmus.wire.headers import Headers

MOST_PASSES = 3


async def trace(
    question: TracePacket, state: OvsHost, run_directory: Path, bridge: str
) -> TraceAnswer:
    """Raises Invalid, Unavailable."""
    fields = _entering(question, state)
    in_port = fields["in_port"]
    command, arguments = traced.first_question(bridge, fields)
    entries: list[traced.Entry] = []
    for _ in range(MOST_PASSES):
        found = traced.read(await control.ask(run_directory, command, arguments), in_port)
        entries += found.entries
        if found.outcome != "tracked":
            break
        command, arguments = traced.second_question(bridge, found.fields)
    last = entries[-1] if entries else None
    decision = decision_of(last.cookie, state) if last else None
    return TraceAnswer(
        outcome=found.outcome,
        place=last.stage if last else "",
        decision=decision.text if decision else "",
        port=_port_name(found.port, state),
        peer=found.peer,
        vsid=traced.register(found.fields, VSID),
        places=tuple(entry.stage for entry in entries),
        packet=_leaving(found.fields),
        fields=dict(found.fields),
    )


def _leaving(fields: Mapping[str, str]) -> Headers | None:
    try:
        return headers_of(fields)
    except ValueError:
        return None  # ARP, for instance


def _entering(question: TracePacket, state: OvsHost) -> dict[str, str]:
    """The packet's fields with where it enters. Raises Invalid."""
    if question.port:
        port = state.engine.rows(Port).get(question.port)
        local = state.local_port(port) if port is not None else None
        if local is None:
            raise Invalid(f"{state.identity.host} has no interface of {question.port}")
        return {**fields_of(question.packet), "in_port": str(local.ofport)}
    this = state.engine.rows(ThisBridge).get(THIS)
    ofport = dict(this.tunnel_ports).get(question.encapsulation) if this else None
    if ofport is None:
        raise Invalid(f"{state.identity.host} has no {question.encapsulation} tunnel")
    tunnel_id = question.vsid << 8 if question.encapsulation == "nvgre" else question.vsid
    tunnel = {
        "tun_id": hex(tunnel_id),
        "tun_src": question.source,
        "tun_dst": str(state.identity.provider_address),
    }
    return {**tunnel, **fields_of(question.packet), "in_port": str(ofport)}


def _port_name(ofport: int, state: OvsHost) -> str:
    port = state.port_behind(ofport)
    return port.id if port is not None else ""
