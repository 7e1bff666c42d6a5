# SPDX-License-Identifier: Apache-2.0
"""What flows that drop show of it: nothing unless somebody watches, and then of the ports that are
watched."""

from __future__ import annotations

import pytest

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS, LocalPort
from isthmus.policy.rows import Row, Rule, RuleSet
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs.facts import Meter, Watching
from isthmus.switches.ovs.pipeline import (
    SHOWN_DROPS,
    WATCH_METER,
    FlowKey,
    Programmed,
    flow,
)
from tests.flow_texts import named_flow
from tests.switches.policy_rows import (
    claim,
    compiled,
    host_rows,
    local,
    network_rows,
    port,
    put,
)
from tests.switches.test_allowed import WEB

OTHER = port("red", "a", 5)
ROWS: tuple[Row | LocalPort, ...] = (
    *host_rows(),
    *network_rows("red"),
    *(WEB, claim(WEB, "h1"), local(WEB, 3)),
    *(OTHER, claim(OTHER, "h1"), local(OTHER, 4)),
    *(RuleSet(id="web", in_default=Action.DENY), RuleSet(id="plain", in_default=Action.DENY)),
    Rule(rule_set="web", id="r1", direction=Direction.IN, priority=1, action=Action.DENY),
)


def watched(*ports: str) -> Engine:
    engine = compiled("h1", ROWS)
    engine.put(Watching, THIS, Watching(50, ports))
    engine.settle()
    return engine


def texts(engine: Engine) -> list[str]:
    found = []
    for key, value in engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        found.append(named_flow(flow(key, value)))
    return sorted(found)


def copies(engine: Engine) -> list[str]:
    return [text for text in texts(engine) if "userdata=04" in text]


@pytest.mark.parametrize("ports", [(), (WEB.id,), (WEB.id, "nobody")])
def test_flows_are_as_before_when_nobody_watches_any_more(ports: tuple[str, ...]) -> None:
    engine = compiled("h1", ROWS)
    before, meters = dict(engine.rows(Programmed)), dict(engine.rows(Meter))
    assert copies(engine) == []
    engine.put(Watching, THIS, Watching(50, ports))
    engine.settle()
    assert copies(engine)
    engine.put(Watching, THIS, None)
    engine.settle()
    assert dict(engine.rows(Programmed)) == before  # to the byte: instructions and cookies
    assert dict(engine.rows(Meter)) == meters


@pytest.mark.parametrize("ports", [(), (WEB.id,)])
def test_the_meter_of_what_is_shown_ends_no_packet(ports: tuple[str, ...]) -> None:
    """As an instruction it would, for all receivers of a flood that are left."""
    engine = watched(*ports)
    assert copies(engine)
    assert not any(f"meter:{WATCH_METER}" in text for text in texts(engine))
    assert all(f"meter_id={WATCH_METER}" in text for text in copies(engine))


def test_what_is_no_answer_either_is_shown_where_its_way_ends() -> None:
    """Told as dropped is what may open nothing only then (`agent.ovs.watching`)."""
    turned = "TURNED=0x1"
    ending = [text for text in copies(watched()) if "table=JUDGE," in text]
    assert sum(turned in text for text in ending) == 2  # of either family


def test_of_watched_ports_alone_something_is_shown() -> None:
    shown = [text.partition("actions=")[0] for text in copies(watched(WEB.id, "nobody"))]
    assert len(shown) == 2
    assert all(f"table={SHOWN_DROPS}," in text for text in shown)
    assert "in_port=3 " in shown[0] + shown[1]
    assert "OUT=0x3 " in shown[0] + shown[1]
    asked = [text for text in texts(watched(WEB.id)) if f"resubmit(,{SHOWN_DROPS})" in text]
    assert len(asked) == len(copies(watched()))


def test_what_is_shown_follows_the_port_to_another_interface() -> None:
    engine = watched(WEB.id)
    put(engine, local(WEB, 9))
    engine.settle()
    assert any("in_port=9" in text for text in copies(engine))
    assert not any("in_port=3" in text for text in copies(engine))
