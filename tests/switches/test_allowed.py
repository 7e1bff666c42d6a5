# SPDX-License-Identifier: Apache-2.0
"""What flows show of what they let pass: nothing unless somebody watches, and then no more than
that."""

from __future__ import annotations

import re

import msgspec
import pytest

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS, LocalPort
from isthmus.policy.rows import Row, Rule, RuleSet
from isthmus.policy.values import Action, Direction
from isthmus.switches.ovs.allowed import notes
from isthmus.switches.ovs.facts import Interest, Meter, WatchingAllowed
from isthmus.switches.ovs.pipeline import (
    ALLOWED_METER,
    PASSED_METER,
    FlowKey,
    Programmed,
    Stage,
    flow,
)
from tests.flow_texts import named_flow
from tests.switches.policy_rows import (
    at,
    claim,
    compiled,
    host_rows,
    local,
    network_rows,
    port,
    put,
)
from tests.texts import applied

WEB = msgspec.structs.replace(
    port("red", "a", 4), rule_sets=applied("interface * web", "subnet * plain")
)
ROWS: tuple[Row | LocalPort, ...] = (
    *host_rows(),
    *network_rows("red"),
    *(WEB, claim(WEB, "h1"), local(WEB, 3)),
    *(RuleSet(id="web", in_default=Action.DENY), RuleSet(id="plain", in_default=Action.DENY)),
    *(
        Rule(
            rule_set=name,
            id=f"r{n}",
            direction=Direction.IN,
            priority=n,
            action=action,
            stateless=alone,
        )
        for name, n, action, alone in (
            ("web", 1, Action.ALLOW, False),
            ("web", 2, Action.DENY, False),
            ("plain", 1, Action.ALLOW, True),
        )
    ),
)
EVERYTHING = Interest("", "")
_NOTE = re.compile(r"load:0x[0-9a-f]+->OXM_OF_METADATA\[\d+\.\.\d+\],?")
_COOKIE = re.compile(r"cookie=0x[0-9a-f]+,")


def watched(*interests: Interest) -> Engine:
    engine = compiled("h1", ROWS)
    engine.put(WatchingAllowed, THIS, WatchingAllowed(50, tuple(interests)))
    engine.settle()
    return engine


def texts(engine: Engine) -> list[str]:
    found = []
    for key, value in engine.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        found.append(_COOKIE.sub("", named_flow(flow(key, value))))
    return sorted(found)


def copies(engine: Engine) -> list[str]:
    return [text for text in texts(engine) if "userdata=08" in text or "userdata=09" in text]


def test_nothing_is_shown_or_noted_while_nobody_watches_and_all_is_then_as_before() -> None:
    engine = compiled("h1", ROWS)
    before, meters = dict(engine.rows(Programmed)), dict(engine.rows(Meter))
    assert copies(engine) == []
    assert not any("METADATA" in text for text in texts(engine))
    engine.put(WatchingAllowed, THIS, WatchingAllowed(50, (EVERYTHING,)))
    engine.settle()
    assert {ALLOWED_METER, PASSED_METER} <= set(engine.rows(Meter))
    engine.put(WatchingAllowed, THIS, None)
    engine.settle()
    assert dict(engine.rows(Programmed)) == before  # to the byte: instructions and cookies
    assert dict(engine.rows(Meter)) == meters


def test_who_watches_changes_nothing_but_notes_and_copies() -> None:
    without, watching = texts(compiled("h1", ROWS)), texts(watched(EVERYTHING))
    again = "resubmit(,COMMIT)"
    added = [text for text in watching if again in text]
    assert len(added) >= len(copies(watched(EVERYTHING))) > 0
    assert all(at(Stage.COMMIT) in text for text in added)
    assert all(text.endswith(f"load:0x1->SHOWN,{again}") for text in added)
    rest = [_NOTE.sub("", text) for text in watching if text not in added]
    assert sorted(rest) == without
    assert rest != [text for text in watching if text not in added]


def test_a_copy_is_of_what_opens_a_connection_or_of_a_packet_that_nobody_follows() -> None:
    found = copies(watched(EVERYTHING))
    assert len(found) == 2 * 3  # of either family
    begins = [text for text in found if f"meter_id={ALLOWED_METER}" in text]
    passes = [text for text in found if f"meter_id={PASSED_METER}" in text]
    assert len(begins) == 4
    assert len(passes) == 2
    assert sum("ct_state=+new-est+trk" in text for text in begins) == 2
    assert sum("tcp_flags=+syn-ack" in text for text in begins) == 2
    assert all("-trk" in text for text in passes)
    assert all("eth_dst=00:00:00:00:00:00/01:00:00:00:00:00" in text for text in found)


@pytest.mark.parametrize(
    ("interests", "expected"),
    [
        ((Interest(WEB.id, ""),), {"in_port=3", "OUT=0x3"}),
        ((Interest("nobody", ""),), set()),
        ((Interest("", "10.0.2.9/32"),), {"nw_src=10.0.2.9", "nw_dst=10.0.2.9"}),
        ((Interest("", "fd00::/64"),), {"ipv6_src=fd00::/64", "ipv6_dst=fd00::/64"}),
        (
            (Interest(WEB.id, "10.0.2.9/32"),),
            {"in_port=3,nw_dst=10.0.2.9", "OUT=0x3,nw_src=10.0.2.9"},
        ),
        ((Interest(WEB.id, ""), EVERYTHING), {"", "in_port=3", "OUT=0x3"}),
    ],
)
def test_the_switch_copies_only_what_somebody_looks_at(
    interests: tuple[Interest, ...], expected: set[str]
) -> None:
    ends = re.compile(r"in_port=\d+|OUT=0x\w+|(?:nw|ipv6)_(?:src|dst)=[^, ]+")
    found = {
        ",".join(sorted(ends.findall(text.partition("actions")[0])))
        for text in copies(watched(*interests))
    }
    assert found == expected


def test_what_is_watched_follows_the_port_to_another_interface() -> None:
    engine = watched(Interest(WEB.id, ""))
    put(engine, local(WEB, 9))
    engine.settle()
    assert any("in_port=9" in text for text in copies(engine))
    assert not any("in_port=3" in text for text in copies(engine))


def test_notes_are_read_level_by_level() -> None:
    assert list(notes(0)) == []
    assert list(notes(60000 | 1 << 32 | 0xFFFF << 48)) == [
        ("out", "interface", 60000),
        ("in", "subnet", 1),
        ("in", "interface", 0xFFFF),
    ]
