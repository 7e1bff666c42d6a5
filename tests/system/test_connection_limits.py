# SPDX-License-Identifier: Apache-2.0
"""Guests that open connections without end, with packets: what others have goes on, and is said."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from isthmus.agent.connection_limits import zones_from
from isthmus_lab import packets, processes
from isthmus_lab.rawsocket import send_frames
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    rule,
    to,
    until,
    virtual_network,
)
from tests.system.conversations import Conversation
from tests.system.data_paths import appctl, restart
from tests.system.status import is_told

pytestmark = pytest.mark.system

NETWORK, RATE, BURST = 3000, 100, 500
"""Limits of each host: so low that a flood reaches them at once, and that one port alone does not
fill its network in the time of a test."""
WHOLE = 5000
"""What the switch has room for in all: less than one guest sends."""

LISTS = (
    access_control_list("serves", rule("UDP"), rule("TCP")),
    access_control_list("asks", rule("TCP", "9")),
)
PLANS = (
    Plan("flooding", "h1", ((11, "asks"),)),
    Plan("bare", "h1", ((12, ""),)),
    Plan("far", "h2", ((13, ""),)),
    Plan("server", "h1", ((14, "serves"),)),
    Plan("asker", "h1", ((15, "serves"),)),
    *(Plan(f"more{n}", "h1", ((20 + n, "asks"),)) for n in range(6)),
    Plan("blue-server", "h1", ((14, "serves"),), network="blue"),
    Plan("blue-asker", "h1", ((15, "asks"),), network="blue"),
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCloud]:
    configuration = tmp_path_factory.mktemp("limits") / "isthmus.toml"
    configuration.write_text(
        f"[agent]\nconnections_per_network = {NETWORK}\n"
        f"new_connections_per_port = {RATE}\nnew_connections_burst = {BURST}\n"
    )
    with clouds.running_cloud() as made:
        limit(made, configuration)
        made.furnish(*LISTS, virtual_network("red"), virtual_network("blue"), plans=PLANS)
        for nic in made.nics.values():
            nic.use_addresses()
        appctl(made, "dpctl/ct-set-maxconns", str(WHOLE))
        yield made


def limit(cloud: RunningCloud, configuration: Path) -> None:
    for host in cloud.lab.hosts.values():
        cloud.lab.agent(host).kill()
        cloud.lab.start_agent(host, ("--config", str(configuration)))


@pytest.fixture(autouse=True)
def _no_connections(cloud: RunningCloud) -> None:
    cloud.lab.host("h1").switch.appctl("dpctl/flush-conntrack")


def followed(cloud: RunningCloud) -> list[int]:
    """How many connections each network with a limit has on h1, the fewest first."""
    zones = zones_from(appctl(cloud, "dpctl/ct-get-limits"))
    assert {zone.limit for zone in zones.values()} == {NETWORK}
    return sorted(zone.n_connections for zone in zones.values())


@contextmanager
def flood(sender: Nic, receiver: Nic) -> Iterator[None]:
    """Datagrams from ever another port, as fast as the machine can, while the block runs."""
    ending, under_way = threading.Event(), threading.Event()
    ends = sender.address(4), receiver.address(4)

    def frames() -> Iterator[bytes]:
        for number in count():
            if ending.is_set():
                return
            if number == 2 * WHOLE:
                under_way.set()
            ports = 1024 + number % 60_000, 1024 + number // 60_000 % 60_000
            yield to(sender, receiver, packets.udp(*ends, ports, b"flood"))

    guest = sender.guest
    thread = threading.Thread(target=send_frames, args=(guest.namespace, guest.nic, frames()))
    thread.start()
    try:
        assert under_way.wait(clouds.LONGEST_S)
        yield
    finally:
        ending.set()
        thread.join()


@pytest.mark.parametrize("flooding", ["flooding", "bare", "far"])
def test_while_one_guest_floods_its_neighbours_and_other_tenants_connect(
    cloud: RunningCloud, flooding: str
) -> None:
    """A guest with rules, one without, and one on another host."""
    with ExitStack() as stack:
        stack.enter_context(flood(cloud[flooding], cloud["server"]))
        for asker, server in (("asker", "server"), ("blue-asker", "blue-server")):
            for family in FAMILIES:
                stack.enter_context(Conversation(cloud[asker], cloud[server], family))
        assert BURST < followed(cloud)[-1] < NETWORK
        about = "server" if flooding == "far" else flooding
        until(partial(is_told, cloud, f"port {about} ", str(RATE)))


def test_what_a_port_opens_too_fast_is_counted(cloud: RunningCloud) -> None:
    url = f"unix:{processes.rest_socket(cloud.lab.run_directory)}"
    with flood(cloud["flooding"], cloud["server"]):
        pass
    _, out, _ = run(["counters"], url)
    assert re.search(r"^h1\topened too fast\tflooding\t\d{4,}$", out, re.MULTILINE), out


def test_a_network_that_is_full_takes_no_room_from_others_and_nothing_past_its_rules(
    cloud: RunningCloud,
) -> None:
    """What finds no room is judged as new each time, whoever answers whom."""
    with ExitStack() as stack:
        for name in ("flooding", "bare", *(f"more{n}" for n in range(6))):
            stack.enter_context(flood(cloud[name], cloud["server"]))
        until(lambda: followed(cloud)[-1] == NETWORK)
        for family in FAMILIES:
            blue = cloud["blue-asker"], cloud["blue-server"]
            stack.enter_context(Conversation(*blue, family))
        until(partial(is_told, cloud, "network red", str(NETWORK)))
    asker, server = cloud["asker"], cloud["server"]
    ends, ports = (asker.address(4), server.address(4)), (7, 9)
    closed = cloud["flooding"]
    back = server.address(4), closed.address(4)
    asked = {"asked": lambda mark: to(closed, server, packets.udp(*back[::-1], ports, mark))}
    assert arrivals(closed, server, asked, {"asked"}) == {"asked"}
    answered = {
        "answer": lambda mark: to(server, closed, packets.udp(*back, ports[::-1], mark)),
        "allowed": lambda mark: to(server, closed, packets.tcp(*back, ports, mark)),
    }
    assert arrivals(server, closed, answered, {"allowed"}) == {"allowed"}
    sent = {
        "denied": lambda mark: to(asker, server, packets.icmp(*ends, 8, 0, b"\0\1\0\1" + mark)),
        "allowed": lambda mark: to(asker, server, packets.udp(*ends, ports, mark)),
    }
    assert arrivals(asker, server, sent, {"allowed"}) == {"allowed"}
    assert followed(cloud)[-1] == NETWORK


def test_a_switch_that_is_started_again_has_the_limits_again(cloud: RunningCloud) -> None:
    before = len(followed(cloud))
    restart(cloud, "h1")
    until(lambda: len(zones_from(appctl(cloud, "dpctl/ct-get-limits"))) == before)
    assert followed(cloud) == [0] * before
    with flood(cloud["flooding"], cloud["server"]):
        until(lambda: followed(cloud)[-1] > BURST)
        with Conversation(cloud["asker"], cloud["server"], 4):
            assert followed(cloud)[-1] < NETWORK
