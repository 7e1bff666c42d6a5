# SPDX-License-Identifier: Apache-2.0
"""Rules, with packets of the guests' own stacks: errors and fragments of what is allowed, and
connections that go on, or end with the rule that allowed them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import product

import pytest

from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    FAMILIES,
    HOSTS,
    LONGEST_S,
    Frame,
    Nic,
    RunningCloud,
    carries,
    until,
)
from tests.system.ruled import (
    LISTS,
    PLANS,
    datagrams,
    each_carriage,
    each_family,
    ruled_cloud,
    source_ports,
    tcp,
)
from tests.system.streams import Stream, Streams

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with ruled_cloud() as made:
        yield made


@each_family
@each_carriage
def test_an_error_of_an_allowed_datagram_comes_back(
    cloud: RunningCloud, host: str, family: int
) -> None:
    """ICMP is allowed at neither end; the port is closed."""
    sender, edges = cloud[f"friend{host[1]}"], cloud["edges"]
    with datagrams(sender, family) as asking:
        asking.settimeout(0.2)
        asking.connect((edges.address(family), 1001))
        until(lambda: refused(asking))


def refused(asking: socket.socket) -> bool:
    try:
        asking.send(b"is anybody there?")
        asking.recv(10)
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    raise AssertionError("nobody listens, and yet there is an answer")


@each_family
@each_carriage
def test_fragments_are_judged_as_the_datagram_that_they_are_of(
    cloud: RunningCloud, host: str, family: int
) -> None:
    sender, edges = cloud[f"friend{host[1]}"], cloud["edges"]
    address = edges.address(family)
    forbidden, allowed = b"forbidden".ljust(10) * 400, b"permitted".ljust(10) * 400
    with (
        datagrams(sender, family) as asking,
        datagrams(edges, family) as answering,
        Capture(edges.guest.namespace, edges.guest.nic) as seen,
    ):
        answering.bind((address, 1002))
        asking.settimeout(0.5)
        answering.settimeout(0.5)
        end = time.monotonic() + LONGEST_S
        heard = b""
        while heard != allowed and time.monotonic() < end:
            for _ in range(2):
                asking.sendto(forbidden, (address, 1004))
                asking.sendto(allowed, (address, 1002))
            try:
                got, back = answering.recvfrom(5000)
                assert got == allowed
                answering.sendto(got, back)
                heard = asking.recv(5000)
            except TimeoutError:
                continue
        assert heard == allowed
        until(lambda: len(seen.having(b"permitted")) >= 3)
        assert seen.having(b"forbidden") == []


def test_fragments_of_a_connection_stop_with_its_rule(cloud: RunningCloud) -> None:
    """Of one that was answered: each packet of it is judged again, though only the first fragment
    has ports."""
    edges, reference = cloud["edges"], "/accessControlLists/edges"
    body = dict(LISTS)[reference]["properties"]
    without_udp = [one for one in body["aclRules"] if one["properties"]["protocol"] != "UDP"]
    ends = list(product(FAMILIES, CARRIAGES))
    marks = [b"isthmus-fragment-%d." % number for number in range(len(ends))]
    with ExitStack() as stack:
        seen = stack.enter_context(Capture(edges.guest.namespace, edges.guest.nic))
        asking = []
        for family in FAMILIES:
            answering = stack.enter_context(datagrams(edges, family))
            answering.bind((edges.address(family), 1003))
            answering.settimeout(0.5)
            for host in CARRIAGES:
                one = stack.enter_context(datagrams(cloud[f"friend{host[1]}"], family))
                one.connect((edges.address(family), 1003))
                one.settimeout(0.5)
                until(partial(are_answered, one, answering))
                asking.append(one)

        def send_all() -> None:
            for one, mark in zip(asking, marks, strict=True):
                one.send(mark * 200)

        def all_arrived() -> bool:
            send_all()
            return all(len(seen.having(mark)) >= 3 for mark in marks)

        until(all_arrived)
        stack.callback(cloud.put, reference, {"properties": body})
        cloud.put(reference, {"properties": {**body, "aclRules": without_udp}})

        def all_stopped() -> bool:
            before = len(seen.frames)
            for _ in range(2):
                send_all()
            for family, host in ends:
                until(partial(is_followed, seen, cloud[f"friend{host[1]}"], edges, family))
            return not any(b"isthmus-fragment" in frame for frame in seen.frames[before:])

        # The switch looks through what its data path has cached only after it has the flows.
        until(all_stopped)
        assert all_stopped()


def is_followed(seen: Capture, sender: Nic, receiver: Nic, family: int) -> bool:
    """Whether the capture has seen something allowed, and so what was sent before it."""
    mark = b"isthmus-witness-%d." % next(source_ports)
    sender.send([bytes_of(tcp(sender, receiver, family, 100), mark)])
    return seen.wait_for(partial(carries, mark), 1.0) is not None


def bytes_of(frame: Frame, mark: bytes) -> bytes:
    built = frame(mark)
    assert isinstance(built, bytes)
    return built


def are_answered(asking: socket.socket, answering: socket.socket) -> bool:
    try:
        asking.send(b"is anybody there?")
        answering.sendto(*answering.recvfrom(100))
        return asking.recv(100) != b""
    except TimeoutError:
        return False


# -- connections that go on, or do not -------------------------------------------------------------


def leave_the_group(cloud: RunningCloud, *, back: bool) -> None:
    cloud.north.put_all(
        (f"/networkInterfaces/{plan.name}", clouds.interface(plan, tags=plan.tags if back else ()))
        for plan in PLANS
        if plan.tags
    )


def take_the_rule(cloud: RunningCloud, *, back: bool) -> None:
    reference = "/accessControlLists/friends"
    body = dict(LISTS)[reference]["properties"]
    rules = body["aclRules"]
    changed = {"properties": {**body, "aclRules": rules if back else rules[1:]}}
    cloud.north.put(reference, changed)


@pytest.mark.parametrize("take", [leave_the_group, take_the_rule])
def test_what_a_rule_allowed_ends_with_it_and_nothing_else_does(
    cloud: RunningCloud, take: Callable[..., None]
) -> None:
    """Connections from everywhere, in both families, with data in both directions."""
    group = cloud["group"]
    ends = [(int(host[1]), family) for host in CARRIAGES for family in FAMILIES]
    mine = [Stream(cloud[f"friend{n}"], group, family, 7000 + n) for n, family in ends]
    others = [Stream(cloud[f"open{n}"], group, family, 7200) for n, family in ends]
    with Streams([*mine, *others]) as streams:
        assert streams.moving([*mine, *others])
        take(cloud, back=False)
        taken_at = time.monotonic()
        until(partial(quiet, mine, taken_at))
        lasted_s = max(moment for stream in mine for moment in stream.last_arrival) - taken_at
        # A second is what is promised of a machine that is not busy.
        print(f"they lasted {lasted_s:.3f} s")
        assert streams.moving(others)
        take(cloud, back=True)
        # What TCP sends again finds its connection as it was.
        assert streams.moving([*mine, *others])


def quiet(streams: list[Stream], since: float) -> bool:
    """Whether nothing has arrived for a second, by which retransmissions would have come."""
    last = max(since, *(moment for stream in streams for moment in stream.last_arrival))
    return time.monotonic() > last + 1.0


def test_connections_and_numbers_outlive_the_agent(cloud: RunningCloud) -> None:
    group, host = cloud["group"], cloud.lab.host("h1")
    ends = [(int(name[1]), family) for name in CARRIAGES for family in FAMILIES]
    running = [Stream(cloud[f"friend{n}"], group, family, 7050 + n) for n, family in ends]
    numbers = numbers_of(cloud)
    assert set(numbers["h1"]) >= {"filter", "profile", "zone"}
    with Streams(running) as streams:
        assert streams.moving(running)
        cloud.lab.agent(host).kill()
        assert streams.moving(running)
        cloud.lab.start_agent(host)
        cloud.settle()
        assert streams.moving(running)
    assert numbers_of(cloud) == numbers
    log = cloud.lab.agent(host).log.read_text()
    resyncs = [line for line in log.splitlines() if "switch=resynced" in line]
    assert " adds=0 deletes=0 " in resyncs[-1]


def numbers_of(cloud: RunningCloud) -> Mapping[str, Mapping[str, object]]:
    found = {}
    for host in HOSTS:
        switch = cloud.lab.host(host.name).switch
        text = switch.vsctl("get", "bridge", "br-int", "external_ids:isthmus-numbers")
        # ovs-vsctl prints a string as JSON does; the value is JSON again.
        found[host.name] = json.loads(json.loads(text))
    return found
