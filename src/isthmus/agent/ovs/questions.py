# SPDX-License-Identifier: Apache-2.0
"""Answers what a controller asks this host (`policy.questions`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, assert_never

from isthmus.agent.answering import refusal
from isthmus.agent.ovs.connection_limits import FRAGMENTS, OPENINGS, dropped_by_port
from isthmus.agent.ovs.decisions import Counted, counted, counting_stages
from isthmus.agent.ovs.health import health
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.tracing import trace
from isthmus.agent.ovs.tunnel_probing import TunnelProbing
from isthmus.agent.ovs.watching import Watches
from isthmus.errors import Invalid
from isthmus.host.facts import Location
from isthmus.policy import answers, questions
from isthmus.policy.answers import (
    CountedRule,
    CountersAnswer,
    InstalledRule,
    Interface,
    PortAnswer,
    Told,
)
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.questions import AnyQuestion
from isthmus.policy.rows import Answer, Port, Query
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.fixed import TABLE_ENDS
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
    try:
        said = await _answer(questions.parse(query.question), state, switch)
    except Invalid as error:
        return refusal(query, error)
    return Answer(id=query.id, host=query.host, result=answers.write(said))


async def _answer(question: AnyQuestion, state: OvsHost, switch: Switch) -> Told:
    """Raises Invalid, Unavailable."""
    match question:
        case questions.Alive():
            return answers.AliveAnswer(alive=True)
        case questions.AskPort():
            return await _port(question.port, state, switch)
        case questions.TracePacket():
            return await trace(question, state, switch.run_directory, switch.bridge)
        case questions.Counters():
            return counters_told(await count(state, switch.connection))
        case questions.SendProbe():
            return await switch.probing.probe(question, switch.connection)
        case questions.Health():
            return await health(
                question,
                state.identity.provider_address,
                switch.certificate,
                switch.authorities,
                switch.tunnels,
            )
        case questions.Watch():
            switch.watches.ask(question, time.monotonic())
            return answers.WatchAnswer(watching=True)
    assert_never(question)


async def count(state: OvsHost, connection: Connection) -> Counted:
    """What the switch has counted. Raises Unavailable."""
    flows = await connection.dump_flows(cookie=TABLE_ENDS << 24, mask=_UNIT_MASK)
    for stage in counting_stages(state):
        flows += await connection.dump_flows(table=stage)
    found = counted(flows, state)
    stats = await connection.dump_meter_stats()
    for meters, by_port in ((OPENINGS, found.unopened), (FRAGMENTS, found.fragments)):
        for (port, _), n_packets in dropped_by_port(stats, state, meters).items():
            by_port[port] = by_port.get(port, 0) + n_packets
    return found


def counters_told(found: Counted) -> CountersAnswer:
    """As it is answered."""
    rules = tuple(
        CountedRule(**decision._asdict(), packets=packets, bytes=octets)
        for decision, (packets, octets) in sorted(found.rules.items())
    )
    return CountersAnswer(
        rules=rules,
        dropped=found.dropped,
        blocked=found.blocked,
        unopened=found.unopened,
        fragments=found.fragments,
    )


async def _port(port_id: str, state: OvsHost, switch: Switch) -> PortAnswer:
    port = state.engine.rows(Port).get(port_id)
    if port is None:
        raise Invalid(f"{state.identity.host} knows no port {port_id}")
    installed = [
        found
        for unit in _port_units(state)
        for found in await switch.connection.dump_flows(
            cookie=unit_cookie(unit, port_id) << 24, mask=_UNIT_MASK
        )
    ]
    local = state.local_port(port)
    location = state.engine.rows(Location).get(port_id)
    status = state.wanted_status(port_id, 0)
    return PortAnswer(
        interface=None if local is None else Interface(id=local.iface_id, number=local.ofport),
        location=None if location is None else location.host,
        state=None if status is None else status.state,
        detail="" if status is None else status.detail,
        installed=tuple(map(_told, sorted(installed, key=lambda f: (f.table, f.match)))),
        missing=tuple(flow_text(lacking) for lacking in missing_flows(port_id, state, installed)),
        problems=tuple(one.shown for one in switch.problems() if one.about == port_id),
    )


def _port_units(state: OvsHost) -> Iterator[str]:
    for feature in state.features:
        yield from feature.shown_units


def _told(found: InstalledFlow) -> InstalledRule:
    return InstalledRule(
        place=_stage(found.table),
        text=flow_text(found.flow),
        packets=found.n_packets,
        bytes=found.n_bytes,
    )


def missing_flows(port_id: str, state: OvsHost, installed: Sequence[InstalledFlow]) -> list[Flow]:
    """Flows of the program that the switch does not have, but for those that it ends by itself."""
    have = {(f.table, f.priority, f.match, f.cookie) for f in installed}
    lacking = []
    for unit in _port_units(state):
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
