# SPDX-License-Identifier: Apache-2.0
"""What somebody watches, as it is asked of hosts, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
import pytest

from isthmus.api.http.streams import Message
from isthmus.api.interfaces import Watched
from isthmus.controller.asking import Asking
from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.controller.streams import Streams
from isthmus.errors import NotFound
from isthmus.intent.model import JsonObject, View
from isthmus.policy.rows import Claim, Host, Port
from isthmus.store.connection import Connection
from tests.controller.clocks import Clock

OLD = (
    "'flows' is no question that this host knows: ask port ID, trace JSON, probe JSON, watch JSON,"
    " health JSON or counters"
)


class Hosts(Asking):
    """h1 and h2, which answer at once; h2's agent is `old`."""

    def __init__(self, *told: JsonObject, old: bool = False) -> None:
        super().__init__(cast("Connection", None), lambda _host: True)  # no store is asked
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.taken: list[tuple[str, int]] = []
        """Prefixes, and how many questions were asked by then."""
        self._told, self._old = list(told), old

    async def ask(self, host: str, question: str) -> JsonObject:
        word, _, text = question.partition(" ")
        asked = msgspec.json.decode(text)
        self.asked.append((host, word, asked))
        return {"error": OLD} if self._old and host == "h2" and word == "flows" else {}

    async def take(
        self, prefix: str, shape: type[msgspec.Struct] | None = None
    ) -> list[JsonObject]:
        self.taken.append((prefix, len(self.asked)))
        told, self._told = self._told, []
        return told

    async def next_change(self, until: float) -> bool:
        await asyncio.sleep(0)
        return True


def picture() -> Picture:
    clock = Clock()
    made = Picture(clock, Hearing(clock))
    for name, host, address in (("web1", "h1", "10.0.0.4"), ("web2", "h2", "10.0.0.5")):
        own = Port(
            id=name,
            segment="s/a",
            mac="02:00:00:00:00:01",
            addresses=(address,),
            pairs=("10.0.0.64/28 02:00:00:00:00:09",) if name == "web2" else (),
        )
        claim = Claim(port=name, host=host, segment="s/a", provider_address="192.0.2.1")
        for row in (Host(id=host, certificate_name=host), own, claim):
            made.change(None, row)
    made.change(None, Port(id="bare", segment="s/a", mac="02:00:00:00:00:02"))
    return made


def told_of(hosts: Hosts, watched: Watched, messages: int, kind: str = "flow") -> Sequence[Message]:
    async def run() -> list[Message]:
        streams = Streams(lambda: cast("View", None), picture(), hosts)
        found: list[Message] = []
        async with aclosing(cast("Any", streams.flows(watched, kind))) as stream:
            async for message in stream:
                found.append(message)
                if len(found) == messages:
                    break
        return found

    return asyncio.run(run())


def asked_of(hosts: Hosts) -> dict[str, tuple[str, dict[str, Any]]]:
    """By host the first question, without its name."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for host, word, asked in hosts.asked:
        found.setdefault(host, (word, {k: v for k, v in asked.items() if k != "name"}))
    return found


WEB1, WEB2 = ["10.0.0.4/32"], ["10.0.0.5/32", "10.0.0.64/28"]


@pytest.mark.parametrize(
    ("watched", "expected"),
    [
        # As agents of every version understand it.
        (Watched("dropped", "web1"), {"h1": ("watch", {"port": "web1"})}),
        (
            Watched("all", "WEB1"),
            {"h1": ("flows", {"port": "web1", "verdict": "all", "peer": "", "peers": []})},
        ),
        (
            Watched("dropped", "web1", "10.0.0.9"),
            {
                "h1": (
                    "flows",
                    {"port": "web1", "verdict": "dropped", "peer": "", "peers": ["10.0.0.9/32"]},
                )
            },
        ),
        (
            Watched("allowed", "", "2001:db8::1/64", "h2"),
            {
                "h2": (
                    "flows",
                    {"port": "", "verdict": "allowed", "peer": "", "peers": ["2001:db8::/64"]},
                )
            },
        ),
        # Between two ports each host is asked about its own.
        (
            Watched("allowed", "web1", "Web2"),
            {
                "h1": (
                    "flows",
                    {"port": "web1", "verdict": "allowed", "peer": "web2", "peers": WEB2},
                ),
                "h2": (
                    "flows",
                    {"port": "web2", "verdict": "allowed", "peer": "web1", "peers": WEB1},
                ),
            },
        ),
    ],
)
def test_hosts_are_asked_what_concerns_them_and_told_when_nobody_looks_any_more(
    watched: Watched, expected: dict[str, tuple[str, dict[str, Any]]]
) -> None:
    hosts = Hosts()
    told_of(hosts, watched, 1)
    begun = asked_of(hosts)
    assert begun == {
        host: (word, {"seconds": 30, **asked}) for host, (word, asked) in expected.items()
    }
    assert {host for host, _, asked in hosts.asked if asked["seconds"] == 0} == set(expected)
    assert len({asked["name"] for _, _, asked in hosts.asked}) == 1


def test_what_hosts_have_told_until_the_end_is_taken_out_of_the_store() -> None:
    hosts = Hosts()
    told_of(hosts, Watched("allowed", "web1"), 1)
    assert hosts.taken == [(f"{hosts.asked[0][2]['name']}.", len(hosts.asked))]


@pytest.mark.parametrize("peer", ["nobody", "10.0.0.300", "bare"])
def test_a_peer_that_is_none_is_refused_and_nobody_is_asked(peer: str) -> None:
    hosts = Hosts()
    with pytest.raises(NotFound) as caught:
        told_of(hosts, Watched("all", "web1", peer), 1)
    assert caught.value.target == "peer"
    assert hosts.asked == []


def test_an_agent_that_does_not_know_the_question_is_named_and_the_others_tell() -> None:
    verdict: dict[str, Any] = {"host": "h1", "verdict": "allowed"}
    hosts = Hosts({"host": "h1", "verdicts": [verdict], "unshown": 3}, old=True)
    told = told_of(hosts, Watched("allowed", "web1", "web2"), 4)
    assert [one.kind for one in told] == ["silent", "", "flow", "unshown"]
    silent, _, flow, unshown = (one.data for one in told)
    assert silent["host"] == "h2"
    assert "older than this controller" in str(silent["error"])
    assert flow == verdict
    assert unshown == {"host": "h1", "packets": 3}


def test_what_an_older_agent_drops_is_told_as_dropped() -> None:
    hosts = Hosts({"verdicts": [{"host": "h2"}]}, old=True)
    told = told_of(hosts, Watched("dropped", "web2"), 2, "drop")
    assert [(one.kind, one.data) for one in told] == [
        ("", {}),
        ("drop", {"verdict": "dropped", "host": "h2"}),
    ]
