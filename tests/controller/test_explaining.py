# SPDX-License-Identifier: Apache-2.0
"""The one sentence that `isthmus explain port` ends with."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from isthmus.controller.explaining import explained, verdict
from isthmus.controller.hearing import Hearing
from isthmus.controller.picture import Picture
from isthmus.intent.model import JsonObject
from isthmus.policy.heartbeats import SILENT_AFTER_S
from isthmus.policy.host_problems import HostProblem
from isthmus.policy.rows import Heartbeat, Host, PortStatus, Row
from isthmus.policy.values import PortState
from tests.controller.clocks import Clock
from tests.reach.cloud import port, rule, rule_set, world
from tests.switches.policy_rows import claim

WEB = port("a", 4, rules=("interface * web",))
BOTH = port("a", 5, rules=("interface * db web", "subnet 10.0.1.5 web"))
HOST = Host(id="h1", certificate_name="h1")
ALIVE = Heartbeat(host="h1", at_s=1000)
HERE = claim(WEB, "h1")


def status(state: str = "up", revision: str = "", detail: str = "") -> PortStatus:
    return PortStatus(
        port=WEB.id,
        host="h1",
        segment=WEB.segment,
        state=PortState(state),
        revision=revision,
        detail=detail,
    )


def said(
    *rows: Row,
    told: Mapping[str, JsonObject] | None,
    age_s: int = 0,
    unknown: Mapping[str, str] | None = None,
) -> str:
    clock = Clock()
    picture = Picture(lambda: 1000.0, Hearing(clock))
    for row in (WEB, *rows):
        picture.change(None, row)
    clock.go_on(age_s)
    return verdict(WEB.id, WEB, picture, told, unknown or {})


MISNAMED = HostProblem("interface-no-port", "red-a-5", "tap0 names 'red-a-5'", "mend it")
UP = (HOST, ALIVE, HERE, status())


@pytest.mark.parametrize(
    ("rows", "told", "text"),
    [
        ((HOST,), {}, "no host has it: plug an interface with external_ids:iface-id=red-a-4 or"),
        ((HERE,), {}, "only h1 claims it, which may not have it or is no server"),
        ((HOST, ALIVE, HERE), {}, "h1 has it and has not applied the last change yet"),
        (
            (HOST, ALIVE, HERE, status(revision="old")),
            *({}, "h1 has it and has not applied the last change yet"),
        ),
        (
            (HOST, ALIVE, HERE, status("error", detail="why")),
            *({}, "h1 has it and reports: why"),
        ),
        (UP, None, "works: h1 had it and had applied it when this was written"),
        (
            UP,
            {"h1": {"error": "busy"}},
            "unknown: h1 has applied it, but does not answer now: busy",
        ),
        (UP, {"h1": {"missing": 2}}, "h1's switch lacks flows of it: the agent there will"),
        (UP, {"h1": {"problems": ["two name it"]}}, "h1 has it, but two name it"),
        (
            (HOST, msgspec.structs.replace(ALIVE, problems=(MISNAMED.text,))),
            *({}, "no host has it: plug an interface with external_ids:iface-id=red-a-4 or"),
        ),
        (UP, {"h1": {}}, "works: h1 has it, and its switch holds all its flows"),
    ],
)
def test_a_port_s_verdict_is_what_stands_in_its_way(
    rows: tuple[Row, ...], told: Mapping[str, JsonObject] | None, text: str
) -> None:
    assert said(*rows, told=told).startswith(text)


def test_a_silent_host_s_verdict_says_so() -> None:
    found = said(*UP, told={}, age_s=SILENT_AFTER_S)
    assert found.startswith("unknown: h1 has it, and has been silent for 90 s: is isthmus agent")
    why = "does not answer, and was last heard of 12 s ago"
    assert said(*UP, told={}, age_s=12, unknown={"h1": why}).startswith(
        f"unknown: h1 has it, and {why}"
    )


def test_who_looks_for_a_port_that_no_host_has_is_shown_interfaces_that_name_none() -> None:
    beat = msgspec.structs.replace(ALIVE, problems=(MISNAMED.text, "no bridge"))
    assert said(HOST, beat, told={}).endswith("; on h1: tap0 names 'red-a-5'")
    assert "tap0" not in said(HOST, beat, told={}, age_s=SILENT_AFTER_S)


def test_without_policy_the_verdict_says_where_to_look() -> None:
    picture = Picture(lambda: 0.0, Hearing(Clock()))
    assert verdict("x", None, picture, {}, {}).startswith("no policy: the interface has no address")


def test_all_that_holds_for_a_port_is_shown_from_its_segment_to_its_rules() -> None:
    found = world(WEB, HERE, rule_set(), rule("b", priority=2), rule("a", priority=1))
    request: JsonObject = {"resourceId": "RED-A-4", "instanceId": "i"}
    told = explained(request, found, Picture(lambda: 0.0, Hearing(Clock())), None, {})
    policy = told["policy"]
    assert isinstance(policy, list)
    assert [row["table"] for row in policy] == [
        *("Port", "Segment", "Subnet", "Subnet", "Router_Port", "Router"),
        *("Rule_Set", "Rule", "Rule"),
    ]
    assert [row["row"]["id"] for row in policy[-2:]] == ["a", "b"]
    assert told["hosts"] == []
    claims = told["claims"]
    assert isinstance(claims, list)
    assert len(claims) == 1


def test_a_list_is_shown_by_its_whole_name() -> None:
    rows = (BOTH, rule_set("db web"), rule_set("web"), rule("r", of="db web"))
    picture = Picture(lambda: 1000.0, Hearing(Clock()))
    request: JsonObject = {"resourceId": BOTH.id, "instanceId": ""}
    found = explained(request, world(*rows), picture, None, {})["policy"]
    assert isinstance(found, list)
    shown = [one["row"]["id"] for one in found if one["table"] in ("Rule_Set", "Rule")]
    assert shown == ["db web", "r", "web"]
