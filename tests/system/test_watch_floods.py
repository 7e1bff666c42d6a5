# SPDX-License-Identifier: Apache-2.0
"""To watch changes nothing of what passes: a flood arrives wherever it may, also while the rules of
other receivers drop more of it than is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from functools import partial

import pytest

from isthmus.addresses import Mac
from isthmus.agent.watching import RATE_PPS
from isthmus.switches.ovs.pipeline import SHOWN_DROPS
from isthmus_lab import packets
from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import Plan, RunningCloud, access_control_list, to, until, virtual_network
from tests.system.watching import is_drop, seen_while, sent_up, watching

pytestmark = pytest.mark.system

HEARS, DENIES = ("free1", "some1", "free2"), ("shut1", "shut2")
PLANS = (
    Plan("sender", "h1", ((11, ""),)),
    # Both before and behind those that hear it, in whatever order they are looked at.
    Plan("shut1", "h1", ((12, "shut"),)),
    Plan("free1", "h1", ((13, ""),)),
    Plan("some1", "h1", ((14, "open"),)),
    Plan("more1", "h1", ((15, "shut"),)),
    Plan("shut2", "h2", ((16, "shut"),)),
    Plan("free2", "h2", ((17, ""),)),
)
LISTS = (
    access_control_list("shut", inbound="Deny"),
    access_control_list("open", inbound="Permit"),
)
SENT = 6 * RATE_PPS
"""In a second or so: each receiver that denies it drops more than is shown."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red"), plans=PLANS)
        yield made


@pytest.mark.parametrize("watch", [(), ("drops",), ("drops", "--port", "free1"), ("flows",)])
@pytest.mark.parametrize(
    ("address", "mac"),
    [("255.255.255.255", 0xFFFFFFFFFFFF), ("224.0.0.18", 0x01005E000012)],
    ids=["broadcast", "multicast"],
)
def test_a_flood_arrives_where_it_may_though_drops_of_it_are_watched(
    cloud: RunningCloud, address: str, mac: int, watch: tuple[str, ...]
) -> None:
    sender = cloud["sender"]
    mark = b"to all " + f"{address} {watch}".encode()
    datagram = packets.udp(sender.address(4), address, (4000, 9), mark)
    flood = packets.ethernet(Mac(mac), sender.mac, datagram)
    with ExitStack() as block:
        block.enter_context(watching(cloud, *watch) if watch else nullcontext())
        for host in _watched(watch):
            until(partial(_shows_drops, cloud, host))
        seen = {
            name: block.enter_context(
                Capture(cloud[name].guest.namespace, cloud[name].guest.nic, partial(_has, mark))
            )
            for name in (*HEARS, *DENIES)
        }
        for _ in range(SENT // 10):
            sender.send([flood] * 10)
            time.sleep(0.02)
        until(lambda: all(len(seen[name].frames) == SENT for name in HEARS))
        assert [name for name in DENIES if seen[name].frames] == []


def _watched(watch: tuple[str, ...]) -> tuple[str, ...]:
    """The hosts that are asked."""
    if not watch:
        return ()
    return ("h1",) if "--port" in watch else ("h1", "h2")


def _shows_drops(cloud: RunningCloud, host: str) -> bool:
    return "userdata=04" in str(sent_up(cloud, host))


def _has(mark: bytes, frame: bytes) -> bool:
    return mark in frame


def test_what_of_a_flood_is_dropped_is_told(cloud: RunningCloud) -> None:
    sender, mark = cloud["sender"], b"isthmus-watched"
    datagram = packets.udp(sender.address(4), "224.0.0.18", (4000, 9), mark)
    send = partial(sender.send, [packets.ethernet(Mac(0x01005E000012), sender.mac, datagram)])
    with watching(cloud, "drops") as watch:
        by = "default of shut"
        told = (is_drop(host=host, decision=by, packet="224.0.0.18:9") for host in ("h1", "h2"))
        seen_while([send], watch, *told)


def test_drops_of_a_watched_port_are_told_while_others_drop_more_than_is_shown(
    cloud: RunningCloud,
) -> None:
    sender, series = cloud["sender"], range(20)

    def denied(name: str, port: int) -> bytes:
        ends = sender.address(4), cloud[name].address(4)
        return to(sender, cloud[name], packets.udp(*ends, (4000, port), b"isthmus-denied"))

    with watching(cloud, "drops", "--port", "shut1") as watch:
        # Not while a watch before this one, which was killed, still looks at all ports.
        until(lambda: f"table={SHOWN_DROPS}," in str(sent_up(cloud, "h1")))
        for number in series:
            sender.send([denied("more1", 9)] * (RATE_PPS // 2))
            sender.send([denied("shut1", 100 + number)])
            time.sleep(0.1)
        wanted = {100 + number for number in series}
        until(lambda: wanted <= {told["destinationPort"] for told in watch.said})
        # What guests say of themselves is none of ours.
        mine = [told for told in watch.said if told["source"] == sender.address(4)]
        assert {(told["port"], told["receiver"]) for told in mine} == {("sender", "shut1")}
