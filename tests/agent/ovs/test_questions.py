# SPDX-License-Identifier: Apache-2.0
"""What a host says of one port when it is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.probing import Probing
from isthmus.agent.ovs.questions import Switch, answer, missing_flows
from isthmus.agent.ovs.tunnel_probing import TunnelProbing
from isthmus.agent.ovs.watching import Watches
from isthmus.policy.questions import Alive
from isthmus.policy.rows import Query
from isthmus.switches.ovs.connection import Connection
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow, unit_cookie, unit_of_cookie
from isthmus.wire.openflow_replies import InstalledFlow
from tests.agent.ovs.hosts import host, plug
from tests.switches.policy_rows import claim, network_rows, port
from tests.texts import pairs

PAIR = "10.0.1.9/32 02:00:5e:00:00:01"
WEB = port("red", "a", 4)
TWINS = [msgspec.structs.replace(port("red", "a", number), pairs=pairs(PAIR)) for number in (8, 9)]


def held(state: OvsHost, port_id: str) -> list[InstalledFlow]:
    """What a switch that has the whole program answers when it is asked for a port's flows."""
    units = {unit_cookie(unit, port_id) for unit in ("local_flows", "place")}
    found = []
    for key, value in state.engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        if unit_of_cookie(value.cookie) in units:
            wanted = flow(key, value)
            found.append(InstalledFlow(*wanted[:5], 0, 0, 0))
    return found


def test_ports_that_share_an_address_pair_miss_no_flow_that_either_may_have() -> None:
    state = host("h1", *network_rows("red"), WEB, *TWINS, *(claim(one, "h2") for one in TWINS))
    plug(state, WEB)
    state.settle(whole=True)
    for one in (WEB, *TWINS):
        there = held(state, one.id)
        assert len(there) >= 3
        assert missing_flows(one.id, state, there) == []
        assert missing_flows(one.id, state, there[1:]) == [there[0].flow]


def answered(question: str) -> dict[str, object]:
    """Of a host whose switch is away."""
    state = host("h1")
    connection = Connection(
        Path("/nowhere"), on_connected=lambda: None, on_packet_in=lambda _: None
    )
    hands = Switch(
        *(connection, Path("/nowhere"), "br-int", Watches(state), Probing(state)),
        *(TunnelProbing(state, connection), None, None, tuple),
    )
    query = Query(id="q", host="h1", question=question, deadline_s=0)
    found: dict[str, object] = msgspec.json.decode(asyncio.run(answer(query, state, hands)).result)
    return found


def test_whether_an_agent_is_there_is_a_question_that_it_knows() -> None:
    assert answered(Alive().text) == {"alive": True}
    assert "is no question that this host knows: ask alive," in str(answered("dead")["error"])
