# SPDX-License-Identifier: Apache-2.0
"""Guests that send fragments of packets that are never whole: those of others are put together."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import pytest

from isthmus_lab import processes
from isthmus_lab.rawsocket import send_frames
from tests.cli.conftest import run
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    rule,
    until,
    virtual_network,
)
from tests.system.data_paths import appctl, restart
from tests.system.fragments import datagram
from tests.system.status import is_told

pytestmark = pytest.mark.system

SENT_PPS, SENT = 1000, 8000
"""Of each flood. SENT is more than Open vSwitch has room for, whatever it is told."""
PINGS = 10

LISTS = (
    access_control_list("serves", *(rule(one) for one in ("UDP", "ICMPv4", "ICMPv6"))),
    access_control_list("asks", rule("TCP", "9")),
)
PLANS = (
    Plan("flooding", "h1", ((11, "asks"),)),
    Plan("bare", "h1", ((12, ""),)),
    Plan("far", "h2", ((13, ""),)),
    Plan("server", "h1", ((14, "serves"),)),
    Plan("asker", "h1", ((15, "serves"),)),
    Plan("blue-server", "h1", ((14, "serves"),), network="blue"),
    Plan("blue-asker", "h1", ((15, "asks"),), network="blue"),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    """With the limits that a host has by default."""
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red"), virtual_network("blue"), plans=PLANS)
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


@contextmanager
def flood(sender: Nic, receiver: Nic | None) -> Iterator[None]:
    """First fragments of ever another packet, by turns of both families, while the block runs,
    which begins when SENT are out."""
    ending, under_way = threading.Event(), threading.Event()

    def frames() -> Iterator[bytes]:
        start_s = time.monotonic()
        for number in count():
            if ending.is_set():
                return
            if number == SENT:
                under_way.set()
            if number % 20 == 0:
                time.sleep(max(0.0, start_s + number / SENT_PPS - time.monotonic()))
            family = FAMILIES[number % 2]
            yield datagram(sender, receiver, 2, b"flood", number % 60_000, family)[0]

    guest = sender.guest
    thread = threading.Thread(target=send_frames, args=(guest.namespace, guest.nic, frames()))
    thread.start()
    try:
        assert under_way.wait(clouds.LONGEST_S)
        yield
    finally:
        ending.set()
        thread.join()


def answered(asker: Nic, server: Nic, family: int) -> str:
    """Of pings in three fragments each."""
    ping = ("ping", f"-{family}", "-c", str(PINGS), "-i", "0.1", "-s", "3000", "-W", "5")
    shell = f"{' '.join(ping)} {server.address(family)} || true"
    out = asker.guest.run(["sh", "-c", shell])
    found = re.search(r"\d+ received", out)
    return found.group() if found else out


def waiting(cloud: RunningCloud) -> dict[str, int]:
    """Fragments on h1, and how many there may be."""
    status = appctl(cloud, "dpctl/ipf-get-status")
    found = {}
    for name, words in (("now", r"num frag"), ("most", r"max num frags \(v4/v6\)")):
        found[name] = int(re.findall(rf"^\s*{words}: (\d+)$", status, re.MULTILINE)[0])
    return found


@pytest.mark.parametrize(
    ("flooding", "to"),
    [("flooding", "server"), ("bare", "server"), ("far", "server"), ("far", "all")],
)
def test_while_one_guest_floods_fragments_of_neighbours_and_other_tenants_arrive(
    cloud: RunningCloud, flooding: str, to: str
) -> None:
    """A guest with rules, one without, and one on another host, there also to all."""
    receiver = None if to == "all" else cloud[to]
    with flood(cloud[flooding], receiver):
        for asker, server in (("asker", "server"), ("blue-asker", "blue-server")):
            for family in FAMILIES:
                got = answered(cloud[asker], cloud[server], family)
                assert got == f"{PINGS} received", (asker, family, waiting(cloud))
        if receiver is not None:
            about = "server" if flooding == "far" else flooding
            until(partial(is_told, cloud, f"port {about} ", "fragments"))


def test_fragments_that_come_too_fast_are_counted(cloud: RunningCloud) -> None:
    url = f"unix:{processes.rest_socket(cloud.lab.run_directory)}"
    with flood(cloud["flooding"], cloud["server"]):
        pass
    _, out, _ = run(["counters"], url)
    assert re.search(r"^h1\tfragments too fast\tflooding\t\d{4,}$", out, re.MULTILINE), out


def test_a_switch_that_is_started_again_has_room_for_as_many_again(cloud: RunningCloud) -> None:
    before = waiting(cloud)["most"]
    assert before > 1000
    restart(cloud, "h1")
    until(lambda: waiting(cloud)["most"] == before)
