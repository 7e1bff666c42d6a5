# SPDX-License-Identifier: Apache-2.0
"""Fragments of one tenant's guest, with packets: they are judged together, and reach no other's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, product

import pytest

from isthmus_lab import packets
from isthmus_lab.rawsocket import Capture
from isthmus_lab.switch import Switch
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    Plan,
    RunningCloud,
    access_control_list,
    rule,
    to,
    until,
    virtual_network,
)
from tests.system.fragments import datagram

pytestmark = pytest.mark.system

PLANS = (
    Plan("red1", "h1", ((11, "open"),)),
    Plan("red2", "h1", ((12, "open"),)),
    Plan("red3", "h1", ((15, "open"),)),
    Plan("red5", "h1", ((18, "shut"),)),
    Plan("red4", "h2", ((16, "open"),)),
    Plan("blue1", "h1", ((13, "open"),), network="blue"),
    Plan("blue2", "h1", ((14, "open"),), network="blue"),
    Plan("blue3", "h2", ((17, "open"),), network="blue"),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        networks = virtual_network("red"), virtual_network("blue")
        rules = access_control_list("open", rule("UDP")), access_control_list("shut", rule("TCP"))
        made.furnish(*rules, *networks, plans=PLANS)
        yield made


def arrived(seen: Capture, mark: bytes, number: int = 1) -> None:
    """Wait for so many frames."""
    until(lambda: len(seen.having(mark)) >= number)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("receiver", ["red2", "red4"], ids=["on one host", "on two"])
def test_a_packet_of_32_fragments_arrives_whole(
    cloud: RunningCloud, receiver: str, family: int
) -> None:
    """docs/security.md: one of more is lost. The second one is of a known connection."""
    sender, to_it = cloud["red1"], cloud[receiver]
    for number in (1, 1):
        mark = b"isthmus-32-%d%d." % (number, family)
        sent = datagram(sender, to_it, 32, mark, number, family)
        with Capture(to_it.guest.namespace, to_it.guest.nic) as seen:
            sender.send(sent)
            arrived(seen, mark, 32)
            assert {frame[14:62] for frame in seen.having(mark)} == {f[14:62] for f in sent}


@pytest.mark.parametrize("where", ["on one host", "on two"])
def test_what_waits_in_vain_for_its_fragments_reaches_nobody_else(
    cloud: RunningCloud, where: str
) -> None:
    """Open vSwitch before 3.6 sends it with any packet that passes connection tracking when it has
    waited for 15 seconds: of new connections of another tenant or of the same, to guests on the
    same host or on another, and of known ones. Those of both families wait at once."""
    marks = {family: b"isthmus-waiting-%d." % family for family in FAMILIES}
    near = where == "on one host"
    sender, receiver = cloud["red1"], cloud["red2" if near else "red4"]
    others = [("blue1", "blue2"), ("blue1", "blue3"), ("red3", "red4" if near else "red2")]
    switch = cloud.lab.host("h1").switch
    before = _expired(switch)
    with ExitStack() as stack:
        captures = {
            name: stack.enter_context(Capture(cloud[name].guest.namespace, cloud[name].guest.nic))
            for _, name in others
        }
        for (family, mark), number in product(marks.items(), range(2, 6)):
            sender.send(datagram(sender, receiver, 40, mark, number, family))
            # As many as find room at once, but for the first or for the last.
            whole = datagram(sender, receiver, 20, mark, 10 + number, family)
            sender.send(whole[1:] if number % 2 else whole[:-1])
        numbers = count(2001)

        def others_speak() -> None:
            """For a second."""
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                for (one, other), family in product(others, FAMILIES):
                    ends = cloud[one].address(family), cloud[other].address(family)
                    for ports in ((next(numbers), 9), (2000, 9)):
                        text = packets.udp(*ends, ports, b"isthmus-other.")
                        cloud[one].send([to(cloud[one], cloud[other], text)])
                time.sleep(0.02)

        def have_waited() -> bool:
            others_speak()
            return _expired(switch) > before + 192

        until(have_waited)
        for _ in range(3):  # for what waits still
            others_speak()
        for _, other in others:
            arrived(captures[other], b"isthmus-other.")
        found = {
            (other, family): len(captures[other].having(mark))
            for _, other in others
            for family, mark in marks.items()
        }
        assert found == dict.fromkeys(found, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_found_no_room_reaches_no_other_tenant(cloud: RunningCloud, family: int) -> None:
    """Open vSwitch handles 32 packets at once. What is more of a whole packet it sends with the
    next that passes connection tracking, which a broadcast does only once."""
    mark = b"isthmus-left-%d." % family
    sender, one, other = cloud["red1"], cloud["blue1"], cloud["blue2"]
    near, far = cloud["red2"].guest, other.guest
    with (
        Capture(near.namespace, near.nic) as of_tenant,
        Capture(far.namespace, far.nic) as of_other,
    ):
        for number in range(30, 33):
            sender.send(datagram(sender, None, 40, mark, number, family))
            text = packets.udp(one.address(family), other.address(family), (9, number), mark[:7])
            one.send([to(one, other, text)] * 3)
        arrived(of_tenant, mark, 32)
        arrived(of_other, mark[:7], 9)
        assert of_other.having(mark) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_packet_that_the_rules_refuse_no_fragment_arrives(
    cloud: RunningCloud, family: int
) -> None:
    """Whether or not it finds room, also when it comes twice."""
    mark, sign = b"isthmus-refused-%d." % family, b"isthmus-tcp-%d." % family
    sender, receiver = cloud["red1"], cloud["red5"]
    ends = sender.address(family), receiver.address(family)
    with Capture(receiver.guest.namespace, receiver.guest.nic) as seen:
        for parts, number in ((40, 40), (20, 41), (20, 41)):
            sender.send(datagram(sender, receiver, parts, mark, number, family))
        sender.send([to(sender, receiver, packets.tcp(*ends, (9, 9), sign))])
        arrived(seen, sign)
        assert seen.having(mark) == []


def _expired(switch: Switch) -> int:
    """How many fragments it has sent on that had waited in vain: of both families, for where both
    wait, it counts some of one among the other's."""
    lines = switch.appctl("dpctl/ipf-get-status").splitlines()
    return sum(int(line.rsplit(":", 1)[1]) for line in lines if "frags expired" in line)
