# SPDX-License-Identifier: Apache-2.0
"""Rules, with packets: who may speak to whom, on one host and across hosts, in both families.

Most guests are on h1, under one access control list each. What is forbidden is sent before
something that is allowed, and only when the same capture has seen that one it counts as stopped.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count, product

import pytest

from isthmus.addresses import Mac
from isthmus_lab import frames, packets
from isthmus_lab.namespaces import entered
from isthmus_lab.rawsocket import Capture
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    FAMILIES,
    HOSTS,
    LONGEST_S,
    Cloud,
    Frame,
    Nic,
    Plan,
    access_control_list,
    arrivals,
    arrivals_at,
    carries,
    rule,
    tag,
    to,
    until,
    virtual_network,
)
from tests.system.streams import Stream, Streams

pytestmark = pytest.mark.system

OPEN, SHUT = "", "shut"
ICMP = {4: ("ICMPv4", 8), 6: ("ICMPv6", 128)}
"""The protocol's name and the type of an echo request."""

EXPERIMENT = 253
"""A protocol that nobody speaks (RFC 3692)."""
UNKNOWN = 99

LISTS = (
    access_control_list("shut"),
    access_control_list(
        "edges",
        rule("TCP", "100-201"),
        rule("UDP", "1000-1003"),
        rule("UDP", "65535"),
        rule("132", "5000-5001"),
        rule(str(UNKNOWN)),
        *(rule(name, icmpType=kind, icmpCode=0) for name, kind in ICMP.values()),
        rule("ICMPv4", icmpType=13),
        outbound="Deny",
    ),
    access_control_list(
        "friends",
        rule("TCP", "7000-7100", sourceSecurityTags=[tag("friends")]),
        rule("TCP", "7200"),
        outbound="Deny",
    ),
    access_control_list(
        "first-deny",
        rule("UDP", "300-310"),
        rule("UDP", "305", action="Deny"),
        rule("UDP", "308", action="Deny", priority="201"),
        rule("UDP", "309", action="Deny", priority="199"),
    ),
    access_control_list("subnet", rule("UDP", "10-20"), rule("UDP", "30")),
    access_control_list("interface", rule("UDP", "20-30")),
    access_control_list(
        "outward",
        rule("UDP", "53", type="Outbound"),
        rule("UDP", "400-500", type="Outbound", destinationSecurityTags=[tag("friends")]),
        inbound="Permit",
        outbound="Deny",
    ),
    access_control_list("ports", rule("All", "80-81"), rule("All", "7", sourcePortRange="1-999")),
    access_control_list("but-ports", rule("All", "80-81", action="Deny"), inbound="Permit"),
    access_control_list("wide", rule("132", "6000-6001", action="Deny"), inbound="Permit"),
)

PLANS = (
    *(Plan(f"open{host[1]}", host, ((10 + int(host[1]), OPEN),)) for host in CARRIAGES),
    *(
        Plan(f"friend{host[1]}", host, ((20 + int(host[1]), SHUT),), tags=("friends",))
        for host in CARRIAGES
    ),
    Plan("shut", "h1", ((30, SHUT),)),
    Plan("edges", "h1", ((31, "edges"),)),
    Plan("group", "h1", ((32, "friends"),)),
    Plan("first-deny", "h1", ((33, "first-deny"),)),
    Plan("two", "h1", ((34, OPEN), (35, SHUT))),
    Plan("both", "h1", ((36, "interface"),), subnet="db"),
    Plan("outward", "h1", ((37, "outward"),)),
    Plan("wide", "h1", ((38, "wide"),)),
    Plan("ports", "h1", ((39, "ports"),)),
    Plan("but-ports", "h1", ((40, "but-ports"),)),
)

_source_ports = count(20000)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with clouds.running_cloud() as made:
        made.furnish(
            ("/securityTags/friends", {"properties": {}}),
            *LISTS,
            virtual_network("red", {"db": "subnet"}),
            plans=PLANS,
        )
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


each_carriage = pytest.mark.parametrize("host", CARRIAGES, ids=CARRIAGES.__getitem__)
each_family = pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)


def udp(sender: Nic, receiver: Nic, family: int, port: int, *, which: int = 0) -> Frame:
    ports = next(_source_ports), port
    ends = sender.address(family), receiver.address(family, which)
    return lambda mark: to(sender, receiver, packets.udp(*ends, ports, mark))


def tcp(sender: Nic, receiver: Nic, family: int, port: int) -> Frame:
    ports = next(_source_ports), port
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.tcp(*ends, ports, mark))


