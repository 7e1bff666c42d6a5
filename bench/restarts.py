# SPDX-License-Identifier: Apache-2.0
"""What restarts cost: lost packets, and the time until an agent has its switch again; and what a
network of that size takes of memory and flows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from bench.isthmus_rig import Rig, isthmus_rig, rss_kb
from bench.ovn_rig import OvnRig, ovn_rig
from bench.probing import PEER_ADDRESS, Pair
from bench.results import Figure, figure, median
from isthmus_lab.northbound import Northbound
from isthmus_lab.pings import EchoStream

_RESYNCED = re.compile(r"switch=resynced installed=(\d+) adds=(\d+) deletes=(\d+) s=([\d.]+)")
_LONGEST_S = 120.0
_RATE = 100


def restart_losses(kills: int) -> list[Figure]:
    """Kill -9 and start again under a stream of pings between two hosts."""
    figures = []
    with isthmus_rig(100) as rig:
        pair = rig.pair()
        pair.name_port("probe")
        rig.put_probe("probe")
        rig.settle()
        for name, restart in (
            ("agent_restart_lost", lambda: _restart_agent(rig)),
            ("controller_restart_lost", lambda: _restart_controller(rig)),
        ):
            lost, sent = _lost(pair, restart, kills)
            note = f"of {sent} pings at {_RATE}/s, {kills} kills"
            figures.append(figure(name, 100, float(lost), "packets", goal="0", note=note))
    return figures


def _lost(pair: Pair, restart: Callable[[], object], kills: int) -> tuple[int, int]:
    with EchoStream(pair.guest, PEER_ADDRESS, rate=_RATE) as stream:
        if not stream.wait_for_answers(10, 20):
            raise TimeoutError("the guests do not answer")
        for _ in range(kills):
            restart()
            time.sleep(0.3)
    return len(stream.report.lost), stream.report.sent


def _restart_agent(rig: Rig) -> float:
    agent = rig.lab.agent(rig.lab.host("h1"))
    agent.kill()
    time.sleep(0.2)
    return _resync(rig)[0]


def _restart_controller(rig: Rig) -> None:
    rig.lab.controller().kill()
    time.sleep(0.2)
    controller = rig.lab.start_controller()
    with Northbound(rig.socket) as north:
        north.wait_until_ready(controller)


def _resync(rig: Rig) -> tuple[float, str]:
    """Start the agent of h1; seconds until it has compared its switch, and its own line on that."""
    host = rig.lab.host("h1")
    log: Path = rig.lab.agent(host).log
    before = len(_RESYNCED.findall(log.read_text()))
    started = time.perf_counter()
    rig.lab.start_agent(host)
    while len(found := _RESYNCED.findall(log.read_text())) <= before:
        if time.perf_counter() > started + _LONGEST_S:
            raise TimeoutError(rig.lab.agent(host).last_words())
        time.sleep(0.005)
    installed, adds, deletes, seconds = found[-1]
    line = f"installed {installed}, +{adds} -{deletes}, compared in {float(seconds):.2f} s"
    return time.perf_counter() - started, line


def sizes(n_ports: int, kills: int, *, ovn_ports: int) -> list[Figure]:
    """Memory at N ports, and agent_resync with that many peers, beside OVN at `ovn_ports`."""
    with isthmus_rig(100, plugged=False, created=False) as rig:
        empty = _memory(rig)
    with isthmus_rig(n_ports) as rig:
        full = _memory(rig)
        times, line = [], ""
        for _ in range(kills):
            rig.lab.agent(rig.lab.host("h1")).kill()
            taken, line = _resync(rig)
            times.append(taken)
    figures = [
        figure(
            *(f"{name}_rss", n_ports, (full[name] - empty[name]) / n_ports, "KB/port"),
            goal="≤ 30",
            note=f"{full[name] / 1024:.0f} MB in all",
        )
        for name in full
    ]
    theirs = _ovn_resync(ovn_ports) if ovn_ports else None
    figures.append(
        figure(
            *("agent_resync", n_ports, median(times), "s"),
            goal="≤ 1",
            peer="OVN" if ovn_ports else "",
            peer_value=theirs,
            note=f"from process start; {line}; OVN at {ovn_ports} ports",
        )
    )
    return figures


def _memory(rig: Rig) -> dict[str, float]:
    return {
        "controller": rss_kb(rig.pid("controller")),
        "store": rss_kb(rig.pid("north")) + rss_kb(rig.pid("south")),
        "agent": rss_kb(rig.pid("h1")),
    }


def flows_per_host(n_ports: int, *, peer: bool) -> Figure:
    """Flows of h1 with 100 local ports, all others its peers."""
    with isthmus_rig(n_ports) as rig:
        ours = _flows(rig)
    theirs = None
    if peer:
        with ovn_rig(n_ports) as ovn:
            theirs = _settled_flows(ovn)
    most = 12 * 100 + 3 * (n_ports - 100)
    return figure(
        *("flows_per_host", n_ports, float(ours), "flows"),
        goal=f"≤ {most:,} and fixed ones",
        peer="OVN" if peer else "",
        peer_value=theirs,
    )


def _flows(rig: Rig | OvnRig) -> int:
    told = rig.lab.host("h1").switch.ofctl("dump-aggregate", "br-int")
    found = re.search(r"flow_count=(\d+)", told)
    assert found is not None, told
    return int(found[1])


def _settled_flows(rig: OvnRig) -> int:
    """When the number has not changed for three seconds."""
    last, since = -1, time.monotonic()
    until = time.monotonic() + _LONGEST_S
    while time.monotonic() < min(since + 3, until) or last < 100:
        now = _flows(rig)
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.2)
    return last


def _ovn_resync(n_ports: int) -> float:
    """Kill ovn-controller; seconds from its start until the flows are what they were."""
    with ovn_rig(n_ports) as rig:
        wanted = _settled_flows(rig)
        rig.stop_controller("h1")
        started = time.perf_counter()
        rig.start_controller("h1")
        # It takes all flows away and puts them back: wait for the way down, then for the way up.
        down = time.monotonic() + 30
        while _flows(rig) >= wanted and time.monotonic() < down:
            time.sleep(0.02)
        while _flows(rig) < wanted:
            if time.perf_counter() > started + _LONGEST_S:
                raise TimeoutError("OVN does not come back")
            time.sleep(0.02)
        return time.perf_counter() - started
