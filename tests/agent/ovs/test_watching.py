# SPDX-License-Identifier: Apache-2.0
"""What a host shows of what it drops while somebody watches, and to whom it concerns."""

from __future__ import annotations

import msgspec
import pytest

from isthmus.agent.ovs.decisions import decision_of
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.watching import (
    LONGEST_S,
    MOST_HELD,
    RATE_PPS,
    Watches,
)
from isthmus.errors import Invalid
from isthmus.host.facts import THIS
from isthmus.policy.questions import Watch, parse
from isthmus.switches.ovs.facts import Watching
from isthmus.switches.ovs.pipeline import (
    SHOWN_DROPS,
    Programmed,
    Stage,
    dropped_by,
    unit_of_cookie,
)
from isthmus.wire import oxm
from isthmus.wire.openflow_packets import PacketIn
from tests.agent.ovs.test_refused import SET, WEB, given_by, running


def read(text: str) -> Watch:
    """A question as it is written."""
    question = parse(f"flows {text}")
    assert isinstance(question, Watch)
    return question


def ask(watches: Watches, name: str, seconds: int = 10, port: str = "", now_s: float = 0.0) -> None:
    watches.ask(Watch(name=name, seconds=seconds, port=port), now_s)


def test_flows_that_drop_show_what_they_drop_while_somebody_watches_and_are_then_as_before() -> (
    None
):
    state = running()
    before = dict(state.engine.rows(Programmed))
    watches = Watches(state)
    ask(watches, "w")
    state.settle()
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS)}
    assert dict(state.engine.rows(Programmed)) != before
    assert not watches.expire(10.0)
    assert watches.expire(10.1)
    assert not watches.any
    assert not watches.expire(11.0)
    state.settle()
    assert dict(state.engine.rows(Programmed)) == before


def test_a_watch_that_is_asked_for_again_goes_on_and_none_is_longer_than_a_minute() -> None:
    watches = Watches(running())
    ask(watches, "a", 10)
    ask(watches, "a", 10, now_s=8.0)
    ask(watches, "b", 10_000)
    assert not watches.expire(17.0)
    assert not watches.expire(18.5)
    assert watches.any
    assert watches.expire(LONGEST_S + 0.1)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 1, "seconds": 1}'])
def test_a_question_that_cannot_be_read_is_refused_and_begins_nothing(text: str) -> None:
    watches = Watches(running())
    with pytest.raises(Invalid, match="cannot be read"):
        watches.ask(read(text), 0.0)
    assert not watches.any


def packet(state: OvsHost, in_port: int = 1) -> PacketIn:
    """An LLDP frame that the default of web has dropped."""
    default = next(
        one
        for one in given_by(state, "rule_flows")
        if (found := decision_of(one.cookie, state)) is not None and not found.rule
    )
    frame = bytes.fromhex("020000000002020000000001") + b"\x88\xcc"
    return PacketIn(frame, in_port, Stage.IN_INTERFACE, default.cookie, 0, b"", {})


def verdicts(watches: Watches, now_s: float = 0.0) -> dict[str, list[dict[str, object]]]:
    """By watch."""
    return {
        answer.id.partition(".")[0]: msgspec.json.decode(answer.result)["verdicts"]
        for answer in watches.answers(now_s)
    }


def told(watches: Watches) -> list[tuple[str, str, str]]:
    """Ids of answers, and what their first verdict says of port and decision."""
    found = []
    for answer in watches.answers(0.0):
        first = msgspec.json.decode(answer.result)["verdicts"][0]
        found.append((answer.id, first["port"], first["decision"]))
    return found


def test_each_watch_is_told_of_its_port_once_with_who_decided() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "all")
    ask(watches, "web", port=WEB.id)
    ask(watches, "other", port="nobody")
    watches.take(packet(state), 7)
    assert told(watches) == [
        ("all.h1.1", WEB.id, "default of web"),
        ("web.h1.1", WEB.id, "default of web"),
    ]
    assert told(watches) == []
    watches.take(packet(state, in_port=99), 8)
    assert told(watches) == [("all.h1.2", "", "default of web")]


def test_what_of_a_watched_port_is_dropped_names_the_flow_that_has_dropped_it() -> None:
    """It is not the one that shows it, where only that port's drops are shown."""
    state = running()
    watches = Watches(state)
    ask(watches, "web", port=WEB.id)
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS, (WEB.id,))}
    ask(watches, "all")
    assert state.engine.rows(Watching) == {THIS: Watching(RATE_PPS)}
    direct = packet(state)
    whose = dropped_by(unit_of_cookie(direct.cookie), Stage.IN_INTERFACE)
    by_port = direct._replace(table=SHOWN_DROPS, cookie=1, fields={oxm.METADATA: whose})
    watches.take(direct, 7)
    watches.take(by_port, 7)
    first, second = verdicts(watches)["web"]
    assert first == second
    assert (first["stage"], first["decision"]) == ("IN_INTERFACE", "default of web")


def test_a_verdict_names_stage_reason_origin_and_packet() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "w")
    watches.take(packet(state), 7)
    (answer,) = watches.answers(0.0)
    (verdict,) = msgspec.json.decode(answer.result)["verdicts"]
    assert verdict == {
        "atUs": 7,
        "host": "h1",
        "port": WEB.id,
        "stage": "IN_INTERFACE",
        "reason": "an inbound rule of the interface, or its default",
        "decision": "default of web",
        "origin": SET.origin,
        "verdict": "dropped",
        "receiver": "",
        "begins": False,
        "protocol": -1,
        "source": "",
        "destination": "",
        "sourcePort": 0,
        "destinationPort": 0,
        "decisions": [
            {
                "direction": "in",
                "level": "interface",
                "decision": "default of web",
                "origin": SET.origin,
            }
        ],
        "packet": "ethertype 0x88cc 02:00:00:00:00:01 → 02:00:00:00:00:02",
    }


def test_of_a_flood_no_more_is_held_than_there_is_room_for() -> None:
    state = running()
    watches = Watches(state)
    ask(watches, "w")
    for number in range(MOST_HELD + 5):
        watches.take(packet(state), number)
    (answer,) = watches.answers(0.0)
    assert len(msgspec.json.decode(answer.result)["verdicts"]) == MOST_HELD