def sctp(sender: Nic, receiver: Nic, family: int, port: int, *, source_port: int = 0) -> Frame:
    ports = source_port or next(_source_ports), port
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.sctp_init(*ends, ports, mark))


def protocol(sender: Nic, receiver: Nic, family: int, number: int) -> Frame:
    ends = sender.address(family), receiver.address(family)
    return lambda mark: to(sender, receiver, packets.ip(*ends, number, mark))


def icmp(sender: Nic, receiver: Nic, family: int, kind: int, code: int = 0) -> Frame:
    ends = sender.address(family), receiver.address(family)
    head = struct.pack("!HH", next(_source_ports), 1)
    # 16 bytes before the mark: a timestamp message has three times there (RFC 792).
    return lambda mark: to(
        sender, receiver, packets.icmp(*ends, kind, code, head + bytes(12) + mark)
    )


def everything(sender: Nic, receiver: Nic, family: int) -> dict[str, Frame]:
    """A packet of every protocol, to the receiver's addresses and to all."""
    everyone = (
        {"255.255.255.255": frames.BROADCAST, "10.1.1.255": frames.BROADCAST} if family == 4 else {}
    )
    group = ("224.0.0.251", 0x01005E0000FB) if family == 4 else ("ff02::fb", 0x3333000000FB)
    to_all = {**everyone, group[0]: Mac(group[1])}
    own, ports = sender.address(family), (next(_source_ports), 7000)

    def datagram(address: str, mac: Mac) -> Frame:
        return lambda mark: packets.ethernet(
            mac, sender.mac, packets.udp(own, address, ports, mark)
        )

    return {
        "tcp": tcp(sender, receiver, family, 80),
        "udp": udp(sender, receiver, family, 53),
        "sctp": sctp(sender, receiver, family, 80),
        "echo": icmp(sender, receiver, family, ICMP[family][1]),
        "other icmp": icmp(sender, receiver, family, 13 if family == 4 else 127),
        "a protocol nobody knows": protocol(sender, receiver, family, UNKNOWN),
        "experimental": protocol(sender, receiver, family, EXPERIMENT),
        "gre": protocol(sender, receiver, family, 47),
        **{f"to {address}": datagram(address, mac) for address, mac in to_all.items()},
    }


# -- one packet each -------------------------------------------------------------------------------


@each_family
@each_carriage
def test_who_denies_by_default_hears_only_answers(cloud: Cloud, host: str, family: int) -> None:
    sender, shut = cloud[f"open{host[1]}"], cloud["shut"]
    asked = next(_source_ports), 9
    question = packets.udp(shut.address(family), sender.address(family), asked, b"question")
    ends, ports = (sender.address(family), shut.address(family)), asked[::-1]

    def send(forbidden_and_answer: list[bytes]) -> None:
        shut.send([to(shut, sender, question)])
        until(lambda: at_sender.having(b"question"))
        sender.send(forbidden_and_answer)

    with Capture(sender.guest.namespace, sender.guest.nic) as at_sender:
        found = arrivals_at(
            {shut: ("answer",)},
            send,
            {
                **everything(sender, shut, family),
                "not the answer": udp(sender, shut, family, ports[1]),
                "answer": lambda mark: to(sender, shut, packets.udp(*ends, ports, mark)),
            },
        )
    assert found == {"shut": {"answer"}}


@each_family
@each_carriage
def test_ports_protocols_and_icmp_types_are_told_apart(
    cloud: Cloud, host: str, family: int
) -> None:
    sender, edges = cloud[f"open{host[1]}"], cloud["edges"]
    echo = ICMP[family][1]
    other = {"timestamp": icmp(sender, edges, 4, 13)} if family == 4 else {}
    sent = {
        **{f"tcp {port}": tcp(sender, edges, family, port) for port in (99, 202, 1000)},
        **{f"udp {port}": udp(sender, edges, family, port) for port in (999, 1004, 65534, 100)},
        "protocol 98": protocol(sender, edges, family, UNKNOWN - 1),
        "echo with code": icmp(sender, edges, family, echo, 1),
        "other icmp": icmp(sender, edges, family, 15 if family == 4 else 127),
        "echo reply": icmp(sender, edges, family, 0 if family == 4 else 129),
    }
    allowed = {
        **{f"tcp {port}": tcp(sender, edges, family, port) for port in (100, 128, 201)},
        **{f"udp {port}": udp(sender, edges, family, port) for port in (1000, 1003, 65535)},
        "protocol 99": protocol(sender, edges, family, UNKNOWN),
        "echo": icmp(sender, edges, family, echo),
        **other,
    }
    assert arrivals(sender, edges, sent | allowed, allowed) == set(allowed)


