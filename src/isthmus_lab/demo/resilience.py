# SPDX-License-Identifier: Apache-2.0
"""Guests move and processes die, and running traffic hardly notices.

The streams are pings at 100 a second, each answer matched to its question.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from isthmus_lab.demo.building import new_guest
from isthmus_lab.demo.check import Check, expect
from isthmus_lab.demo.cloud import Cloud
from isthmus_lab.guest import Guest
from isthmus_lab.pings import EchoStream, ping
from isthmus_lab.switch import wait_until

_RATE = 100
_LONGEST_SILENCE_S = 1.0
_AWAY_S = 1.0
"""How long a killed process stays away."""
_REACH_S = 30.0
_ANSWER_S = 5.0
"""How long the last question may wait, where none may be lost."""


def checks() -> list[Check]:
    moves = "A guest that moves keeps its address and answers within a second"
    kills = "Killed with -9 under running pings, not one is lost"
    return [
        Check(moves, "from h2 to h1", move_once),
        Check(moves, "from h1 to h3, with the controller dead", move_without_controller),
        Check(kills, "the controller", kill_controller),
        Check(kills, "and what starts again takes new work", start_something_new),
        Check(kills, "the agent of h1", kill_agent),
        Check(kills, "and what starts again finds new ports", plug_something_new),
    ]


def move_once(cloud: Cloud) -> str:
    return _move(cloud, "h1")


def move_without_controller(cloud: Cloud) -> str:
    controller = cloud.lab.controller()
    controller.kill()
    try:
        expect(controller.pid is None, "the controller dead", f"process {controller.pid}")
        return _move(cloud, "h3")
    finally:
        cloud.lab.start_controller()
        cloud.rest.wait_until_ready(controller)


def kill_controller(cloud: Cloud) -> str:
    controller = cloud.lab.controller()
    with streams(_four_paths(cloud), grace_s=_ANSWER_S) as running:
        controller.kill()
        time.sleep(_AWAY_S)
        cloud.lab.start_controller()
        seconds = cloud.rest.wait_until_ready(controller)
        time.sleep(_AWAY_S)
    return f"{_require_no_loss(running)}; it answered {seconds:.1f} s after its restart"


def start_something_new(cloud: Cloud) -> str:
    start = time.monotonic()
    guest = new_guest(cloud, "red-new1", "web", "h2")
    _require_reach(cloud, guest)
    return f"a new guest answered {time.monotonic() - start:.1f} s after the PUT of its interface"


def kill_agent(cloud: Cloud) -> str:
    """While it is away, guests forget their neighbours and ask for them again."""
    host = cloud.lab.host("h1")
    agent = cloud.lab.agent(host)
    with streams(_four_paths(cloud), grace_s=_ANSWER_S) as running:
        agent.kill()
        expect(agent.pid is None, "the agent dead", f"process {agent.pid}")
        for name in ("web1", "web4", "db1"):
            cloud.guest("red", name).run(["ip", "neigh", "flush", "dev", "eth0"])
        time.sleep(_AWAY_S)
        cloud.lab.start_agent(host)
        time.sleep(2 * _AWAY_S)
        expect(agent.pid is not None, "the agent running again", agent.last_words())
    return _require_no_loss(running)


def plug_something_new(cloud: Cloud) -> str:
    start = time.monotonic()
    guest = new_guest(cloud, "red-new2", "db", "h1")
    _require_reach(cloud, guest)
    return f"a new guest answered {time.monotonic() - start:.1f} s after the PUT of its interface"


@contextmanager
def streams(
    pairs: Sequence[tuple[Guest, str]], *, grace_s: float = 1.0
) -> Iterator[list[EchoStream]]:
    """A stream of pings for each (guest, address), all of them answered before the block begins."""
    with ExitStack() as stack:
        running = [
            stack.enter_context(EchoStream(guest, address, rate=_RATE, grace_s=grace_s))
            for guest, address in pairs
        ]
        for stream in running:
            began = stream.wait_for_answers(10, _REACH_S)
            expect(began, f"{stream.guest.name} → {stream.address} to answer before all", "silence")
        yield running


def _four_paths(cloud: Cloud) -> list[tuple[Guest, str]]:
    """On one host, by VXLAN, by NVGRE, and routed; one end on h1."""
    paths = (("web1", "web4"), ("db1", "db2"), ("web3", "web1"), ("web4", "db3"))
    return [
        (cloud.guest("red", sender), cloud.address(cloud.guest("red", receiver)))
        for sender, receiver in paths
    ]


def _move(cloud: Cloud, host: str) -> str:
    guest = cloud.guest("red", "web2")
    address = cloud.address(guest)
    watchers = [(cloud.guest("red", name), address) for name in ("web1", "web3", "db2")]
    with streams(watchers) as running:
        cloud.lab.move(guest, cloud.lab.host(host))
        for stream in running:
            answers = stream.wait_for_answers(50, _REACH_S)
            expect(answers, f"{guest.name} to answer {stream.guest.name} from {host}", "silence")
    expect(guest.addresses() == [address], f"{guest.name} to keep {address}", guest.addresses())
    lease = guest.dhcp(apply=False)
    expect(lease.address == address, f"DHCP on {host} to offer {address} again", lease.address)
    silences = {stream.guest.name: stream.report.longest_gap_s for stream in running}
    longest = max(silences.values())
    limit_s = _LONGEST_SILENCE_S * cloud.patience
    expect(longest < limit_s, f"silence below {limit_s:g} s", silences)
    lost = sum(len(stream.report.lost) for stream in running)
    sent = sum(stream.report.sent for stream in running)
    return f"longest silence {longest * 1000:.0f} ms, {lost} of {sent} pings lost"


def _require_no_loss(running: Sequence[EchoStream]) -> str:
    lost = {
        f"{stream.guest.name} → {stream.address}": stream.report.lost
        for stream in running
        if stream.report.lost
    }
    expect(not lost, "no ping lost", f"these sequence numbers unanswered: {lost}")
    sent = sum(stream.report.sent for stream in running)
    return f"{sent} pings on {len(running)} paths, 0 lost"


def _require_reach(cloud: Cloud, guest: Guest) -> None:
    """The new guest reaches, and is reached, on its own host and across both encapsulations."""
    for name in ("web1", "web3", "db2"):
        peer = cloud.guest("red", name)
        for sender, address in ((guest, cloud.address(peer)), (peer, cloud.address(guest))):
            _require_ping(sender, address)


def _require_ping(sender: Guest, address: str) -> None:
    wait_until(
        lambda: ping(sender, address, count=1).lost == 0,
        _REACH_S,
        lambda: f"expected {sender.name} to reach {address}, saw no answer",
    )
