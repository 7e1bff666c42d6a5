# SPDX-License-Identifier: Apache-2.0
"""Connections that are open before they are followed, with packets: they go on, whoever speaks
next; and nobody passes who only seems to answer, but for what rules would let be asked, for a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import pytest

from isthmus.switches.ovs.begun import TCP_WINDOW_S, WINDOW_S
from isthmus_lab import packets
from tests.system import cloud as clouds
from tests.system.cloud import (
    FAMILIES,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    interface,
    rule,
    to,
    virtual_network,
)
from tests.system.conversations import TCP_PORT, UDP_PORT, Conversation, says
from tests.system.data_paths import restart

pytestmark = pytest.mark.system

OPEN = ""
ECHO = (rule("ICMPv4", icmpType=8, icmpCode=0), rule("ICMPv6", icmpType=128, icmpCode=0))
SERVED = (rule("TCP", str(TCP_PORT)), rule("UDP", str(UDP_PORT)), *ECHO)
LISTS = (
    access_control_list("asks"),
    access_control_list("asks-echo", *ECHO),
    access_control_list("serves", *SERVED, outbound="Deny"),
    access_control_list("shut", outbound="Deny"),
    # What passes by stateless rules is followed by nobody.
    access_control_list(
        "unfollowed",
        rule("All", stateless=True),
        rule("All", type="Outbound", stateless=True),
        outbound="Deny",
    ),
)
PLANS = (
    Plan("asker", "h1", ((10, OPEN),)),
    Plan("near", "h1", ((11, OPEN),)),
    Plan("far", "h2", ((12, OPEN),)),
    Plan("routed", "h1", ((13, OPEN),), subnet="db"),
    Plan("far-routed", "h3", ((14, OPEN),), subnet="db"),
)
SERVERS = ("near", "far", "routed", "far-routed")
"""On the asker's host and on others, in its subnet and in another: a test opens connections to all
of them at once, for most of its time goes into what is the same for each."""

each_family = pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)
each_speaker = pytest.mark.parametrize("first", ["answering", "asking"])


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud(keeps_windows=True) as made:
        made.furnish(
            ("/securityTags/asking", {"properties": {}}),
            ("/securityTags/serving", {"properties": {}}),
            *LISTS,
            virtual_network("red"),
            plans=PLANS,
        )
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


RULED = {"asker": "asks", **dict.fromkeys(SERVERS, "serves")}


def put_list(cloud: RunningCloud, lists: dict[str, str], tags: Sequence[str] = ()) -> None:
    """These lists on these ports."""
    for name, rules in lists.items():
        plan = cloud[name].plan
        addresses = tuple((number, rules) for number, _ in plan.addresses)
        cloud.north.put(
            f"/networkInterfaces/{name}", interface(replace(plan, addresses=addresses), tags=tags)
        )
    cloud.settle()


def talking(stack: ExitStack, cloud: RunningCloud) -> list[Conversation]:
    return [
        stack.enter_context(Conversation(cloud["asker"], cloud[server], family))
        for server in SERVERS
        for family in FAMILIES
    ]


def stopped(conversations: Sequence[Conversation], first: str) -> list[str]:
    """What does not go on, of each; side by side, for each may wait in vain."""
    with ThreadPoolExecutor(len(conversations)) as side_by_side:
        found = side_by_side.map(lambda one: one.stops(first, wait_s=15.0), conversations)
        return [
            f"{one.answering.plan.name}: {what}"
            for one, stops in zip(conversations, found, strict=True)
            for what in stops
        ]


@pytest.fixture(autouse=True)
def _as_before(cloud: RunningCloud) -> Iterator[None]:
    yield
    put_list(cloud, {plan.name: OPEN for plan in PLANS})
    for plan in PLANS:
        if cloud[plan.name].guest.state.host != plan.host:
            cloud.lab.move(cloud[plan.name].guest, cloud.lab.host(plan.host))


@each_speaker
@pytest.mark.parametrize(
    "lists", [("asks", OPEN), (OPEN, "serves"), ("asks", "serves")], ids=lambda one: "-".join(one)
)
def test_a_first_list_cuts_no_connection_that_it_allows(
    cloud: RunningCloud, lists: tuple[str, str], first: str
) -> None:
    with ExitStack() as stack:
        conversations = talking(stack, cloud)
        put_list(cloud, {"asker": lists[0], **dict.fromkeys(SERVERS, lists[1])})
        assert stopped(conversations, first) == []


def test_a_first_rule_of_a_group_cuts_no_connection_that_it_allows(cloud: RunningCloud) -> None:
    with ExitStack() as stack:
        put_list(cloud, {"asker": OPEN}, tags=("asking",))
        put_list(cloud, dict.fromkeys(SERVERS, OPEN), tags=("serving",))
        conversations = talking(stack, cloud)
        tags = {"asking": "asks", "serving": "serves"}
        for name, rules in tags.items():
            cloud.north.put(f"/securityTags/{name}", tag_of(rules))
        cloud.settle()
        assert stopped(conversations, "answering") == []
    for name in tags:
        cloud.north.put(f"/securityTags/{name}", {"properties": {}})


def tag_of(rules: str) -> dict[str, object]:
    return {"properties": {"accessControlList": {"resourceRef": f"/accessControlLists/{rules}"}}}


@each_speaker
def test_what_was_stateless_and_is_no_longer_is_not_cut(cloud: RunningCloud, first: str) -> None:
    """Nobody has followed it until then."""
    with ExitStack() as stack:
        put_list(cloud, dict.fromkeys(("asker", *SERVERS), "unfollowed"))
        conversations = talking(stack, cloud)
        put_list(cloud, RULED)
        assert stopped(conversations, first) == []


@each_speaker
@pytest.mark.parametrize("moved", [("asker",), SERVERS], ids=["asker", "servers"])
def test_a_move_cuts_no_connection(cloud: RunningCloud, moved: Sequence[str], first: str) -> None:
    with ExitStack() as stack:
        put_list(cloud, RULED)
        conversations = talking(stack, cloud)
        for guest in (cloud[name].guest for name in moved):
            there = next(host for host in ("h2", "h1", "h3") if host != guest.state.host)
            cloud.lab.move(guest, cloud.lab.host(there))
        cloud.settle()
        assert stopped(conversations, first) == []


@each_speaker
@pytest.mark.parametrize("host", ["h1", "h2"])
def test_a_switch_that_is_started_again_cuts_no_connection(
    cloud: RunningCloud, host: str, first: str
) -> None:
    """Its connection tracking is empty."""
    with ExitStack() as stack:
        put_list(cloud, RULED)
        conversations = talking(stack, cloud)
        restart(cloud, host)
        assert stopped(conversations, first) == []


# -- who only seems to answer ----------------------------------------------------------------------


def forged(sender: Nic, receiver: Nic, family: int) -> dict[str, Frame]:
    """What answers a question that nobody has asked, of each protocol."""
    ends = sender.address(family), receiver.address(family)
    segment, datagram = (TCP_PORT, 41000), (UDP_PORT, 41000)
    icmp, kind = (packets.icmp, 0) if family == 4 else (packets.icmpv6, 129)
    return {
        "TCP": lambda mark: to(sender, receiver, packets.tcp(*ends, segment, mark, flags=0x18)),
        "UDP": lambda mark: to(sender, receiver, packets.udp(*ends, datagram, mark)),
        "ICMP": lambda mark: to(sender, receiver, icmp(*ends, kind, 0, b"\x70\x01\x00\x01" + mark)),
    }


def witness(sender: Nic, receiver: Nic, family: int) -> dict[str, Frame]:
    """An echo request, which rules of everybody here let in last."""
    ends = sender.address(family), receiver.address(family)
    icmp, kind = (packets.icmp, 8) if family == 4 else (packets.icmpv6, 128)
    return {
        "witness": lambda mark: to(
            sender, receiver, icmp(*ends, kind, 0, b"\x71\x01\x00\x01" + mark)
        )
    }


def windows(cloud: RunningCloud, host: str) -> list[str]:
    return clouds.windows(cloud.lab.host(host))


def end_windows(cloud: RunningCloud) -> None:
    cloud.end_windows()
    cloud.settle()


@each_family
def test_what_nobody_could_have_asked_for_passes_at_no_time(
    cloud: RunningCloud, family: int
) -> None:
    """The asker's own outbound rules forbid the question."""
    put_list(cloud, {"asker": "serves"})
    asker = cloud["asker"]
    for server in map(cloud.__getitem__, SERVERS):
        sent, told = forged(server, asker, family), witness(server, asker, family)
        assert arrivals(server, asker, sent | told, told) == set(told), server.plan.name


