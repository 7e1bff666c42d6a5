# SPDX-License-Identifier: Apache-2.0
"""Limits of connections: set in the switch, set again, and who is said to be at one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from isthmus.agent.ovs.connection_limits import (
    FAST,
    FRAGMENTS_FAST,
    FRAGMENTS_MANY,
    FULL,
    MANY,
    MOST_FRAGMENTS,
    MOST_TOLD,
    TOLD_S,
    ConnectionLimits,
    Counted,
    Findings,
    Waiting,
    Zone,
    zones_from,
)
from isthmus.agent.ovs.host import OvsHost
from isthmus.agent.ovs.metrics import limited_families
from isthmus.policy.host_problems import read
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import Limits
from isthmus.switches.ovs.pipeline import (
    ALL_METERS,
    ARRIVING_METERS,
    FRAGMENT_METERS,
    OPENED_METERS,
    OPENING_METERS,
)
from isthmus.wire.openflow_replies import MeterStats
from tests.agent.ovs.hosts import forget, host, learn, plug
from tests.switches.policy_rows import TUNNEL_PORTS, network_rows, port

LIMITS = Limits(connections=100, opened_pps=10, opened_burst=50, fragments_pps=7)
RED, BLUE = port("red", "a", 4), port("blue", "a", 4)


def findings(*looks: Counted) -> Findings:
    """After looks a second apart."""
    made = Findings(LIMITS)
    for now_s, counted in enumerate(looks):
        made.look(counted, float(now_s))
    return made


def told(made: Findings) -> list[tuple[str, str]]:
    return [(one.code, one.about) for one in made.problems]


@pytest.mark.parametrize(
    ("number", "expected"), [(79, []), (80, [(MANY, "red")]), (100, [(FULL, "red")])]
)
def test_a_network_is_told_near_its_limit_and_at_it(
    number: int, expected: list[tuple[str, str]]
) -> None:
    assert told(findings(Counted({"red": Zone(100, number), "blue": Zone(100, 3)}))) == expected


def test_a_network_that_fills_is_told_once() -> None:
    made = findings(Counted({"red": Zone(100, 90)}), Counted({"red": Zone(100, 100)}))
    assert told(made) == [(FULL, "red")]


def test_a_port_is_told_when_its_meter_drops_and_no_longer_a_while_after() -> None:
    once = ("web", "out")
    made = findings(Counted(dropped={once: 7}))
    assert told(made) == []  # that was before we looked
    made.look(Counted(dropped={once: 9, ("db", "in"): 1}), 1.0)
    assert told(made) == [(FAST, "db"), (FAST, "web")]
    made.look(Counted(dropped={once: 10, ("db", "in"): 1}), TOLD_S)
    made.look(Counted(dropped={once: 10, ("db", "in"): 1}), TOLD_S + 2.0)
    assert told(made) == [(FAST, "web")]


def test_a_port_is_told_when_it_has_more_fragments_than_it_may() -> None:
    made = findings(Counted(fragments={("web", "out"): 7}))
    assert told(made) == []
    made.look(Counted(fragments={("web", "out"): 8, ("db", "in"): 1}), 1.0)
    assert told(made) == [(FRAGMENTS_FAST, "db"), (FRAGMENTS_FAST, "web")]
    assert all("7 fragments a second" in one.finding for one in made.problems)
    made.look(Counted(fragments={("web", "out"): 8, ("db", "in"): 1}), TOLD_S + 2.0)
    assert told(made) == []


@pytest.mark.parametrize(("number", "expected"), [(3999, []), (4000, [(FRAGMENTS_MANY, "")])])
def test_a_host_with_little_room_for_fragments_says_so(
    number: int, expected: list[tuple[str, str]]
) -> None:
    assert told(findings(Counted(waiting=Waiting(MOST_FRAGMENTS, number)))) == expected


def test_a_meter_that_was_made_anew_counts_from_nothing() -> None:
    once = ("web", "out")
    made = findings(Counted(dropped={once: 900}), Counted(dropped={once: 0}))
    assert told(made) == []
    made.look(Counted(dropped={once: 1}), 2.0)
    assert told(made) == [(FAST, "web")]


@pytest.mark.parametrize("what", ["dropped", "fragments"])
def test_of_many_ports_some_are_named_and_the_others_counted(what: str) -> None:
    ports = [(f"p{number:02}", "out") for number in range(MOST_TOLD + 5)]
    looks = [dict.fromkeys(ports, number) for number in (0, 1)]
    made = findings(
        *(Counted(dropped=one) if what == "dropped" else Counted(fragments=one) for one in looks)
    )
    assert len(made.problems) == MOST_TOLD + 1
    assert "5 more ports" in made.problems[-1].finding
    assert [read(one.text) for one in made.problems] == list(made.problems)


def test_what_the_switch_prints_is_read() -> None:
    text = "default limit=0\nzone=1,limit=3,count=2\nzone=65535,limit=4294967295,count=0"
    assert zones_from(text) == {1: Zone(3, 2), 65535: Zone(4294967295, 0)}


# -- in a switch -----------------------------------------------------------------------------------


class Switch:
    """The control socket of an ovs-vswitchd, as far as limits are concerned (contract:
    tests/system/test_connection_limits.py), and its meters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limits: dict[int, int] = {}
        self.fragments = 1000
        self.asked: list[str] = []
        self.meters: list[MeterStats] = []

    async def __aenter__(self) -> Switch:
        self._server = await asyncio.start_unix_server(self._serve, self.folder / "vswitchd.ctl")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = msgspec.json.decode(await reader.read(1 << 16))
        command, (datapath, *arguments) = request["method"], request["params"]
        assert datapath in ("netdev@ovs-netdev", "system@ovs-system")
        self.asked.append(command)
        result = ""
        match command:
            case "dpctl/ct-set-limits":
                for one in arguments:
                    zone, limit = one.removeprefix("zone=").split(",limit=")
                    self.limits[int(zone)] = int(limit)
            case "dpctl/ct-del-limits":
                for zone in arguments[0].removeprefix("zone=").split(","):
                    self.limits.pop(int(zone), None)
            case "dpctl/ct-get-limits":
                lines = (f"zone={one},limit={limit},count=5" for one, limit in self.limits.items())
                result = "\n".join(["default limit=0", *lines])
            case "dpctl/ipf-set-max-nfrags":
                self.fragments = int(arguments[0])
            case "dpctl/ipf-get-status":
                result = (
                    "\tFragmentation Module Status\n\t---------------------------\n"
                    "\tv4 enabled: 1\n\tv6 enabled: 1\n"
                    f"\tmax num frags (v4/v6): {self.fragments}\n\tnum frag: 51\n"
                    "\tmin v4 frag size: 1200\n"
                )
        writer.write(msgspec.json.encode({"id": 0, "result": result, "error": None}))
        await writer.drain()
        writer.close()

    async def dump_meter_stats(self) -> list[MeterStats]:
        return self.meters


