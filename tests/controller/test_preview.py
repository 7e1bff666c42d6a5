# SPDX-License-Identifier: Apache-2.0
"""What a change would do, looked for beside everything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isthmus.controller.preview import preview
from isthmus.derive.engine import Engine
from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import NotFound
from isthmus.intent.model import Json, Plan, Stored
from isthmus.intent.planning import Put, plan_batch
from isthmus.intent.versions import parse_version
from tests.intent.memory import CountingIds, MemoryStore

V = parse_version("v7.1")
LIST = "/accessControlLists/web"


class DerivedStore:
    """A north store and what is derived from it."""

    def __init__(self, view: MemoryStore | None = None) -> None:
        self.view = view or MemoryStore()
        self.ids = CountingIds()
        self.engine: Engine = new_engine(Underlay())

    def write(self, *requests: tuple[str, Json]) -> None:
        planned = plan_batch(self.view, self.ids, puts(*requests), version=V)
        self.apply(planned)

    def apply(self, planned: Plan) -> None:
        written = (*planned.inserts, *planned.updates, *planned.replaces)
        before: list[Stored | None] = [self.view.get(row.key) for row in written]
        self.view.apply(planned)
        for old, new in zip(before, written, strict=True):
            put(self.engine, old, new)
        self.engine.settle()

    def furnish(self, n_rules: int, n_ports: int) -> None:
        subnet = {"resourceId": "s", "properties": {"addressPrefix": "10.0.0.0/16"}}
        self.write(
            ("/logicalNetworks/u", {"networkVirtualizationEnabled": "True"}),
            (
                "/macPools/m",
                {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-FF-FF-FF"},
            ),
            (
                "/virtualNetworks/v",
                {
                    "addressSpace": {"addressPrefixes": ["10.0.0.0/8"]},
                    "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                    "subnets": [subnet],
                },
            ),
            (LIST, listed(n_rules)),
            *((f"/networkInterfaces/n{n}", interface()) for n in range(n_ports)),
        )

    async def preview(self, *requests: tuple[str, Json]) -> Any:
        return await preview(self.view, self.ids, self.engine, lambda: (), puts(*requests), V)


def puts(*requests: tuple[str, Json]) -> list[Put]:
    return [Put(path=path, body={"properties": body}) for path, body in requests]


def rule(number: int, ports: str = "") -> dict[str, Json]:
    return {
        "protocol": "TCP",
        "sourcePortRange": "*",
        "destinationPortRange": ports or str(1000 + number),
        "sourceAddressPrefix": f"10.0.{number % 250}.0/24",
        "destinationAddressPrefix": "*",
        "action": "Allow",
        "priority": str(100 + number),
        "type": "Inbound",
    }


def listed(n_rules: int, *changed: int) -> dict[str, Json]:
    rules: list[Json] = [
        {"resourceId": f"r{n}", "properties": rule(n, "7" if n in changed else "")}
        for n in range(n_rules)
    ]
    return {
        "inboundDefaultAction": "Deny",
        "outboundDefaultAction": "Permit",
        "aclRules": rules,
    }


def interface() -> dict[str, Json]:
    configuration: Json = {
        "subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"},
        "accessControlList": {"resourceRef": LIST},
    }
    return {"ipConfigurations": [{"resourceId": "c", "properties": configuration}]}


def gained(answer: Any) -> list[str]:
    return [text for effect in answer["reachability"] for text in effect["gained"]]


def test_one_rule_of_a_list_and_the_list_with_it_changed_come_to_the_same() -> None:
    cloud = DerivedStore()
    cloud.furnish(20, 3)
    before = {key: cloud.view.get(key) for key in cloud.view.rows}

    async def work() -> None:
        by_rule = await cloud.preview((f"{LIST}/aclRules/r4", rule(4, "7")))
        by_list = await cloud.preview((LIST, listed(20, 4)))
        assert gained(by_rule) == gained(by_list) == ["tcp 7 from 10.0.4.0/24"]
        assert by_rule["rows"] == by_list["rows"] == 1
        assert by_list["reachability"][0]["ports"]["count"] == 3

    asyncio.run(work())
    assert {key: cloud.view.get(key) for key in cloud.view.rows} == before


def test_everything_else_goes_on_meanwhile() -> None:
    cloud = DerivedStore()
    cloud.furnish(300, 200)
    turns = 0

    async def work() -> None:
        nonlocal turns
        asking = asyncio.create_task(cloud.preview((LIST, listed(300, 4))))
        while not asking.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert gained(asking.result()) == ["tcp 7 from 10.0.4.0/24"]

    asyncio.run(work())
    assert turns > 3  # each step of it done in one go would be one


class Moving(MemoryStore):
    """Somebody else writes while a plan is made over it."""

    interrupt: Any = None

    def children(self, key: str, kind: str) -> Any:
        found = super().children(key, kind)
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()
        return found


def test_a_plan_that_was_overtaken_is_made_anew() -> None:
    cloud = DerivedStore(Moving())
    cloud.furnish(5, 1)
    assert isinstance(cloud.view, Moving)
    planned = plan_batch(cloud.view, cloud.ids, puts((LIST, listed(5, 2))), version=V)
    cloud.view.interrupt = lambda: cloud.apply(planned)
    found = asyncio.run(cloud.preview((LIST, listed(5, 2, 3))))
    # Rule 2 says already what was asked of it.
    assert gained(found) == ["tcp 7 from 10.0.3.0/24"]


def test_a_look_that_was_disturbed_is_taken_again_and_a_fault_of_ours_is_not_hidden() -> None:
    cloud = DerivedStore(Moving())
    cloud.furnish(5, 1)
    assert isinstance(cloud.view, Moving)

    def disturb() -> None:
        raise RuntimeError("dictionary changed size during iteration")

    cloud.view.interrupt = disturb
    assert gained(asyncio.run(cloud.preview((LIST, listed(5, 2))))) == ["tcp 7 from 10.0.2.0/24"]

    def always() -> None:
        assert isinstance(cloud.view, Moving)
        cloud.view.interrupt = always
        raise KeyError("a fault")

    cloud.view.interrupt = always
    with pytest.raises(KeyError):
        asyncio.run(cloud.preview((LIST, listed(5, 2))))


def test_what_would_be_refused_is_refused() -> None:
    cloud = DerivedStore()
    cloud.furnish(2, 1)
    with pytest.raises(NotFound):
        asyncio.run(cloud.preview(("/nothing/here", {})))