@each_family
def test_a_forged_answer_passes_in_that_time_only(cloud: RunningCloud, family: int) -> None:
    """An agent that is dead changes nothing: the switch has the time."""
    put_list(cloud, {"asker": "asks-echo"})
    asker, servers = cloud["asker"], [cloud[name] for name in SERVERS]
    for server in servers:
        sent = forged(server, asker, family)
        assert arrivals(server, asker, sent, sent) == set(sent), server.plan.name
    assert {timeout_of(line) for line in windows(cloud, "h1")} == {WINDOW_S, TCP_WINDOW_S}
    end_windows(cloud)
    for server in servers:
        later = {name: of_another(name, server, asker, family) for name in ("TCP", "UDP", "ICMP")}
        told = witness(server, asker, family)
        assert arrivals(server, asker, later | told, told) == set(told), server.plan.name


def timeout_of(line: str) -> int:
    return int(line.partition("hard_timeout=")[2].partition(",")[0])


def of_another(name: str, sender: Nic, receiver: Nic, family: int) -> Frame:
    """Of a connection that nobody has seen in that time."""
    ends = sender.address(family), receiver.address(family)
    if name == "TCP":
        ports = TCP_PORT, 42000
        return lambda mark: to(sender, receiver, packets.tcp(*ends, ports, mark, flags=0x18))
    if name == "UDP":
        return lambda mark: to(sender, receiver, packets.udp(*ends, (UDP_PORT, 42000), mark))
    icmp, kind = (packets.icmp, 0) if family == 4 else (packets.icmpv6, 129)
    return lambda mark: to(sender, receiver, icmp(*ends, kind, 0, b"\x72\x01\x00\x01" + mark))