def limits_of(state: OvsHost, switch: Switch, kind: str = "netdev") -> ConnectionLimits:
    return ConnectionLimits(state, switch, switch.folder, lambda: kind)


def state_with(limits: Limits = LIMITS) -> OvsHost:
    known = host("h1", *network_rows("red"), *network_rows("blue"), RED, BLUE)
    state = OvsHost(known.identity, limits)
    plug(state, RED, BLUE)
    learn(state, *network_rows("red"), *network_rows("blue"), RED, BLUE)
    return state


def zones(state: OvsHost) -> dict[int, int]:
    return dict.fromkeys(state.numbers.of(ZONES).values(), LIMITS.connections)


def test_each_network_has_its_limit_before_it_has_flows_and_none_when_it_is_gone(
    tmp_path: Path,
) -> None:
    async def go() -> None:
        async with Switch(tmp_path) as switch:
            state = state_with()
            limits = limits_of(state, switch)
            await limits.settle()
            assert switch.limits == zones(state)
            assert len(switch.limits) == 2
            await limits.settle()
            assert switch.asked == ["dpctl/ipf-set-max-nfrags", "dpctl/ct-set-limits"]
            plug(state, RED)
            forget(state, *network_rows("blue"), BLUE)
            state.settle(whole=True)
            await limits.settle()
            assert switch.limits == zones(state)
            assert len(switch.limits) == 1

    asyncio.run(go())


