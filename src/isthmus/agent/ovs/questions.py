# SPDX-License-Identifier: Apache-2.0
"""What a controller may ask a host (`policy.rows.Query`), and how it answers.

- ``alive``: nothing else than that the agent is there.
- ``port ID``: the flows of one port as the switch has them, with their counters; which of the
  program's are missing; where the port is, and what is wrong with it.
- ``trace JSON``: where a packet goes (`agent.ovs.tracing`).
- ``counters``: what rules, stages and ports have counted (`agent.ovs.decisions`).
- ``health JSON``: how it is with the host and its underlay (`agent.ovs.health`).
- ``probe JSON``: send a real packet and wait for what answers it (`agent.ovs.probing`).
- ``watch JSON``: show what is dropped for a while (`agent.ovs.watching`).
- ``flows JSON``: likewise, also what is allowed, or what has a certain peer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from isthmus.agent.answering import refusal
from isthmus.agent.ovs.connection_limits import FRAGMENTS, OPENINGS, dropped_by_port
from isthmus.agent.ovs.decisions import RULE_STAGES, Counted, counted
from isthmus.agent.ovs.health import health
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.tracing import trace
from isthmus.agent.ovs.tunnel_probing import TunnelProbing
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Invalid
from isthmus.host.facts import Location
from isthmus.policy import rows
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Answer, Port, Query
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.pipeline import (
    FlowKey,
    Programmed,
    Stage,
    flow,
    unit_cookie,
    unit_of_cookie,
)
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_replies import InstalledFlow
from isthmus.wire.openflow_text import flow_text

Result = Mapping[str, object]

_PORT_UNITS = ("local_flows", "place")
_UNIT_MASK = 0xFFFFFFFFFF000000


class Switch(NamedTuple):
    """The hands that questions need."""

    connection: Connection
    run_directory: Path
    bridge: str
    watches: Watches
    probing: Probing
    tunnels: TunnelProbing
    certificate: Path | None
    authorities: Path | None
    problems: Callable[[], Sequence[HostProblem]]
    """What is wrong with the host."""


async def answer(query: Query, state: OvsHost, switch: Switch) -> Answer:
    """The answer to one question; a question that is not understood is answered with the error.

    Raises Unavailable while the switch is away.
    """
    word, _, argument = query.question.partition(" ")
    result: Result
    try:
        match word:
            case rows.ALIVE:
                result = {"alive": True}
            case "port":
                result = await _port(argument, state, switch)
            case "trace":
                result = await trace(argument, state, switch.run_directory, switch.bridge)
            case "counters":
                result = counters_shown(await count(state, switch.connection))
            case "probe":
                result = await switch.probing.probe(argument, switch.connection)
            case "health":
                result = await health(
                    argument,
                    state.identity.provider_address,
                    switch.certificate,
                    switch.authorities,
                    switch.tunnels,
                )
            case "watch" | "flows":
                switch.watches.ask(argument, time.monotonic())
                result = {"watching": True}
            case _:
                raise Invalid(
                    f"{word!r} is no question that this host knows: ask alive, port ID, trace"
                    " JSON, probe JSON, watch JSON, flows JSON, health JSON or counters"
                )
    except Invalid as error:
        return refusal(query, error)
    return Answer(id=query.id, host=query.host, result=msgspec.json.encode(result).decode())


async def count(state: OvsHost, connection: Connection) -> Counted:
    """What the switch has counted. Raises Unavailable."""
    fixed = unit_cookie("fixed_flows", "") << 24
    flows = await connection.dump_flows(cookie=fixed, mask=_UNIT_MASK)
    for stage in (*RULE_STAGES, Stage.ADMISSION):
        flows += await connection.dump_flows(table=stage)
    found = counted(flows, state)
    stats = await connection.dump_meter_stats()
    for meters, by_port in ((OPENINGS, found.unopened), (FRAGMENTS, found.fragments)):
        for (port, _), n_packets in dropped_by_port(stats, state, meters).items():
            by_port[port] = by_port.get(port, 0) + n_packets
    return found


def counters_shown(found: Counted) -> Result:
    """As JSON."""
    rules = [
        {**decision._asdict(), "packets": packets, "bytes": octets}
        for decision, (packets, octets) in sorted(found.rules.items())
    ]
    return {
        "rules": rules,
        "dropped": found.dropped,
        "blocked": found.blocked,
        "unopened": found.unopened,
        "fragments": found.fragments,
    }


async def _port(port_id: str, state: OvsHost, switch: Switch) -> Result:
    port = state.engine.rows(Port).get(port_id)
    if port is None:
        return {"error": f"{state.identity.host} knows no port {port_id}"}
    installed = [
        found
        for unit in _PORT_UNITS
        for found in await switch.connection.dump_flows(
            cookie=unit_cookie(unit, port_id) << 24, mask=_UNIT_MASK
        )
    ]
    local = state.local_port(port)
    location = state.engine.rows(Location).get(port_id)
    status = state.wanted_status(port_id, 0)
    return {
        "interface": None if local is None else {"id": local.iface_id, "ofport": local.ofport},
        "location": None if location is None else location.host,
        "state": None if status is None else status.state,
        "detail": "" if status is None else status.detail,
        "flows": [_shown(found) for found in sorted(installed, key=lambda f: (f.table, f.match))],
        "problems": [one.shown for one in switch.problems() if one.about == port_id],
        "missing": [flow_text(lacking) for lacking in missing_flows(port_id, state, installed)],
    }


def _shown(found: InstalledFlow) -> Result:
    return {
        "stage": _stage(found.table),
        "flow": flow_text(found.flow),
        "packets": found.n_packets,
        "bytes": found.n_bytes,
    }


def missing_flows(port_id: str, state: OvsHost, installed: Sequence[InstalledFlow]) -> list[Flow]:
    """Flows of the program that the switch does not have, but for those that it ends by itself."""
    have = {(f.table, f.priority, f.match, f.cookie) for f in installed}
    lacking = []
    for unit in _PORT_UNITS:
        for item in state.engine.given(unit, port_id):
            if isinstance(item.key, FlowKey) and isinstance(item.value, Programmed):
                wanted = flow(item.key, item.value)
                if unit_of_cookie(wanted.cookie) != unit_cookie(unit, port_id):
                    continue  # another port gives the same flow, and it is under that one's name
                if wanted.lasts_s:
                    continue
                if (wanted.table, wanted.priority, wanted.match, wanted.cookie) not in have:
                    lacking.append(wanted)
    return lacking


def _stage(table: int) -> str:
    return Stage(table).name if table in Stage._value2member_map_ else str(table)
