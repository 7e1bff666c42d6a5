# SPDX-License-Identifier: Apache-2.0
"""Two routers with legs in one segment: each routes what is sent to its MAC address, by its own
legs alone, and what another host gets shows the router that routed it.

``red`` joins the segments a and b, ``edge`` b and c; they are one routing domain, with one space of
addresses. ``blue`` is another tenant with the same addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import msgspec
import pytest

from isthmus.addresses import parse_mac
from isthmus.policy.rows import Port, Router, RouterPort, Row, RuleSet, Segment, Subnet
from isthmus.policy.values import Action, LegKind
from isthmus.reach.trace import DELIVERED, Question, trace
from isthmus.reach.world import World
from tests.proof.checker import Checker
from tests.proof.clouds import ROUTER_MAC, Deployment, Place, allow, deny
from tests.proof.connections import Tuple
from tests.proof.frames import Frame
from tests.proof.probes import Probe
from tests.proof.verdicts import mac_number, numbered
from tests.switches.policy_rows import host_rows, provider_address
from tests.texts import applied, as_stored

EDGE_MAC = "02:00:00:00:ee:01"
SPACES = {"red": ("10.0.1.0/24", "10.0.2.0/24"), "edge": ("10.0.3.0/24",), "blue": ("10.0.0.0/16",)}
ROUTERS = {
    "red": Router(id="red", rdid=7, mac=ROUTER_MAC, prefixes=SPACES["red"]),
    "edge": Router(id="edge", rdid=3, mac=EDGE_MAC, prefixes=SPACES["edge"]),
    "blue": Router(id="blue", rdid=2, mac=ROUTER_MAC, prefixes=SPACES["blue"]),
}
LEGS = {
    ("red", "red/a"): "10.0.1.1/24",
    ("red", "red/b"): "10.0.2.1/24",
    ("edge", "red/b"): "10.0.2.2/24",
    ("edge", "red/c"): "10.0.3.1/24",
    ("blue", "blue/a"): "10.0.1.1/24",
    ("blue", "blue/c"): "10.0.3.1/24",
}
VSIDS = {"red/a": 5001, "red/b": 5002, "red/c": 5003, "blue/a": 5011, "blue/c": 5013}
HTTP, ECHO = (6, 40000, 80), (1, 8, 0)


def base(*routers: Router) -> Iterator[Row]:
    """`routers` take the place of those of their names."""
    yield from host_rows()
    yield from {**ROUTERS, **{one.id: one for one in routers}}.values()
    for name, vsid in VSIDS.items():
        number = 1 + "abc".index(name[-1])
        yield Segment(id=name, physical_network="underlay", vsid=vsid)
        yield Subnet(segment=name, prefix=f"10.0.{number}.0/24", gateway=f"10.0.{number}.1")
    for (router, segment), address in LEGS.items():
        yield RouterPort(router=router, segment=segment, addresses=(address,))


def port(segment: str, number: int, *rule_sets: str, **others: object) -> Port:
    address = f"10.0.{1 + 'abc'.index(segment[-1])}.{number}"
    return as_stored(
        Port,
        id=f"{segment}-{number}",
        segment=segment,
        mac=f"02:00:00:00:00:{number:02x}",
        addresses=(address,),
        dhcp_address=address,
        rule_sets=rule_sets,
        **others,
    )


A, B, C = port("red/a", 4), port("red/b", 5), port("red/c", 6)
OTHERS = port("blue/a", 4), port("blue/c", 6)
RULED = port("red/b", 7, "interface * s", groups=("g",))
WIDE = port("red/b", 8, pairs=("10.0.2.192/26 02:00:00:00:00:99",))
PORTS = (A, B, C, *OTHERS, RULED, WIDE)
RULES = (
    RuleSet(id="s", in_default=Action.DENY, out_default=Action.DENY),
    allow("s", "in", 100, source="VIRTUALNETWORK"),
    allow("s", "out", 100, destination="VIRTUALNETWORK"),
    deny("s", "in", 50, source="10.0.1.0/24", protocol=6, destination_ports="81-81"),
)
ALONE, APART = ("h1",), ("h1", "h2", "h1", "h2", "h1", "h1", "h2")


def cloud(hosts: tuple[str, ...], *routers: Router) -> Deployment:
    places = tuple(
        Place(one.id, hosts[number % len(hosts)], number + 1) for number, one in enumerate(PORTS)
    )
    return Deployment(PORTS, RULES, places, tuple(base(*routers)))


def checker(found: Deployment) -> Checker:
    return Checker(found.network(), found.reference())


def frame(sender: Port, mac: str, target: str, service: tuple[int, int, int] = HTTP) -> Frame:
    source, (_, destination) = numbered(sender.addresses[0])[1], numbered(target)
    its = Tuple(4, source, destination, *service)
    return Frame(mac_number(sender.mac), parse_mac(mac), its)


def targets() -> list[str]:
    gateways = [text.partition("/")[0] for text in LEGS.values()]
    return sorted({*gateways, "10.0.2.200", "10.0.9.9", *(one.addresses[0] for one in PORTS)})


def probes() -> Iterator[Probe]:
    """Whatever guests send, to whatever MAC address; and what comes in tunnels."""
    macs = (ROUTER_MAC, EDGE_MAC, *sorted({one.mac for one in PORTS}))
    for sender, mac, target, service in product(PORTS, macs, targets(), (HTTP, ECHO)):
        yield Probe(frame(sender, mac, target, service), port=sender.id)
    shown = (ROUTER_MAC, EDGE_MAC, "02:00:00:00:77:77")
    for sender, receiver, mac, vsid in product(PORTS, PORTS, shown, VSIDS.values()):
        forged = frame(sender, receiver.mac, receiver.addresses[0])
        its = forged._replace(eth_src=parse_mac(mac))
        for came_from in ("h1", "h2", "h3"):
            at = provider_address(came_from)
            yield Probe(its, host="h2", came_from=at, vsid=vsid)


@pytest.mark.parametrize("hosts", [ALONE, APART])
@pytest.mark.parametrize(
    "routers",
    [
        (),
        (msgspec.structs.replace(ROUTERS["red"], rdid=1),),
        (msgspec.structs.replace(ROUTERS["edge"], mac=ROUTER_MAC),),
    ],
    ids=("edge first", "red first", "one MAC address"),
)
def test_flows_do_what_policy_says(hosts: tuple[str, ...], routers: tuple[Router, ...]) -> None:
    assert list(checker(cloud(hosts, *routers)).disagreements(probes())) == []


@pytest.mark.parametrize("hosts", [ALONE, APART])
def test_the_router_that_is_addressed_routes_and_no_other(hosts: tuple[str, ...]) -> None:
    found = checker(cloud(hosts))

    def got(sender: Port, mac: str, target: Port) -> list[tuple[str, int]]:
        found.network.forget()
        its = frame(sender, mac, target.addresses[0])
        return [(one.port, one.frame.eth_src) for one in found.network.send(sender.id, its)]

    assert got(A, ROUTER_MAC, B) == [(B.id, parse_mac(ROUTER_MAC))]
    assert got(C, EDGE_MAC, B) == [(B.id, parse_mac(EDGE_MAC))]
    assert got(B, EDGE_MAC, C) == [(C.id, parse_mac(EDGE_MAC))]
    assert got(B, ROUTER_MAC, C) == got(B, EDGE_MAC, A) == got(A, EDGE_MAC, C) == []
    assert got(A, ROUTER_MAC, C) == []


@pytest.mark.parametrize("hosts", [ALONE, APART])
@pytest.mark.parametrize("routed_by", ["red", "edge"])
def test_a_trace_agrees_with_the_flows(hosts: tuple[str, ...], routed_by: str) -> None:
    """What guests of b send leaves it by the gateway that they are told."""
    deployment = cloud(hosts)
    gateway = LEGS[routed_by, "red/b"].partition("/")[0]
    told = Subnet(segment="red/b", prefix="10.0.2.0/24", gateway=gateway)
    rows = [row for row in deployment.rows() if row.key != told.key or not isinstance(row, Subnet)]
    world = World([*rows, told])
    found = checker(deployment)
    mac_of = {"red/a": ROUTER_MAC, "red/b": ROUTERS[routed_by].mac, "red/c": EDGE_MAC}
    for sender, target in product((A, B, C, RULED), (A, B, C, RULED)):
        if sender is target:
            continue
        mac = target.mac if sender.segment == target.segment else mac_of[sender.segment]
        found.network.forget()
        sent = found.network.send(sender.id, frame(sender, mac, target.addresses[0]))
        answer = trace(world, Question(sender.id, target.id, 6, 80, 40000))
        expected = [target.id] if answer.verdict == DELIVERED else []
        assert [one.port for one in sent] == expected, answer
    for sender, (router, segment) in product((A, B, C), LEGS):
        address = LEGS[router, segment].partition("/")[0]
        if router == "blue":
            continue
        on_link = router if segment == sender.segment else ""
        mac = ROUTERS[on_link].mac if on_link else mac_of[sender.segment]
        found.network.forget()
        sent = found.network.send(sender.id, frame(sender, mac, address, ECHO))
        answer = trace(world, Question(sender.id, address))
        assert [one.port for one in sent] == [sender.id] * (answer.verdict == DELIVERED), answer


def test_a_trace_says_which_router_routes() -> None:
    world = World(cloud(APART).rows())
    texts = [step.text for step in trace(world, Question(C.id, B.id, 6, 80)).steps]
    assert any("routed to red/b by edge" in text for text in texts)
    answers = trace(world, Question(B.id, "10.0.2.2")).last.text
    assert answers == "the router edge answers at 10.0.2.2"


GREEN = Port(
    id="green-4",
    segment="green/a",
    mac="02:00:00:00:00:44",
    addresses=("10.8.1.4",),
    dhcp_address="10.8.1.4",
)


@pytest.mark.parametrize("hosts", [ALONE, APART])
def test_a_peering_is_that_of_the_router_which_has_it(hosts: tuple[str, ...]) -> None:
    """`green` and `red` are peered: what b sends by red passes, and by edge not."""
    rows: list[Row] = [
        *base(),
        Segment(id="green/a", physical_network="underlay", vsid=5021),
        Router(id="green", rdid=4, mac=ROUTER_MAC),
        RouterPort(router="green", segment="green/a", addresses=("10.8.1.1/24",)),
        RouterPort(router="red", segment="green/a", addresses=("10.8.1.1/24",), kind=LegKind.PEER),
        *(
            RouterPort(router="green", segment=name, addresses=(address,), kind=LegKind.PEER)
            for (router, name), address in LEGS.items()
            if router == "red"
        ),
    ]
    places = Place(B.id, hosts[0], 1), Place(GREEN.id, hosts[-1], 2)
    deployment = Deployment((B, GREEN), (), places, tuple(rows))
    network, world = deployment.network(), World(deployment.rows())

    def got(sender: Port, mac: str, target: Port) -> list[str]:
        sent = network.send(sender.id, frame(sender, mac, target.addresses[0]))
        return [one.port for one in sent]

    assert got(B, ROUTER_MAC, GREEN) == [GREEN.id]
    assert got(GREEN, ROUTER_MAC, B) == [B.id]
    assert got(B, EDGE_MAC, GREEN) == []
    assert trace(world, Question(B.id, GREEN.id, 6, 80)).verdict == DELIVERED
    assert trace(world, Question(GREEN.id, B.id, 6, 80)).verdict == DELIVERED


def test_the_space_of_a_network_in_rules_is_that_of_all_routers_of_the_domain() -> None:
    """VIRTUALNETWORK is what all routers of the domain have."""
    ruled = msgspec.structs.replace(B, rule_sets=applied("interface * s"))
    deployment = cloud(APART).with_port(ruled)
    found = checker(deployment)
    for sender, mac in ((A, ROUTER_MAC), (C, EDGE_MAC)):
        its = Probe(frame(sender, mac, B.addresses[0]), port=sender.id)
        assert found.compare(its) is None
        assert [one.port for one in found.got(its)] == [B.id]