def test_limits_are_set_again_when_another_forwards_and_when_somebody_has_taken_them_away(
    tmp_path: Path,
) -> None:
    async def go() -> None:
        async with Switch(tmp_path) as switch:
            state = state_with()
            limits = limits_of(state, switch)
            await limits.settle()
            switch.limits.clear()
            state.bridge_changed({}, TUNNEL_PORTS, "another")
            await limits.settle()
            assert switch.limits == zones(state)
            switch.limits.popitem()
            await limits.look(0.0)
            assert switch.limits == zones(state)
            switch.limits = dict.fromkeys(switch.limits, 1)
            await limits.look(1.0)
            assert switch.limits == zones(state)

    asyncio.run(go())


def test_there_is_room_for_fragments_from_the_start_and_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with Switch(tmp_path) as switch:
            state = state_with()
            limits = limits_of(state, switch)
            await limits.settle()
            assert switch.fragments == MOST_FRAGMENTS
            switch.fragments = 1000
            state.bridge_changed({}, TUNNEL_PORTS, "another")
            await limits.settle()
            assert switch.fragments == MOST_FRAGMENTS
            switch.fragments = 1
            await limits.look(0.0)
            assert switch.fragments == MOST_FRAGMENTS

    asyncio.run(go())


def test_the_kernel_which_has_no_such_room_is_not_asked_for_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with Switch(tmp_path) as switch:
            limits = limits_of(state_with(), switch, "system")
            await limits.settle()
            await limits.look(0.0)
            assert set(switch.asked) == {"dpctl/ct-set-limits", "dpctl/ct-get-limits"}
            assert limits.counted.waiting is None
            assert limits.problems == ()

    asyncio.run(go())


def test_no_limit_takes_away_what_another_agent_has_set(tmp_path: Path) -> None:
    async def go() -> None:
        async with Switch(tmp_path) as switch:
            state = state_with(LIMITS._replace(connections=0))
            switch.limits = {**zones(state), 777: 1}
            await limits_of(state, switch).settle()
            assert switch.limits == {777: 1}

    asyncio.run(go())


def test_a_switch_that_takes_no_limits_is_said_and_tried_again(tmp_path: Path) -> None:
    async def go() -> None:
        state = state_with()
        switch = Switch(tmp_path)
        limits = limits_of(state, switch)
        await limits.settle()
        assert [one.code for one in limits.problems] == ["connection-limits"]
        async with switch:
            await limits.settle()
        assert limits.problems == ()
        assert switch.limits == zones(state)

    asyncio.run(go())


def test_a_look_counts_by_the_names_of_networks_and_ports(tmp_path: Path) -> None:
    async def go() -> Counted:
        async with Switch(tmp_path) as switch:
            state = state_with()
            limits = limits_of(state, switch)
            await limits.settle()
            switch.meters = [
                MeterStats(1, 50, 40),
                MeterStats(OPENING_METERS + 1, 9, 3),
                MeterStats(OPENED_METERS + 2, 9, 4),
                MeterStats(OPENED_METERS + 77, 9, 4),
                MeterStats(FRAGMENT_METERS + 2, 9, 5),
                MeterStats(ARRIVING_METERS + 2, 9, 6),
                MeterStats(ALL_METERS + 2, 9, 7),
            ]
            await limits.look(0.0)
            return limits.counted

    counted = asyncio.run(go())
    assert counted == Counted(
        {"red": Zone(100, 5), "blue": Zone(100, 5)},
        {(RED.id, "out"): 3, (BLUE.id, "in"): 4},
        {(BLUE.id, "out"): 5, (BLUE.id, "in"): 6},
        Waiting(MOST_FRAGMENTS, 51),
    )
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in limited_families(counted)
        for sample in family.samples
    }
    assert samples == {
        ("isthmus_network_connections", "red"): 5,
        ("isthmus_network_connections", "blue"): 5,
        ("isthmus_network_connections_limit", "red"): 100,
        ("isthmus_network_connections_limit", "blue"): 100,
        ("isthmus_port_unopened_packets_total", RED.id, "out"): 3,
        ("isthmus_port_unopened_packets_total", BLUE.id, "in"): 4,
        ("isthmus_port_dropped_fragments_total", BLUE.id, "out"): 5,
        ("isthmus_port_dropped_fragments_total", BLUE.id, "in"): 6,
        ("isthmus_fragments_waiting",): 51,
        ("isthmus_fragments_limit",): MOST_FRAGMENTS,
    }
