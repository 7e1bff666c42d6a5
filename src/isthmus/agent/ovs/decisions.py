# SPDX-License-Identifier: Apache-2.0
"""From a flow's cookie back to the decision that it stands for, and what flows have counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isthmus.agent.ovs.host import OvsHost
from isthmus.switches.ovs.feature import Decided, Decision
from isthmus.switches.ovs.pipeline import DROPS, Stage, unit_of_cookie
from isthmus.wire import oxm
from isthmus.wire.openflow_replies import InstalledFlow


class Counted(NamedTuple):
    """What rules, stages and ports have counted. `blocked` is by port: what port security dropped;
    `dropped` by stage: what reached its end; `unopened` by port: what would have opened more
    connections than it may, from it or to it; `fragments` by port: those above its limit."""

    rules: dict[Decision, tuple[int, int]]
    """Packets and bytes."""
    dropped: dict[str, int]
    blocked: dict[str, int]
    unopened: dict[str, int]
    fragments: dict[str, int]


def decisions(state: OvsHost) -> dict[int, Decision]:
    """By the unit part of cookies: everything that flows on this host can decide."""
    return {one.unit: one.decision for one in _decided(state)}


def applied(state: OvsHost) -> dict[int, Decision]:
    """Those that hold for a port of this host."""
    return {one.unit: one.decision for one in _decided(state) if one.is_applied}


def _decided(state: OvsHost) -> Iterator[Decided]:
    for feature in state.features:
        yield from feature.decisions(state.engine)


def decision_of(cookie: int, state: OvsHost) -> Decision | None:
    """What a flow's cookie says; None for a flow that decides nothing."""
    return decisions(state).get(unit_of_cookie(cookie))


def counting_stages(state: OvsHost) -> tuple[Stage, ...]:
    """Where flows count for `counted`, beside those that end a table."""
    found = [one for feature in state.features for one in (*feature.decides_at, *feature.blocks_at)]
    return tuple(dict.fromkeys(found))


def counted(flows: Iterable[InstalledFlow], state: OvsHost) -> Counted:
    """From the flows of `counting_stages`, and those that end a table."""
    known = applied(state)
    blocking = {one for feature in state.features for one in feature.blocks_at.items()}
    found = Counted({}, {}, {}, {}, {})
    for flow in flows:
        if flow.priority == 0 and not flow.match:
            if flow.table in DROPS:
                found.dropped[Stage(flow.table).name] = flow.n_packets
        elif (flow.table, flow.priority) in blocking:
            port = state.port_behind(next(oxm.entries(flow.match)).value)
            if port is not None:
                found.blocked[port.id] = flow.n_packets
        elif (decision := known.get(unit_of_cookie(flow.cookie))) is not None:
            packets, octets = found.rules.get(decision, (0, 0))
            found.rules[decision] = packets + flow.n_packets, octets + flow.n_bytes
    return found
