# SPDX-License-Identifier: Apache-2.0
"""Rules, with packets: who may speak to whom, on one host and across hosts, in both families.

Most guests are on h1, under one access control list each. What is forbidden is sent before
something that is allowed, and only when the same capture has seen that one it counts as stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus.addresses import Mac
from isthmus_lab import packets
from isthmus_lab.rawsocket import Capture
from tests.system.cloud import CARRIAGES, Frame, Nic, RunningCloud, arrivals, arrivals_at, to, until
from tests.system.ruled import (
    EXPERIMENT,
    ICMP,
    UNKNOWN,
    each_carriage,
    each_family,
    everything,
    icmp,
    protocol,
    ruled_cloud,
    sctp,
    source_ports,
    tcp,
    udp,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with ruled_cloud() as made:
        yield made


@each_family
@each_carriage
def test_who_denies_by_default_hears_only_answers(
    cloud: RunningCloud, host: str, family: int
) -> None:
    sender, shut = cloud[f"open{host[1]}"], cloud["shut"]
    asked = next(source_ports), 9
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
    cloud: RunningCloud, host: str, family: int
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
def test_sctp_is_allowed_by_port(cloud: RunningCloud, host: str, family: int) -> None:
    sender, edges = cloud[f"open{host[1]}"], cloud["edges"]
    mine = next(source_ports)
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
def test_sctp_is_denied_by_port(cloud: RunningCloud, host: str, family: int) -> None:
    sender, receiver = cloud[f"open{host[1]}"], cloud["wide"]
    sent = {str(port): sctp(sender, receiver, family, port) for port in (6000, 6001, 5999, 6002)}
    assert arrivals(sender, receiver, sent, ("5999", "6002")) == {"5999", "6002"}


@each_family
@each_carriage
def test_any_protocol_with_ports_allows_tcp_and_udp_with_them_and_nothing_else(
    cloud: RunningCloud, host: str, family: int
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
    cloud: RunningCloud, host: str, family: int
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
def test_a_group_is_heard_and_others_are_not(cloud: RunningCloud, host: str, family: int) -> None:
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
    cloud: RunningCloud, host: str, family: int
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
    cloud: RunningCloud, host: str, family: int
) -> None:
    sender, both = cloud[f"open{host[1]}"], cloud["both"]
    ports = (9, 10, 19, 21, 25, 29, 31, 20, 30)
    sent = {str(port): udp(sender, both, family, port) for port in ports}
    assert arrivals(sender, both, sent, ("20", "30")) == {"20", "30"}


@each_family
@each_carriage
def test_of_equal_priorities_deny_comes_first(cloud: RunningCloud, host: str, family: int) -> None:
    sender, receiver = cloud[f"open{host[1]}"], cloud["first-deny"]
    ports = (299, 305, 309, 311, 300, 304, 306, 308, 310)
    sent = {str(port): udp(sender, receiver, family, port) for port in ports}
    allowed = {"300", "304", "306", "308", "310"}
    assert arrivals(sender, receiver, sent, allowed) == allowed


@each_family
@each_carriage
def test_outbound_rules_hold_at_the_sender(cloud: RunningCloud, host: str, family: int) -> None:
    sender, other = cloud["outward"], cloud[f"open{host[1]}"]
    sent = {
        **everything(sender, other, family),
        **{str(port): udp(sender, other, family, port) for port in (52, 54, 400, 450, 53)},
    }
    del sent["udp"]
    assert arrivals(sender, other, sent, ("53",)) == {"53"}


@each_family
def test_a_broadcast_is_judged_by_each_receiver(cloud: RunningCloud, family: int) -> None:
    """By the rules of each of them, wherever it comes from."""
    group = ("255.255.255.255", 0xFFFFFFFFFFFF) if family == 4 else ("ff02::1", 0x333300000001)

    def to_all(sender: Nic, port: int) -> Frame:
        ends, ports = (sender.address(family), group[0]), (next(source_ports), port)
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
