# SPDX-License-Identifier: Apache-2.0
"""Where a packet ends, and the sentence that says why."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest

from isthmus.errors import Invalid, NotFound
from isthmus.policy.rows import (
    HostStatus,
    LearnedAddress,
    Port,
    PortStatus,
    RouterPort,
    Row,
    Segment,
    Subnet,
)
from isthmus.policy.values import Action, LegKind, PortState, Preference
from isthmus.reach.rulings import ICMP, ICMPV6
from isthmus.reach.trace import DELIVERED, DROPPED, Question, Trace, trace
from isthmus.reach.world import World
from isthmus.wire.encapsulations import Encapsulation
from tests.reach.cloud import port, red, rule, rule_set, world
from tests.switches.policy_rows import claim
from tests.texts import applied, pairs

WEB, DB = port("a", 4, six=True), port("b", 5, six=True)
HERE, THERE = claim(WEB, "h1"), claim(DB, "h2")
TCP_80 = Question(WEB.id, DB.id, 6, 80, 49152)


def traced(question: Question = TCP_80, *rows: Row) -> Trace:
    return trace(world(WEB, DB, HERE, THERE, *rows), question)


def under(of: Port, *rules: str) -> Port:
    """Rows that come later replace those of the same key."""
    return msgspec.structs.replace(of, rule_sets=applied(*rules))


def texts(found: Trace) -> list[str]:
    return [f"{step.where}: {step.text}" for step in found.steps]


def ending(found: Trace) -> tuple[str, str, str]:
    return found.verdict, found.last.reason, found.last.origin


def test_between_hosts_by_vxlan_where_both_prefer_it() -> None:
    found = traced()
    assert texts(found) == [
        "red-a-4: sends from 10.0.1.4, on h1",
        "red-a-4: 10.0.2.5 is red-b-5, routed to red/b",
        "red-a-4: no outbound rules hold for 10.0.1.4",
        "h1: by VXLAN from 192.0.2.1 to 192.0.2.2 (h2)",
        "red-b-5: no inbound rules hold for 10.0.2.5",
        "red-b-5: receives it as 10.0.2.5, on h2",
    ]
    assert ending(found) == (DELIVERED, "", "")
    assert (found.sender, found.receiver, found.hosts) == (WEB.id, DB.id, ("h1", "h2"))


def test_between_hosts_by_nvgre_where_one_speaks_nothing_else() -> None:
    rows = [row for row in red() if row.key != "h2"]
    found = trace(World((*rows, WEB, DB, HERE, claim(DB, "h3"))), TCP_80)
    assert "h1: by NVGRE from 192.0.2.1 to 192.0.2.3 (h3)" in texts(found)
    assert found.verdict == DELIVERED


def test_on_one_host_it_stays_there() -> None:
    found = trace(world(WEB, DB, HERE, claim(DB, "h1")), TCP_80)
    assert "h1: stays on the host" in texts(found)
    assert (found.verdict, found.hosts) == (DELIVERED, ("h1",))


def test_on_one_segment_it_is_not_routed() -> None:
    near = port("a", 6)
    found = traced(Question(WEB.id, near.id, 17, 53), near, claim(near, "h1"))
    assert "red-a-4: 10.0.1.6 is red-a-6, on the same segment" in texts(found)
    assert found.verdict == DELIVERED


def test_an_echo_request_is_asked_where_no_protocol_is_given_and_ipv6_on_demand() -> None:
    four, six = traced(Question(WEB.id, DB.id)), traced(Question(WEB.id, DB.id, family=6))
    assert (four.packet.protocol, four.packet.source_port) == (ICMP, 8)
    assert (six.packet.protocol, six.packet.source_port) == (ICMPV6, 128)
    assert str(six.packet.destination) == "fd00:2::5"
    assert four.verdict == six.verdict == DELIVERED


def test_where_only_ipv6_is_common_to_both_it_is_taken() -> None:
    only_six = msgspec.structs.replace(port("b", 7), addresses=("fd00:2::7",), dhcp_address="")
    found = traced(Question(WEB.id, only_six.id, 6, 80), only_six, claim(only_six, "h2"))
    assert (str(found.packet.source), str(found.packet.destination)) == ("fd00:1::4", "fd00:2::7")


def test_the_router_answers_echo_requests_and_nothing_else() -> None:
    for gateway in ("10.0.1.1", "10.0.2.1", "fd00:1::1"):
        found = traced(Question(WEB.id, gateway))
        assert found.last.text == f"the router answers at {gateway}"
        assert (found.verdict, found.receiver, found.hosts) == (DELIVERED, "", ("h1",))
    found = traced(Question(WEB.id, "10.0.1.1", 6, 80))
    assert found.last.text == "10.0.1.1 is the router, which answers echo requests only"
    assert found.verdict == DROPPED


def dhcp(to: str, *rows: Row, source_port: int = 68) -> Trace:
    return traced(Question(WEB.id, to, 17, 67, source_port), *rows)


def test_the_host_answers_what_is_for_its_dhcp_and_nothing_else() -> None:
    shut = rule_set("web", "deny", "deny")
    web = under(WEB, "interface * web")
    for to in ("10.0.1.1", "255.255.255.255"):
        for rows in ((), (web, shut)):
            found = dhcp(to, *rows)
            assert (found.verdict, found.receiver, found.hosts) == (DELIVERED, "", ("h1",))
            assert found.last.text == "h1 answers it by DHCP, as 10.0.1.1"
    # Its server is that of its own subnet, and a client sends from port 68.
    assert dhcp("10.0.2.1").last.reason == "no port has that address"
    assert dhcp("10.0.1.1", source_port=67).last.reason == "no port has that address"
    # Another guest may be a server, too: what is for it goes there, under rules.
    assert dhcp("10.0.2.5").receiver == DB.id
    assert ending(dhcp("10.0.2.5", web, shut))[:2] == (DROPPED, "default")


def test_who_has_no_address_by_dhcp_is_not_answered() -> None:
    none = msgspec.structs.replace(WEB, dhcp_address="")
    assert dhcp("10.0.1.1", none).last.reason == "no port has that address"
    unserved = Subnet(segment="red/a", prefix="10.0.1.0/24", gateway="10.0.1.1", dhcp=False)
    assert dhcp("10.0.1.1", unserved).last.reason == "no port has that address"


@pytest.mark.parametrize("to", ["255.255.255.255", "224.0.0.1", "ff02::1"])
def test_what_is_for_many_is_not_followed(to: str) -> None:
    with pytest.raises(Invalid, match="name a port or its address"):
        traced(Question(WEB.id, to, 17, 53))


def test_rules_hold_on_the_way_to_the_router() -> None:
    denied = rule(protocol=-1, direction="out", destination="AZURELOADBALANCER")
    web = under(WEB, "interface * web")
    found = traced(Question(WEB.id, "10.0.1.1"), web, rule_set(), denied)
    assert ending(found) == (DROPPED, "rule", denied.origin)


def test_without_a_route_the_network_and_its_space_are_named() -> None:
    found = traced(Question(WEB.id, "198.51.100.1"))
    assert found.last.text == (
        "no route to 198.51.100.1: /virtualNetworks/red has 10.0.0.0/16, fd00::/16"
    )
    assert ending(found) == (DROPPED, "no route", "/virtualNetworks/red")


def test_an_address_that_nobody_has() -> None:
    found = traced(Question(WEB.id, "10.0.2.99"))
    assert found.last.text == "10.0.2.99 is routed to red/b, but no port has that address"
    assert ending(found) == (DROPPED, "no port has that address", "")
    found = traced(Question(WEB.id, "10.0.1.99"))
    assert found.last.text == "10.0.1.99 is on the same segment, but no port has that address"


def test_a_segment_without_a_router_reaches_itself_alone() -> None:
    rows: tuple[Row, ...] = (
        Segment(id="lone", physical_network="underlay", vsid=9000),
        Subnet(segment="lone", prefix="10.0.1.0/24"),
        *(msgspec.structs.replace(port("a", n), id=f"lone-{n}", segment="lone") for n in (4, 5)),
    )
    claims = [claim(row, "h1") for row in rows if isinstance(row, Port)]
    inside = traced(Question("lone-4", "lone-5"), *rows, *claims)
    assert (inside.verdict, inside.receiver) == (DELIVERED, "lone-5")
    outside = traced(Question("lone-4", "10.0.2.5"), *rows, *claims)
    assert outside.last.text == "no route to 10.0.2.5: lone has its segment"
    assert outside.verdict == DROPPED


def test_an_address_pair_leads_to_the_port_that_has_announced_it_last() -> None:
    shared = pairs("10.0.2.200/32 02:00:01:02:00:05")
    owner = msgspec.structs.replace(DB, pairs=shared)
    other = msgspec.structs.replace(port("b", 6), pairs=shared)
    announced = [
        LearnedAddress(
            address="10.0.2.200",
            port=one.id,
            host=host,
            segment="red/b",
            mac=one.mac,
            sequence=sequence,
        )
        for one, host, sequence in ((owner, "h2", 1), (other, "h3", 2), (DB, "h9", 9))
    ]
    rows = (owner, other, claim(other, "h3"), *announced)
    assert traced(Question(WEB.id, "10.0.2.200"), *rows).receiver == other.id
    assert traced(Question(WEB.id, "10.0.2.200"), owner, announced[0]).receiver == DB.id


def test_a_port_that_no_host_has_neither_sends_nor_receives() -> None:
    found = trace(world(WEB, DB, THERE), TCP_80)
    assert texts(found) == [
        "red-a-4: no host has it: plug an interface with external_ids:iface-id=red-a-4"
    ]
    assert ending(found) == (DROPPED, "port down", WEB.origin)
    assert (found.receiver, found.hosts) == ("", ())
    found = trace(world(WEB, DB, HERE), TCP_80)
    assert found.last.where == DB.id
    assert ending(found) == (DROPPED, "port down", DB.origin)


def test_a_claim_that_is_not_believed_is_named() -> None:
    bound = msgspec.structs.replace(DB, hosts=("h3",))
    found = trace(world(WEB, bound, HERE, THERE), TCP_80)
    assert found.last.text == "is on h2, which may not have it or is no server"


@pytest.mark.parametrize("wrong", [WEB, DB])
def test_what_a_host_says_is_wrong_with_a_port_drops_at_either_end(wrong: Port) -> None:
    host = "h1" if wrong is WEB else "h2"
    status = PortStatus(
        port=wrong.id,
        host=host,
        segment=wrong.segment,
        state=PortState.ERROR,
        code="PortBlocked",
        detail="the switch refuses a flow",
        closed=("port",),
    )
    found = traced(TCP_80, status)
    assert (found.last.where, found.last.text) == (
        wrong.id,
        f"{host} says: the switch refuses a flow",
    )
    assert ending(found) == (DROPPED, "PortBlocked", wrong.origin)
    elsewhere = msgspec.structs.replace(status, host="h3")
    assert traced(TCP_80, elsewhere).verdict == DELIVERED
    partly = traced(TCP_80, msgspec.structs.replace(status, closed=()))
    assert partly.verdict == DELIVERED
    (step,) = (step for step in partly.steps if step.reason)
    assert (step.where, step.text, step.passes) == (wrong.id, found.last.text, True)


def test_hosts_without_an_encapsulation_in_common_are_told_apart_by_what_they_speak() -> None:
    only = [
        HostStatus(
            host=host,
            provider_addresses=(IPv4Address(f"192.0.2.{host[1:]}"),),
            encapsulations=Preference((speaks,)),
        )
        for host, speaks in (("h1", Encapsulation.VXLAN), ("h2", Encapsulation.NVGRE))
    ]
    found = traced(TCP_80, *only)
    assert found.last.text == ("h1 speaks vxlan and h2 nvgre: configure an encapsulation in common")
    assert ending(found) == (DROPPED, "no encapsulation in common", "")
    silent = traced(TCP_80, msgspec.structs.replace(only[1], encapsulations=Preference(())))
    assert "h2 nothing" in silent.last.text


def test_a_rule_that_denies_is_named_with_priority_set_level_and_origin() -> None:
    denied = rule("no-http", ports="80-80", priority=120)
    db = under(DB, "subnet * web")
    found = traced(TCP_80, db, rule_set(), denied)
    assert found.last.text == (
        "inbound: denied by rule no-http (priority 120) of web, of its subnet"
    )
    assert ending(found) == (DROPPED, "rule", "/accessControlLists/web/aclRules/no-http")
    assert found.receiver == DB.id
    assert traced(TCP_80._replace(destination_port=443), db, rule_set(), denied).verdict == (
        DELIVERED
    )


def test_a_rule_that_allows_is_named_at_both_ends() -> None:
    ways = [rule(f"{way}-any", "allow", direction=way) for way in ("in", "out")]
    sets = rule_set("web", "deny", "deny")
    rows = (under(WEB, "interface * web"), under(DB, "interface * web"), sets, *ways)
    found = traced(TCP_80, *rows)
    assert found.verdict == DELIVERED
    assert [text for text in texts(found) if "allowed by" in text] == [
        "red-a-4: outbound: allowed by rule out-any (priority 100) of web, of its interface",
        "red-b-5: inbound: allowed by rule in-any (priority 100) of web, of its interface",
    ]


def test_a_default_that_denies_is_that_of_the_set_that_does() -> None:
    web = under(WEB, "interface * open", "interface * shut")
    found = traced(TCP_80, web, rule_set("open"), rule_set("shut", out_default=Action.DENY))
    assert found.last.text == (
        "outbound: denied by default of open, shut, of its interface: no rule of it speaks of this"
    )
    assert ending(found) == (DROPPED, "default", "/accessControlLists/shut")


def test_a_rule_set_that_is_not_known_is_named() -> None:
    found = traced(TCP_80, under(DB, "interface * web", "interface * gone"), rule_set())
    assert found.last.text == "inbound: gone of its interface is not known"
    assert ending(found) == (DROPPED, "unknown rules", "")


def _stateless(*ways: str) -> tuple[Row, ...]:
    return tuple(
        rule(way, "allow", direction=way, of="plain", protocol=-1, stateless=True) for way in ways
    )


def test_what_a_stateless_rule_lets_pass_is_delivered_and_its_answer_needs_a_rule_too() -> None:
    sets, db = rule_set("plain", "deny", "deny"), under(DB, "interface * plain")
    lost = traced(TCP_80, db, sets, *_stateless("in"))
    assert ending(lost) == (DELIVERED, "answer dropped", "")
    assert texts(lost)[-1] == (
        "red-b-5: the answer is dropped: a stateless rule let the packet pass, and none its answer"
    )
    both = traced(TCP_80, db, sets, *_stateless("in", "out"))
    assert ending(both) == (DELIVERED, "", "")
    assert both.last.text == "the answer is allowed by a stateless rule too"


@pytest.mark.parametrize(
    ("asked", "reason", "text"),
    [
        (TCP_80, "answer dropped", "the answer is dropped: a stateless rule let the packet pass, "),
        (TCP_80._replace(protocol=17), "", "the answer is allowed by a rule of its own"),
    ],
)
def test_a_stateful_rule_allows_an_answer_that_can_begin_a_connection(
    asked: Question, reason: str, text: str
) -> None:
    """A datagram is one; the second step of a handshake is not."""
    sets, db = rule_set("plain", "deny", "deny"), under(DB, "interface * plain")
    way_back = rule("back", "allow", direction="out", of="plain", protocol=-1)
    found = traced(asked, db, sets, way_back, *_stateless("in"))
    assert ending(found) == (DELIVERED, reason, "")
    assert found.last.text.startswith(text)


def test_the_answer_is_asked_for_at_both_ends_of_stateless_rules() -> None:
    rows = (
        *(rule_set("plain", "deny", "deny"), rule_set("half", "deny", "deny")),
        *(under(WEB, "interface * plain"), *_stateless("in", "out")),
        *(under(DB, "interface * half"), rule("i", "allow", of="half", stateless=True)),
    )
    found = traced(TCP_80, *rows)
    assert [(step.where, step.reason) for step in found.steps[-2:]] == [
        (DB.id, "answer dropped"),
        (WEB.id, ""),
    ]


def test_ports_are_found_by_name_in_any_case_by_path_and_by_an_address_that_one_has() -> None:
    for name in (WEB.id.upper(), f"/networkInterfaces/{WEB.id}", "10.0.1.4", "fd00:1:0::4"):
        assert traced(TCP_80._replace(source=name)).sender == WEB.id
    with pytest.raises(NotFound, match="no port is called nobody: `isthmus get"):
        traced(TCP_80._replace(source="nobody"))
    with pytest.raises(NotFound, match="no port is called other"):
        traced(TCP_80._replace(destination="other"))
    with pytest.raises(NotFound, match=r"no port is called 10\.9\.9\.9"):
        traced(TCP_80._replace(source="10.9.9.9"))


def test_of_several_addresses_of_the_sender_the_one_that_is_named_is_sent_from() -> None:
    """And judged: a list may hold for it alone."""
    second = "10.0.1.44"
    web = msgspec.structs.replace(
        WEB, addresses=(*WEB.addresses, second), rule_sets=applied(f"interface {second} web")
    )
    rows = (web, rule_set("web", "deny", "deny"))
    for named in (TCP_80._replace(source=second), TCP_80._replace(source_address=second)):
        found = traced(named, *rows)
        assert (str(found.packet.source), found.verdict) == (second, DROPPED)
    assert traced(TCP_80, *rows).verdict == DELIVERED
    # Of another family than the destination, or of another port, it is no choice.
    six = traced(TCP_80._replace(source=second, destination="fd00:2::5"), *rows)
    assert str(six.packet.source) == "fd00:1::4"
    assert str(traced(TCP_80._replace(source="fd00:1::4")).packet.source) == "fd00:1::4"
    other = traced(TCP_80._replace(source_address="10.0.2.5"), *rows)
    assert str(other.packet.source) == "10.0.1.4"


def test_an_address_of_two_tenants_names_no_port() -> None:
    twin = msgspec.structs.replace(WEB, id="blue-a-4", segment="blue/a")
    with pytest.raises(Invalid, match=r"address of 2 ports \(blue-a-4, red-a-4\): name one"):
        traced(TCP_80._replace(source="10.0.1.4"), twin)
    assert traced(TCP_80._replace(destination="10.0.1.4"), twin).sender == WEB.id


def test_a_family_that_an_end_does_not_have_cannot_be_asked_for() -> None:
    four = port("b", 7)
    with pytest.raises(Invalid, match="red-b-7 has no IPv6 address"):
        traced(Question(WEB.id, four.id, family=6), four)
    with pytest.raises(Invalid, match="red-b-7 has no IPv6 address to send from"):
        traced(Question(four.id, "fd00:2::5"), four)


def test_a_peered_network_is_reached_by_its_own_ports_and_gateways_stay_its_own() -> None:
    peer = RouterPort(router="red", segment="blue/a", addresses=("10.9.1.1/24",), kind=LegKind.PEER)
    blue = msgspec.structs.replace(
        port("a", 9), id="blue-a-9", segment="blue/a", addresses=("10.9.1.9",)
    )
    rows: tuple[Row, ...] = (
        Segment(id="blue/a", physical_network="underlay", vsid=9001),
        msgspec.structs.replace(
            next(row for row in red() if row.TABLE == "Router"), id="blue", rdid=2
        ),
        RouterPort(router="blue", segment="blue/a", addresses=("10.9.1.1/24",)),
        *(peer, blue, claim(blue, "h2")),
    )
    found = traced(Question(WEB.id, "10.9.1.9"), *rows)
    assert (found.verdict, found.receiver) == (DELIVERED, "blue-a-9")
    back = RouterPort(router="blue", segment="red/a", addresses=("10.0.1.1/24",), kind=LegKind.PEER)
    for one, host, other in ((WEB, "h1", 2), (blue, "h2", 1)):
        status = PortStatus(
            port=one.id,
            host=host,
            segment=one.segment,
            state=PortState.ERROR,
            code="PolicyConfigurationFailure",
            detail="no zone",
            closed=(f"domain {other}",),
        )
        shut = traced(Question(WEB.id, "10.9.1.9"), *rows, back, status)
        assert (shut.verdict, shut.last.where) == (DROPPED, one.id)
        assert traced(TCP_80, *rows, status).verdict == DELIVERED
    assert traced(Question(WEB.id, "10.9.1.1"), *rows).verdict == DROPPED