@each_family
@each_carriage
def test_sctp_is_allowed_by_port(cloud: Cloud, host: str, family: int) -> None:
    sender, edges = cloud[f"open{host[1]}"], cloud["edges"]
    mine = next(_source_ports)
    sent = {f"sctp {port}": sctp(sender, edges, family, port) for port in (4999, 5002, 80)}
    allowed = {
        f"sctp {port}": sctp(sender, edges, family, port, source_port=mine) for port in (5000, 5001)
    }
    assert arrivals(sender, edges, sent | allowed, allowed) == set(allowed)
    back = {
        "of itself": sctp(edges, sender, family, 7000, source_port=4999),
        "answer": sctp(edges, sender, family, mine, source_port=5001),
    }
    assert arrivals(edges, sender, back, ("answer",)) == {"answer"}


@each_family
@each_carriage
def test_sctp_is_denied_by_port(cloud: Cloud, host: str, family: int) -> None:
    sender, receiver = cloud[f"open{host[1]}"], cloud["wide"]
    sent = {str(port): sctp(sender, receiver, family, port) for port in (6000, 6001, 5999, 6002)}
    assert arrivals(sender, receiver, sent, ("5999", "6002")) == {"5999", "6002"}


@each_family
@each_carriage
def test_any_protocol_with_ports_allows_tcp_and_udp_with_them_and_nothing_else(
    cloud: Cloud, host: str, family: int
) -> None:
    sender, ports = cloud[f"open{host[1]}"], cloud["ports"]
    sent = {
        "echo": icmp(sender, ports, family, ICMP[family][1]),
        "gre": protocol(sender, ports, family, 47),
        "sctp 80": sctp(sender, ports, family, 80),
        "experimental": protocol(sender, ports, family, EXPERIMENT),
        **{f"tcp {port}": tcp(sender, ports, family, port) for port in (79, 82, 7)},
        **{f"udp {port}": udp(sender, ports, family, port) for port in (79, 82, 7)},
    }
    allowed = {
        **{f"tcp {port}": tcp(sender, ports, family, port) for port in (80, 81)},
        **{f"udp {port}": udp(sender, ports, family, port) for port in (80, 81)},
    }
    assert arrivals(sender, ports, sent | allowed, allowed) == set(allowed)


@each_family
@each_carriage
def test_any_protocol_with_ports_denies_tcp_and_udp_with_them_and_nothing_else(
    cloud: Cloud, host: str, family: int
) -> None:
    sender, receiver = cloud[f"open{host[1]}"], cloud["but-ports"]
    sent = {
        **{f"tcp {port}": tcp(sender, receiver, family, port) for port in (80, 81)},
        **{f"udp {port}": udp(sender, receiver, family, port) for port in (80, 81)},
    }
    allowed = {
        "echo": icmp(sender, receiver, family, ICMP[family][1]),
        "gre": protocol(sender, receiver, family, 47),
        "sctp 80": sctp(sender, receiver, family, 80),
        "experimental": protocol(sender, receiver, family, EXPERIMENT),
        "tcp 82": tcp(sender, receiver, family, 82),
        "udp 79": udp(sender, receiver, family, 79),
    }
    assert arrivals(sender, receiver, sent | allowed, allowed) == set(allowed)


@each_family
@each_carriage
def test_a_group_is_heard_and_others_are_not(cloud: Cloud, host: str, family: int) -> None:
    group = cloud["group"]
    friend, other = cloud[f"friend{host[1]}"], cloud[f"open{host[1]}"]
    of_friend = {
        **{f"{port}": tcp(friend, group, family, port) for port in (6999, 7101)},
        **{f"{port}": tcp(friend, group, family, port) for port in (7000, 7100, 7200)},
    }
    assert arrivals(friend, group, of_friend, ("7000", "7100", "7200")) == {"7000", "7100", "7200"}
    of_other = {f"{port}": tcp(other, group, family, port) for port in (7000, 7050, 7100, 7200)}
    assert arrivals(other, group, of_other, ("7200",)) == {"7200"}


@each_family
@each_carriage
def test_a_list_on_one_address_holds_for_that_address_only(
    cloud: Cloud, host: str, family: int
) -> None:
    sender, two = cloud[f"open{host[1]}"], cloud["two"]
    sent = {
        "to the second": udp(sender, two, family, 53, which=1),
        "to the first": udp(sender, two, family, 53, which=0),
    }
    assert arrivals(sender, two, sent, ("to the first",)) == {"to the first"}


