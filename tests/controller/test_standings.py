# SPDX-License-Identifier: Apache-2.0
"""How ports stand is counted as if all of them had been looked at."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.controller.standings import UNCLAIMED, UNSAID, Standings, standing
from isthmus.policy.rows import Host, PortStatus, Row
from isthmus.policy.values import PortState
from isthmus.reach.world import World
from tests.reach.cloud import port
from tests.reach.test_kept import STEPS, Held, changes_of
from tests.switches.policy_rows import claim


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sets(st.integers(0, 40)))
def test_whatever_changes_ports_are_counted_as_they_stand(
    steps: list[tuple[Row, bool]], asked: set[int]
) -> None:
    world, standings, held = World(), Standings(), Held()
    for number, (old, new) in enumerate(changes_of(steps, held)):
        world.change(old, new)
        standings.note(world, old, new)
        if number in asked:
            standings.counts(world)
    assert +Counter(standings.counts(world)) == Counter(
        standing(world, name) for name in world.ports
    )


def test_a_port_stands_as_the_server_that_has_it_says() -> None:
    web = port("a", 4)
    said = PortStatus(port=web.id, host="h1", segment=web.segment, state=PortState.ERROR)
    rows: list[Row] = [web, claim(web, "h1"), Host(id="h1", certificate_name="h1"), said]
    world, found = World(), list[str]()
    for row in rows:
        world.change(None, row)
        found.append(standing(world, web.id))
    assert found == [UNCLAIMED, UNCLAIMED, UNSAID, "error"]
