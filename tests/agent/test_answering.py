# SPDX-License-Identifier: Apache-2.0
"""Questions that whoever may write them asks: how many are worked on, and how large they may be."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from isthmus.agent.answering import MOST_AT_ONCE, MOST_WAITING, Answering
from isthmus.agent.ovs.watching import MOST_WATCHES, Watches
from isthmus.errors import Invalid
from isthmus.policy.questions import SendProbe, Watch, parse
from isthmus.policy.rows import Query
from isthmus.wire.ovsdb import RowId
from tests.agent.ovs.hosts import host
from tests.switches.policy_rows import network_rows, port

WEB = port("red", "a", 4)
NOBODY = cast("Any", None)  # what is refused reaches no switch


def test_of_many_questions_a_few_are_answered_at_once_and_the_rest_is_refused() -> None:
    async def go() -> None:
        working, most, gate, answered = 0, 0, asyncio.Event(), list[RowId]()
        rows = [RowId(f"row-{number}") for number in range(2_000)]
        withdrawn = rows[MOST_WAITING - 1]

        async def answer(row_id: RowId, _query: Query) -> None:
            nonlocal working, most
            working += 1
            most = max(most, working)
            await gate.wait()
            working -= 1
            answered.append(row_id)

        answering = Answering(answer, lambda row_id: row_id != withdrawn)
        query = Query(id="1", host="h1", question="counters", deadline_s=0)
        refused = answering.take(dict.fromkeys(rows, query))
        assert refused == rows[MOST_WAITING:]
        for _ in range(20):
            await asyncio.sleep(0)
        assert working == MOST_AT_ONCE
        assert answering.take(dict.fromkeys(rows[:MOST_AT_ONCE], query)) == []
        gate.set()
        async with asyncio.timeout(10):
            while len(answered) < MOST_WAITING - 1 + MOST_AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert most == MOST_AT_ONCE
        assert withdrawn not in answered

    asyncio.run(go())


@pytest.mark.parametrize(
    "change",
    [
        {"length": 400_000_000},
        {"length": -1},
        {"destination_port": 65_536},
        {"target": "nonsense"},
        {"eth_dst": "nonsense"},
    ],
    ids=repr,
)
def test_a_probe_that_no_packet_can_be_is_refused(change: dict[str, object]) -> None:
    asked = {"port": WEB.id, "target": "10.0.1.5", "eth_dst": WEB.mac}
    assert isinstance(parse(f"probe {msgspec.json.encode(asked).decode()}"), SendProbe)
    with pytest.raises(Invalid):
        parse(f"probe {msgspec.json.encode(asked | change).decode()}")


@pytest.mark.parametrize(
    "asked",
    [{"mtu": 400_000_000}, {"mtu": -1}, {"mtu": 1500, "peers": ["nonsense"]}],
    ids=repr,
)
def test_a_question_for_the_health_of_what_cannot_be_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        parse(f"health {msgspec.json.encode(asked).decode()}")


def test_a_host_is_watched_by_so_many_and_no_more() -> None:
    watches = Watches(host("h1", *network_rows("red"), WEB))

    def ask(name: str) -> None:
        question = parse(f"watch {msgspec.json.encode({'name': name, 'seconds': 60}).decode()}")
        assert isinstance(question, Watch)
        watches.ask(question, 0.0)

    for number in range(MOST_WATCHES):
        ask(str(number))
    ask("0")
    for name in ("another", "0" * 101):
        with pytest.raises(Invalid):
            ask(name)