def test_what_was_taken_for_an_answer_is_kept_after_that_time(cloud: RunningCloud) -> None:
    """A stream of UDP that nobody answers goes on."""
    with ExitStack() as stack:
        conversations = talking(stack, cloud)
        put_list(cloud, RULED)
        assert stopped(conversations, "answering") == []
        end_windows(cloud)
        for one in conversations:
            client, server = one.udp
            assert says(server, client, 15.0)
        assert stopped(conversations, "asking") == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_time_ends_when_the_agent_is_dead(cloud: RunningCloud) -> None:
    put_list(cloud, {"asker": "asks-echo"})
    agent = cloud.lab.agent(cloud.lab.host("h1"))
    agent.kill()
    try:
        udp = forged(cloud["near"], cloud["asker"], 4)["UDP"]
        assert arrivals(cloud["near"], cloud["asker"], {"UDP": udp}, {"UDP"}) == {"UDP"}
        clouds.until(lambda: all(timeout_of(one) != WINDOW_S for one in windows(cloud, "h1")))
        time.sleep(2.0)  # what the data path has cached of them goes within a second
        later = {"UDP": of_another("UDP", cloud["near"], cloud["asker"], 4)}
        told = witness(cloud["near"], cloud["asker"], 4)
        assert arrivals(cloud["near"], cloud["asker"], later | told, told) == set(told)
    finally:
        agent.start()
