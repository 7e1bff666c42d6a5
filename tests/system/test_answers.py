# SPDX-License-Identifier: Apache-2.0
"""Answers, with packets: which come back under stateless rules, alone and beside others, and that
an answer goes to who has asked.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from isthmus.wire.ethernet import BROADCAST
from isthmus_lab import packets
from isthmus_lab.namespaces import entered
from tests.system import cloud as clouds
from tests.system.cloud import (
    CARRIAGES,
    FAMILIES,
    LONGEST_S,
    Frame,
    Nic,
    Plan,
    RunningCloud,
    access_control_list,
    arrivals,
    arrivals_at,
    rule,
    to,
    virtual_network,
)

pytestmark = pytest.mark.system

LISTS = (
    access_control_list("shut"),
    access_control_list(
        "plain",
        rule("UDP", "600", stateless=True),
        rule("UDP", "601", stateless=True),
        rule("UDP", sourcePortRange="601", type="Outbound", stateless=True),
        outbound="Deny",
    ),
    access_control_list(
        "mixed",
        rule("UDP", type="Outbound", stateless=True),
        rule("UDP", sourcePortRange="700"),
        rule("TCP", type="Outbound", stateless=True),
        rule("TCP", sourcePortRange="700"),
        rule("TCP", sourcePortRange="710", stateless=True),
        outbound="Deny",
    ),
    access_control_list("outward", rule("UDP", type="Outbound", stateless=True)),
    access_control_list("served", rule("UDP", "5353")),
    access_control_list("watched", rule("132", "6000", action="Deny"), inbound="Permit"),
)

PLANS = (
    *(Plan(f"free{host[1]}", host, ((10 + int(host[1]), ""),)) for host in CARRIAGES),
    *(Plan(f"mixed{host[1]}", host, ((20 + int(host[1]), "mixed"),)) for host in CARRIAGES),
    *(Plan(f"outward{host[1]}", host, ((30 + int(host[1]), "outward"),)) for host in CARRIAGES),
    Plan("plain", "h1", ((40, "plain"),)),
    Plan("shut", "h1", ((41, "shut"),)),
    Plan("watched", "h1", ((42, "watched"),)),
    Plan("served", "h1", ((43, "served"),)),
)

_source_ports = count(20000)

each_carriage = pytest.mark.parametrize("host", CARRIAGES, ids=CARRIAGES.__getitem__)
each_family = pytest.mark.parametrize("family", FAMILIES, ids="IPv{}".format)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with clouds.running_cloud() as made:
        made.furnish(*LISTS, virtual_network("red"), plans=PLANS)
        for nic in made.nics.values():
            nic.use_addresses()
        yield made


def asked(asking: Nic, answering: Nic, family: int, ports: tuple[int, int]) -> Frame:
    ends = asking.address(family), answering.address(family)
    return lambda mark: to(asking, answering, packets.udp(*ends, ports, mark))


def answered(asking: Nic, answering: Nic, family: int, ports: tuple[int, int]) -> Frame:
    return asked(answering, asking, family, ports[::-1])


@each_family
@each_carriage
def test_what_a_stateless_rule_allows_is_answered_by_another(
    cloud: RunningCloud, host: str, family: int
) -> None:
    asking, plain = cloud[f"free{host[1]}"], cloud["plain"]
    ports = {port: (next(_source_ports), port) for port in (600, 601)}
    questions = {str(port): asked(asking, plain, family, pair) for port, pair in ports.items()}
    assert arrivals(asking, plain, questions, questions) == set(questions)
    answers = {str(port): answered(asking, plain, family, pair) for port, pair in ports.items()}
    assert arrivals(plain, asking, answers, ("601",)) == {"601"}


@each_family
@each_carriage
@pytest.mark.parametrize("answering", ["plain", "watched"])
def test_where_all_may_leave_a_stateless_rule_still_brings_no_answer(
    cloud: RunningCloud, host: str, family: int, answering: str
) -> None:
    asking, answerer = cloud[f"outward{host[1]}"], cloud[answering]
    ports = next(_source_ports), 601
    assert arrivals(
        asking, answerer, {"question": asked(asking, answerer, family, ports)}, ("question",)
    )
    free = cloud[f"free{host[1]}"]
    mine = next(_source_ports), 601
    assert arrivals(free, answerer, {"too": asked(free, answerer, family, mine)}, ("too",))
    sent = {
        "answer": answered(asking, answerer, family, ports),
        "another": answered(free, answerer, family, mine),
    }
    found = arrivals_at({asking: (), free: ("another",)}, answerer.send, sent)
    assert found == {asking.plan.name: set(), free.plan.name: {"another"}}


@each_family
@each_carriage
def test_an_answer_passes_by_a_rule_of_connections_wherever_the_other_end_is(
    cloud: RunningCloud, host: str, family: int
) -> None:
    """The asking end follows nothing of what it sends; the answering end does."""
    asking, answering = cloud[f"mixed{host[1]}"], cloud["watched"]
    ports = {port: (next(_source_ports), port) for port in (701, 700)}
    questions = {str(port): asked(asking, answering, family, pair) for port, pair in ports.items()}
    assert arrivals(asking, answering, questions, questions) == set(questions)
    answers = {str(port): answered(asking, answering, family, pair) for port, pair in ports.items()}
    assert arrivals(answering, asking, answers, ("700",)) == {"700"}


@each_family
@each_carriage
def test_a_handshake_is_no_connection_of_the_answering_end(
    cloud: RunningCloud, host: str, family: int
) -> None:
    """By the guests' own stacks: a connection that no stateless rule lets back is not made, and one
    that a stateless rule does is."""
    asking, answering = cloud[f"mixed{host[1]}"], cloud["watched"]
    with ExitStack() as stack:
        for port in (700, 710):
            listening = stack.enter_context(stream(answering, family))
            listening.bind((answering.address(family), port))
            listening.listen()
        forbidden, allowed = (stack.enter_context(stream(asking, family)) for _ in range(2))
        forbidden.setblocking(False)
        forbidden.connect_ex((answering.address(family), 700))
        allowed.settimeout(LONGEST_S)
        allowed.connect((answering.address(family), 710))
        # Its first attempt came before, and the next only a second later.
        assert forbidden.connect_ex((answering.address(family), 700)) == errno.EALREADY


def stream(nic: Nic, family: int) -> socket.socket:
    with entered(nic.guest.namespace):
        return socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)


@each_family
@each_carriage
def test_an_answer_is_for_who_has_asked_whatever_its_mac_address(
    cloud: RunningCloud, host: str, family: int
) -> None:
    """A guest and an accomplice would get past the rules of a neighbour to whom nobody may speak:
    the answer to one is led to the MAC address of the other."""
    accomplice, guest, victim = cloud[f"free{host[1]}"], cloud["watched"], cloud["shut"]
    ports = next(_source_ports), 5353
    question = asked(accomplice, guest, family, ports)
    assert arrivals(accomplice, guest, {"question": question}, ("question",))
    ends = guest.address(family), accomplice.address(family)

    def led(mark: bytes) -> bytes:
        packet = packets.udp(*ends, ports[::-1], mark)
        return to(guest, victim, packet, destination=victim.mac)

    mine = next(_source_ports), 5353
    assert arrivals(victim, guest, {"own": asked(victim, guest, family, mine)}, ("own",))
    sent = {
        "led": led,
        "to who asked": answered(accomplice, guest, family, ports),
        "to the victim itself": answered(victim, guest, family, mine),
    }
    awaited = {victim: ("to the victim itself",), accomplice: ("to who asked",)}
    found = arrivals_at(awaited, guest.send, sent)
    assert found == {
        victim.plan.name: {"to the victim itself"},
        accomplice.plan.name: {"to who asked"},
    }


@each_family
@each_carriage
def test_an_answer_that_is_led_to_all_comes_to_nobody(
    cloud: RunningCloud, host: str, family: int
) -> None:
    """The neighbour's rules would let the question in, and the answer is judged by it."""
    accomplice, guest, victim = cloud[f"free{host[1]}"], cloud["watched"], cloud["served"]
    ports = next(_source_ports), 5353
    question = asked(accomplice, guest, family, ports)
    assert arrivals(accomplice, guest, {"question": question}, ("question",))
    ends = guest.address(family), accomplice.address(family)

    def led(mark: bytes) -> bytes:
        return packets.ethernet(BROADCAST, guest.mac, packets.udp(*ends, ports[::-1], mark))

    sent = {
        "led": led,
        "to who asked": answered(accomplice, guest, family, ports),
        "a question": asked(guest, victim, family, (next(_source_ports), 5353)),
    }
    awaited = {victim: ("a question",), accomplice: ("to who asked",)}
    found = arrivals_at(awaited, guest.send, sent)
    assert found == {
        victim.plan.name: {"a question"},
        accomplice.plan.name: {"to who asked"},
    }


@each_family
def test_what_a_guest_sends_to_itself_makes_no_answer_of_what_it_is_asked(
    cloud: RunningCloud, family: int
) -> None:
    """It goes to nobody, so that the neighbour that it is addressed to may still ask."""
    guest, victim, free = cloud["watched"], cloud["shut"], cloud["free1"]
    ports = next(_source_ports), 5353
    ends = guest.address(family), victim.address(family)

    def to_itself(mark: bytes) -> bytes:
        packet = packets.udp(*ends, ports[::-1], mark)
        return to(guest, victim, packet, destination=guest.mac)

    sent = {
        "to itself": to_itself,
        "after it": asked(guest, free, family, (next(_source_ports), 9)),
    }
    assert arrivals(guest, free, sent, ("after it",)) == {"after it"}
    question = {"question": asked(victim, guest, family, ports)}
    assert arrivals(victim, guest, question, ("question",)) == {"question"}
