# SPDX-License-Identifier: Apache-2.0
"""Rules as flows: exactly what they say, and at what price."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from isthmus.derive.engine import Engine
from isthmus.host.facts import LocalPort, Problem
from isthmus.policy.rows import Port, Router, RouterPort, Row, Rule, RuleSet, Segment, Subnet
from isthmus.policy.values import Action, Direction, LegKind
from isthmus.switches.ovs.facts import Refused, Whole
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.switches.ovs.profiles import ProfileKey
from tests.switches.policy_rows import (
    at,
    claim,
    compiled,
    flow_texts,
    host_rows,
    local,
    network_rows,
    port,
    put,
)
from tests.texts import applied, ports

RULE_STAGES = (
    *(Stage.OUT_INTERFACE, Stage.OUT_SUBNET, Stage.IN_SUBNET, Stage.IN_INTERFACE),
    *(Stage.PLAIN_OUT_INTERFACE, Stage.PLAIN_OUT_SUBNET),
    *(Stage.PLAIN_IN_SUBNET, Stage.PLAIN_IN_INTERFACE),
)
GROUP_STAGES = (
    *(Stage.SOURCE_GROUPS, Stage.TARGET_GROUPS),
    *(Stage.PLAIN_SOURCE_GROUPS, Stage.PLAIN_TARGET_GROUPS),
)
WEB = msgspec.structs.replace(port("red", "a", 4), rule_sets=applied("interface * web"))


def rule(name: str = "r", *, direction: str = "in", protocol: int = 6, **columns: object) -> Rule:
    return msgspec.convert(
        {
            "rule_set": "web",
            "id": name,
            "direction": direction,
            "priority": 100,
            "action": "deny",
            "protocol": protocol,
            **columns,
        },
        Rule,
    )


def host(*rows: Row | LocalPort) -> Engine:
    found = [*host_rows(), *network_rows("red"), WEB, claim(WEB, "h1"), local(WEB, 3), *rows]
    return compiled("h1", found)


def flows_of(engine: Engine, *stages: Stage) -> list[FlowKey]:
    keys = [key for key in engine.rows(Programmed) if isinstance(key, FlowKey)]
    return [key for key in keys if key.table in stages]


def texts_of(engine: Engine, stage: Stage) -> list[str]:
    return [text for text in flow_texts(engine) if text.startswith(at(stage))]


def problems(engine: Engine) -> set[str]:
    return {problem.detail for problem in engine.rows(Problem).values()}


def test_a_list_that_lets_everything_pass_costs_no_flow_and_no_tracking() -> None:
    free, opened = host(), host(RuleSet(id="web"), rule(action="allow"))
    stages = (*RULE_STAGES, *GROUP_STAGES, Stage.INITIATOR, Stage.RESPONDER)
    without = compiled(
        "h1", [*host_rows(), *network_rows("red"), msgspec.structs.replace(WEB, rule_sets=())]
    )
    assert flows_of(opened, *stages) == flows_of(without, *stages)
    # A list that is not there at all is no list that lets pass.
    assert problems(free) == {
        f"no rule set is called web; until then no {way} connection under web passes"
        for way in ("inbound", "outbound")
    }


def test_a_rule_costs_one_flow_for_each_family_and_level_whoever_is_under_it() -> None:
    base = host(RuleSet(id="web", in_default=Action.DENY))
    more = host(RuleSet(id="web", in_default=Action.DENY), rule(action="allow"))
    assert len(flows_of(more, *RULE_STAGES)) - len(flows_of(base, *RULE_STAGES)) == 2 * 2
    other = msgspec.structs.replace(port("red", "a", 5), rule_sets=applied("interface * web"))
    shared = host(
        *(RuleSet(id="web", in_default=Action.DENY), rule(action="allow")),
        *(other, claim(other, "h1"), local(other, 4)),
    )
    assert flows_of(shared, *RULE_STAGES) == flows_of(more, *RULE_STAGES)


def test_of_equal_priority_what_denies_stands_above_what_allows() -> None:
    engine = host(
        *(RuleSet(id="web"), rule("a", action="allow", destination_ports=ports("80-80"), family=4)),
        rule("z", destination_ports=ports("80-80"), family=4),
    )
    found = [text for text in texts_of(engine, Stage.IN_INTERFACE) if "ct_tp_dst" in text]
    by_priority = sorted(found, key=lambda text: -int(text.split("priority=")[1].split(",")[0]))
    assert ["drop" in text for text in by_priority] == [True, False]


@pytest.mark.parametrize("action", ["allow", "deny"])
@pytest.mark.parametrize("stateless", [False, True])
def test_any_protocol_with_ports_is_the_flows_of_tcp_and_of_udp(
    action: str, stateless: bool
) -> None:
    def flows(*protocols: int, ports: str = "80-81") -> set[str]:
        engine = host(
            RuleSet(id="web", in_default=Action.DENY, out_default=Action.ALLOW),
            *(
                rule("r", protocol=protocol, action=action, stateless=stateless, **ports_of(ports))
                for protocol in protocols
            ),
        )
        return {text for stage in RULE_STAGES for text in texts_of(engine, stage)}

    both, tcp, udp, none = flows(-1), flows(6), flows(17), flows()
    assert both == tcp | udp
    assert both > tcp > none
    assert both > udp > none
    # without ports it is every protocol
    assert not any("proto" in text for text in flows(-1, ports="") - none)


def ports_of(text: str) -> dict[str, Any]:
    return {"destination_ports": ports(text)} if text else {}


def _members(count: int, groups: tuple[str, ...] = ("app",)) -> Iterator[Port]:
    for number in range(count):
        yield Port(
            id=f"m{number}",
            segment="red/b",
            mac="02:00:00:00:00:01",
            addresses=(f"10.0.{64 + number // 250}.{number % 250}",),
            groups=groups,
        )


GROUP_RULES: tuple[Row, ...] = (
    RuleSet(id="web", in_default=Action.DENY),
    *(
        rule(
            f"r{n}",
            action="allow",
            priority=n,
            destination_ports=ports(f"{n}-{n}"),
            source_groups=["app"],
        )
        for n in range(1, 6)
    ),
)


@pytest.mark.parametrize(("count", "most"), [(10, 10 + 100), (10_000, 10_000 + 100)])
def test_ten_thousand_members_that_five_rules_speak_of_cost_one_flow_each(
    count: int, most: int
) -> None:
    engine = host(*GROUP_RULES, *_members(count))
    assert len(flows_of(engine, *RULE_STAGES, *GROUP_STAGES)) <= most
    # A member that this host has no claim of is known for its address alone.
    assert len(flows_of(engine, Stage.SOURCE_GROUPS)) == count + 2
    assert len(flows_of(engine, Stage.TARGET_GROUPS)) == 2


def test_a_new_member_runs_as_many_units_in_a_large_group_as_in_a_small_one() -> None:
    calls = []
    for count in (10, 2_000):
        engine = host(*GROUP_RULES, *_members(count))
        before, size = engine.calls, len(engine.rows(Programmed))
        new = msgspec.structs.replace(port("red", "b", 9), groups=("app",))
        put(engine, new)
        engine.settle()
        calls.append(engine.calls - before)
        assert len(engine.rows(Programmed)) - size == 1
    assert calls[0] == calls[1]
    assert calls[0] <= 3  # none of those of ports that are plugged here


def test_a_rule_more_in_a_list_with_a_large_group_does_not_touch_its_members() -> None:
    engine = host(*GROUP_RULES, *_members(2_000))
    before = engine.calls
    put(engine, rule("more", action="allow", priority=9, source_groups=["app"]))
    engine.settle()
    assert engine.calls - before <= 8


def test_a_member_of_a_group_of_which_no_rule_speaks_costs_nothing() -> None:
    engine = host(RuleSet(id="web", in_default=Action.DENY), rule(action="allow"), *_members(5))
    assert len(flows_of(engine, Stage.SOURCE_GROUPS, Stage.TARGET_GROUPS)) == 4


def test_keywords_are_prefixes_of_the_router_s_network_and_of_its_own_gateways() -> None:
    peer = RouterPort(router="red", segment="blue/a", addresses=("10.9.1.1/24",), kind=LegKind.PEER)
    router = next(row for row in network_rows("red") if isinstance(row, Router))
    rows = (
        *(msgspec.structs.replace(router, prefixes=("10.0.0.0/16",)), peer),
        Segment(id="blue/a", physical_network="underlay", vsid=9001),
        Subnet(segment="blue/a", prefix="10.9.1.0/24", gateway="10.9.1.1"),
        RuleSet(id="web"),
    )

    def sources(word: str) -> set[str]:
        engine = host(*rows, rule(family=4, source=word))
        found = [t for t in texts_of(engine, Stage.IN_INTERFACE) if "ct_nw_src=" in t]
        return {text.split("ct_nw_src=")[1].split(",")[0].split(" ")[0] for text in found}

    assert sources("VIRTUALNETWORK") == {"10.0.0.0/16"}
    assert sources("AZURELOADBALANCER") == {"10.0.1.1", "10.0.2.1"}
    outside = sources("INTERNET")
    assert len(outside) == 16
    assert {"128.0.0.0/1", "10.1.0.0/16", "11.0.0.0/8"} <= outside


def test_a_rule_set_that_is_not_known_lets_nothing_pass_and_is_named() -> None:
    engine = host()
    assert problems(engine) == {
        f"no rule set is called web; until then no {way} connection under web passes"
        for way in ("inbound", "outbound")
    }
    allowed = [text for text in texts_of(engine, Stage.IN_INTERFACE) if "goto" in text]
    assert [text for text in allowed if "priority=1," not in text] == []
    put(engine, RuleSet(id="web"))
    Numbers().follow(engine, release=False)
    assert problems(engine) == set()


def test_a_refused_list_closes_and_opens_again() -> None:
    engine = host(RuleSet(id="web"), rule())
    names = {key for key in engine.rows(Programmed) if isinstance(key, FlowKey)}
    put_key = Whole("list", ProfileKey(1, Direction.IN, ("web",), plain=False))
    engine.put(Refused, put_key, Refused("the switch refuses a flow: X"))
    engine.settle()
    assert problems(engine) == {
        "the switch refuses a flow: X; until then no inbound connection under web passes"
    }
    mine = [
        t
        for t in texts_of(engine, Stage.IN_INTERFACE)
        if "IN_LISTS.interface=0x1 " in t.replace(",", " ")
    ]
    assert [("drop" in text) for text in mine] == [True]
    engine.put(Refused, put_key, None)
    engine.settle()
    assert problems(engine) == set()
    assert {key for key in engine.rows(Programmed) if isinstance(key, FlowKey)} == names
