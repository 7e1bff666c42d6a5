# SPDX-License-Identifier: Apache-2.0
"""One host that says nonsense: everybody else is answered, about everything."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.controller.doctor import findings
from isthmus.controller.explaining import explained
from isthmus.controller.hearing import Hearing
from isthmus.controller.observed_state import ObservedState, host_shown
from isthmus.controller.tracing import shown
from isthmus.intent.model import Json
from isthmus.policy.rows import Host, Row
from isthmus.reach.trace import Question, trace
from isthmus.reach.world import World
from tests.controller.clocks import Clock
from tests.policy.test_observed import ROWS
from tests.reach.cloud import port, red

NOW_S = 1_700_000_000.0
PORTS = [
    msgspec.structs.replace(port(name, host), profile_id=f"{host:08x}-1111-4111-8111-111111111111")
    for name, host in (("a", 4), ("a", 5))
]
HOSTS = [Host(id=name, certificate_name=name, origin=f"/servers/{name}") for name in ("h1", "h2")]


@settings(max_examples=300, deadline=None)
@given(st.lists(ROWS, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_whatever_one_host_says_everything_is_answered(rows: list[Row], going: list[bool]) -> None:
    fixed: list[Row] = [*red(), *PORTS, *HOSTS]
    observed = ObservedState(lambda: NOW_S, Hearing(Clock()))
    observed.name("h1-instance", "h1")
    observed.name("red-instance", "red")
    held: dict[tuple[type, object], Row] = {}
    for row in (*fixed, *rows):
        # As a replica does it: a row that comes again replaces the one of its key.
        observed.change(held.get((type(row), row.key)), row)
        held[type(row), row.key] = row
    answered(observed, World(held.values()))
    for (place, row), goes in zip([*held.items()][len(fixed) :], going, strict=False):
        if goes:
            observed.change(row, None)
            del held[place]
    answered(observed, World(held.values()))


def answered(observed: ObservedState, world: World) -> None:
    """Everything that is made of rows, as JSON."""
    told: list[Json] = [
        host_shown(view, observed.problems_of(view)) for view in observed.host_views()
    ]
    for kind, instance in (
        *(("networkInterfaces", row.profile_id) for row in PORTS),
        ("servers", "h1-instance"),
        ("virtualNetworks", "red-instance"),
    ):
        state = observed.configuration_state(kind, instance)
        told += [dict(state) if state else None, list(observed.located(kind, instance))]
    for row in PORTS:
        request = {"resourceId": row.id, "instanceId": row.profile_id}
        told.append(dict(explained(request, observed, None, {})))
    told += [
        shown(trace(world, Question("red-a-4", "red-a-5"))),
        shown(trace(world, Question("red-a-5", "red-a-4"))),
    ]
    told += [list(one) for one in findings(world, {}, NOW_S, 1500, silent={})]
    msgspec.json.decode(msgspec.json.encode(told))
