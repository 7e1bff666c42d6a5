# SPDX-License-Identifier: Apache-2.0
"""What looks after a host by no event goes on, whatever fails in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import pytest

from isthmus.agent.ovs import vitals
from isthmus.agent.ovs.vitals import Vitals
from isthmus.tending import Tending
from tests.agent.ovs.hosts import host
from tests.store.cloud import until

WORKS = [
    "ask_guests",
    "compare_switch",
    "count_connections",
    "ask_switch",
    "probe_tunnels",
    "underlay",
]


class Broken:
    """Whatever is asked of it fails, but for being there."""

    connected = True
    identity, limits = host("h1").identity, host("h1").limits

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:  # stands for several types
        raise self._error


class Counting(Tending):
    """Counts the failures of each work."""

    def __init__(self) -> None:
        super().__init__(fault_pause_s=0)
        self.failures: Counter[str] = Counter()

    def failed(self, name: str, error: Exception) -> None:
        super().failed(name, error)
        self.failures[name] += 1


class Ends(NamedTuple):
    """Both connections to a switch, as far as what is wrong is read from them."""

    connected: bool
    refusal: str = ""
    problem: str = ""
    rows: Any = MappingProxyType({})


def of_switch(*, openflow: Ends, store: Ends) -> Vitals:
    return Vitals(
        host("h1"),
        cast("Any", store),
        cast("Any", openflow),
        bridge="br-int",
        datapath_type="netdev",
        run_directory=Path("/run/openvswitch"),
        underlay_interface="",
        tending=Tending(),
        at_rest=lambda: True,
        compare=cast("Any", None),
        on_reports=lambda: None,
    )


def test_a_data_base_of_the_switch_that_hangs_is_told() -> None:
    there, away = Ends(True), Ends(False, problem="unix:/x: it is silent")
    assert of_switch(openflow=there, store=there).problems() == []
    (problem,) = of_switch(openflow=there, store=away).problems()
    assert problem.code == "switch-store"
    assert "unix:/x: it is silent" in problem.finding


def test_why_a_switch_that_is_there_is_not_spoken_with_is_told() -> None:
    there, why = Ends(True), "the switch does not speak OpenFlow 1.4"
    (problem,) = of_switch(openflow=Ends(False, refusal=why), store=there).problems()
    assert problem.code == "switch-refuses"
    assert why in problem.finding
    (problem,) = of_switch(openflow=Ends(False), store=there).problems()
    assert problem.code == "switch-silent"


@pytest.mark.parametrize("error", [ValueError("x"), OSError(24, "x"), RuntimeError("x")], ids=repr)
def test_no_work_of_a_host_ends_it_and_each_is_tried_again_and_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = ("ASKED", "UNDERLAY", "TUNNELS", "GUESTS", "CONNECTIONS", "COMPARED")
    for name in every:
        monkeypatch.setattr(vitals, f"{name}_EVERY_S", 0.001)
    tending = Counting()

    async def fails(_: object) -> bool:
        raise error

    async def go() -> None:
        broken = cast("Any", Broken(error))  # everything that it is given fails
        of_host = Vitals(
            *(broken, broken, broken),
            bridge="br-int",
            datapath_type="netdev",
            run_directory=Path("/nonexistent"),
            underlay_interface="",
            tending=tending,
            at_rest=lambda: True,
            compare=fails,
            on_reports=lambda: None,
        )
        running = asyncio.create_task(of_host.run())
        async with asyncio.timeout(20):
            await until(lambda: running.done() or all(tending.failures[one] > 1 for one in WORKS))
        assert not running.done()
        of_host.problems()
        assert tending.faults.keys() >= {*WORKS, "look_at_errors", "look_at_interfaces"}
        running.cancel()

    asyncio.run(go())
