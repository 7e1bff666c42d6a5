# SPDX-License-Identifier: Apache-2.0
"""Puts the question "where does this packet go" to the host's own switch.

``trace`` and a JSON object: `port` (it comes from a local port) or `source` and `vsid` (it comes
from a tunnel, of the encapsulation `encapsulation`), and the packet's fields as Open vSwitch names
them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from isthmus.agent.decisions import decision_of
from isthmus.agent.host import HostState
from isthmus.errors import Invalid
from isthmus.policy.rows import Port
from isthmus.switches.ovs import control, traced
from isthmus.switches.ovs.facts import THIS, ThisHost
from isthmus.switches.ovs.registers import VSID

MOST_PASSES = 3


class TraceQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller asks."""

    fields: dict[str, str]
    port: str = ""
    source: str = ""
    vsid: int = 0
    encapsulation: str = ""


async def trace(text: str, state: HostState, run_directory: Path, bridge: str) -> dict[str, object]:
    """The answer, as a JSON object. Raises Invalid, Unavailable."""
    try:
        question = msgspec.json.decode(text, type=TraceQuestion)
    except msgspec.DecodeError as error:
        raise Invalid(f"the question cannot be read: {error}") from error
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
    return {
        "outcome": found.outcome,
        "stage": last.stage if last else "",
        "decision": decision.text if decision else "",
        "port": _port_name(found.port, state),
        "peer": found.peer,
        "vsid": traced.register(found.fields, VSID),
        "fields": dict(found.fields),
        "stages": [entry.stage for entry in entries],
    }


def _entering(question: TraceQuestion, state: HostState) -> dict[str, str]:
    """The packet's fields with where it enters. Raises Invalid."""
    if question.port:
        port = state.engine.rows(Port).get(question.port)
        local = state.local_port(port) if port is not None else None
        if local is None:
            raise Invalid(f"{state.identity.host} has no interface of {question.port}")
        return {**question.fields, "in_port": str(local.ofport)}
    this = state.engine.rows(ThisHost).get(THIS)
    ofport = dict(this.tunnel_ports).get(question.encapsulation) if this else None
    if ofport is None:
        raise Invalid(f"{state.identity.host} has no {question.encapsulation} tunnel")
    tunnel_id = question.vsid << 8 if question.encapsulation == "nvgre" else question.vsid
    tunnel = {
        "tun_id": hex(tunnel_id),
        "tun_src": question.source,
        "tun_dst": str(state.identity.provider_address),
    }
    return {**tunnel, **question.fields, "in_port": str(ofport)}


def _port_name(ofport: int, state: HostState) -> str:
    port = state.port_behind(ofport)
    return port.id if port is not None else ""