@each_family
@each_carriage
def test_both_the_subnet_and_the_interface_must_let_it_pass(
    cloud: Cloud, host: str, family: int
) -> None:
    sender, both = cloud[f"open{host[1]}"], cloud["both"]
    ports = (9, 10, 19, 21, 25, 29, 31, 20, 30)
    sent = {str(port): udp(sender, both, family, port) for port in ports}
    assert arrivals(sender, both, sent, ("20", "30")) == {"20", "30"}


@each_family
@each_carriage
def test_of_equal_priorities_deny_comes_first(cloud: Cloud, host: str, family: int) -> None:
    sender, receiver = cloud[f"open{host[1]}"], cloud["first-deny"]
    ports = (299, 305, 309, 311, 300, 304, 306, 308, 310)
    sent = {str(port): udp(sender, receiver, family, port) for port in ports}
    allowed = {"300", "304", "306", "308", "310"}
    assert arrivals(sender, receiver, sent, allowed) == allowed


@each_family
@each_carriage
def test_outbound_rules_hold_at_the_sender(cloud: Cloud, host: str, family: int) -> None:
    sender, other = cloud["outward"], cloud[f"open{host[1]}"]
    sent = {
        **everything(sender, other, family),
        **{str(port): udp(sender, other, family, port) for port in (52, 54, 400, 450, 53)},
    }
    del sent["udp"]
    assert arrivals(sender, other, sent, ("53",)) == {"53"}


@each_family
def test_a_broadcast_is_judged_by_each_receiver(cloud: Cloud, family: int) -> None:
    """By the rules of each of them, wherever it comes from."""
    group = ("255.255.255.255", 0xFFFFFFFFFFFF) if family == 4 else ("ff02::1", 0x333300000001)

    def to_all(sender: Nic, port: int) -> Frame:
        ends, ports = (sender.address(family), group[0]), (next(_source_ports), port)
        return lambda mark: packets.ethernet(
            Mac(group[1]), sender.mac, packets.udp(*ends, ports, mark)
        )

    for host in CARRIAGES:
        sender = cloud[f"open{host[1]}"]
        ports = (999, 305, 1001, 301)
        sent = {str(port): to_all(sender, port) for port in ports}
        expected = {"two": set(sent), "edges": {"1001"}, "first-deny": {"301"}}
        awaited = {cloud[name]: names for name, names in expected.items()}
        assert arrivals_at(awaited, sender.send, sent) == expected


# -- by the guests' own stacks ---------------------------------------------------------------------


@each_family
@each_carriage
def test_an_error_of_an_allowed_datagram_comes_back(cloud: Cloud, host: str, family: int) -> None:
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


def datagrams(nic: Nic, family: int) -> socket.socket:
    with entered(nic.guest.namespace):
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        return socket.socket(kind, socket.SOCK_DGRAM)


@each_family
@each_carriage
def test_fragments_are_judged_as_the_datagram_that_they_are_of(
    cloud: Cloud, host: str, family: int
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


def test_fragments_of_a_connection_stop_with_its_rule(cloud: Cloud) -> None:
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
    mark = b"isthmus-witness-%d." % next(_source_ports)
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


def leave_the_group(cloud: Cloud, *, back: bool) -> None:
    cloud.north.put_all(
        (f"/networkInterfaces/{plan.name}", clouds.interface(plan, tags=plan.tags if back else ()))
        for plan in PLANS
        if plan.tags
    )


def take_the_rule(cloud: Cloud, *, back: bool) -> None:
    reference = "/accessControlLists/friends"
    body = dict(LISTS)[reference]["properties"]
    rules = body["aclRules"]
    changed = {"properties": {**body, "aclRules": rules if back else rules[1:]}}
    cloud.north.put(reference, changed)


@pytest.mark.parametrize("take", [leave_the_group, take_the_rule])
def test_what_a_rule_allowed_ends_with_it_and_nothing_else_does(
    cloud: Cloud, take: Callable[..., None]
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


def test_connections_and_numbers_outlive_the_agent(cloud: Cloud) -> None:
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


def numbers_of(cloud: Cloud) -> Mapping[str, Mapping[str, object]]:
    found = {}
    for host in HOSTS:
        switch = cloud.lab.host(host.name).switch
        text = switch.vsctl("get", "bridge", "br-int", "external_ids:isthmus-numbers")
        # ovs-vsctl prints a string as JSON does; the value is JSON again.
        found[host.name] = json.loads(json.loads(text))
    return found
