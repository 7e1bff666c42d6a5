# SPDX-License-Identifier: Apache-2.0
"""The program of a host: its size, its order-independence, and what it says where something is
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from itertools import product
from typing import NamedTuple, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS, LocalPort, Location, Problem, ThisHost
from isthmus.policy.rows import (
    Claim,
    Host,
    HostStatus,
    Port,
    Router,
    RouterPort,
    Row,
    Rule,
    RuleSet,
    Segment,
)
from isthmus.policy.values import Action, Direction, PortGuard, Preference
from isthmus.switches.ovs.facts import Meter, SegmentFacts
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import (
    ALL_METERS,
    FRAGMENT_METERS,
    OPENING_METERS,
    TUNNEL_METER,
    FlowKey,
    Programmed,
    Stage,
)
from isthmus.wire import oxm
from isthmus.wire.encapsulations import Encapsulation
from tests.names import NAMES
from tests.switches.policy_rows import (
    NETWORKS,
    SEGMENTS,
    SPEAKS,
    at,
    claim,
    compiled,
    flow_texts,
    host_rows,
    local,
    network_rows,
    new_engine,
    port,
    provider_address,
    put,
    this_host,
)
from tests.texts import applied, pairs, ports

Input = Row | LocalPort


class _Place(NamedTuple):
    """Where an input row stands in the engine."""

    table: type
    key: object


def _place(row: Input) -> _Place:
    return _Place(type(row), row.iface_id if isinstance(row, LocalPort) else row.key)


NAMES_OF_PORTS = ("db", "web", "db web", "1 in db", "2 in db", "plain 1 in db", "red", "red-b-5")
PORTS = [
    msgspec.structs.replace(port(n, s, number), id=name)
    for name, (n, s, number) in zip(
        NAMES_OF_PORTS, product(NETWORKS, SEGMENTS, (4, 5)), strict=True
    )
]
"""Called as lists of rules, networks and other ports may be."""
HOSTS = tuple(SPEAKS)

_GROUND: list[Input] = [
    *host_rows(),
    *(row for network in NETWORKS for row in network_rows(network)),
]
_ports = st.sampled_from(PORTS)


def _claims(of: Port) -> st.SearchStrategy[Claim]:
    return st.builds(
        claim,
        st.just(of),
        st.sampled_from(HOSTS),
        st.sampled_from(("active", "standby")),
        st.integers(0, 3),
    )


def _variants(of: Port) -> st.SearchStrategy[Port]:
    hosts = st.sampled_from(((), ("h1",), ("h2", "h3")))
    return st.builds(
        lambda allowed, two, rule_sets, groups: Port(
            id=of.id,
            segment=of.segment,
            mac=of.mac,
            addresses=(*of.addresses, of.addresses[0] + "0", f"fd00::{of.mac[9:11]}{of.mac[-2:]}")
            if two
            else of.addresses,
            dhcp_address=of.addresses[0],
            hosts=allowed,
            rule_sets=rule_sets,
            groups=groups,
            guards=(PortGuard.DHCP,) if two else (),
            storm_pps=100 * two,
        ),
        hosts,
        st.booleans(),
        st.sampled_from(
            (
                (),
                ("interface * web",),
                ("subnet {} db", "interface * web"),
                ("interface {} db", "interface {} web", "subnet {} db web"),
                ("interface * db web",),
            )
        ).map(lambda entries: applied(*(entry.format(of.addresses[0]) for entry in entries))),
        st.sampled_from(((), ("red",), ("blue", "red"), ("blue red",))),
    )


_rule_sets = st.builds(
    RuleSet,
    id=st.sampled_from(("web", "db", "db web")),
    in_default=st.sampled_from(Action),
    out_default=st.sampled_from(Action),
)
_rules = st.builds(
    Rule,
    rule_set=st.sampled_from(("web", "db", "db web")),
    id=st.sampled_from(("r1", "r2", "web/r1")) | NAMES,
    direction=st.sampled_from(Direction),
    priority=st.sampled_from((100, 200)),
    action=st.sampled_from(Action),
    protocol=st.sampled_from((-1, 6, 17)),
    source=st.sampled_from(("", "10.0.1.0/24", "fd00::/64", "VIRTUALNETWORK")),
    source_groups=st.sampled_from(((), (), ("red",), ("blue", "red"), ("blue red",))),
    destination_groups=st.sampled_from(((), ("blue",))),
    destination_ports=st.sampled_from(("", "80-80", "1000-2001")).map(ports),
)


_rows = st.one_of(
    _rule_sets,
    _rules,
    st.sampled_from(_GROUND),
    _ports.flatmap(_claims),
    _ports.flatmap(_variants),
    st.builds(local, _ports, st.integers(1, 9)),
)
_steps = st.lists(st.tuples(_rows, st.booleans()), max_size=40)


@given(_steps, st.lists(st.integers(0, 39), max_size=5))
@settings(max_examples=150, deadline=None)
def test_a_program_changed_step_by_step_is_the_one_made_from_nothing(
    steps: list[tuple[Input, bool]], pauses: list[int]
) -> None:
    engine, numbers = new_engine(), Numbers()
    now = {_place(row): row for row in _GROUND}
    put(engine, *_GROUND)
    for number, (row, present) in enumerate(steps):
        place = _place(row)
        engine.put(place.table, place.key, row if present else None)
        if present:
            now[place] = row
        else:
            now.pop(place, None)
        if number in pauses:
            numbers.follow(engine, release=bool(number % 2))
            numbers.programmed()
    numbers.follow(engine, release=True)
    assert not engine.failures
    again = compiled("h1", now.values(), Numbers(numbers.text()))
    for table in (Programmed, Meter, Problem, Location):
        assert dict(engine.rows(table)) == dict(again.rows(table))


def _with_one_local_port_and_peers(n_peers: int) -> Engine:
    own = port("red", "a", 4)
    peers = [port("red", "b", number) for number in range(10, 10 + n_peers)]
    return compiled(
        "h1",
        [
            *(_GROUND),
            own,
            local(own, 3),
            claim(own, "h1"),
            *peers,
            *(claim(peer, "h2") for peer in peers),
        ],
    )


def test_a_local_port_costs_at_most_fifteen_flows() -> None:
    own = port("red", "a", 5)
    before = _with_one_local_port_and_peers(0)
    n_before = len(before.rows(Programmed))
    put(before, own, local(own, 4), claim(own, "h1"))
    before.settle()
    assert 0 < len(before.rows(Programmed)) - n_before <= 15


def test_a_peer_costs_three_flows_and_a_port_that_no_host_has_none() -> None:
    assert (
        len(_with_one_local_port_and_peers(60).rows(Programmed))
        - len(_with_one_local_port_and_peers(10).rows(Programmed))
        == 3 * 50
    )
    engine = _with_one_local_port_and_peers(10)
    n_before = len(engine.rows(Programmed))
    put(engine, port("red", "b", 200))
    engine.settle()
    assert len(engine.rows(Programmed)) == n_before


def test_a_new_peer_runs_as_many_units_in_a_large_network_as_in_a_small_one() -> None:
    calls = []
    for n_peers in (5, 150):
        engine = _with_one_local_port_and_peers(n_peers)
        before = engine.calls
        new = port("red", "b", 220)
        put(engine, new, claim(new, "h2"))
        engine.settle()
        calls.append(engine.calls - before)
    assert calls[0] == calls[1]


def test_tenants_with_the_same_addresses_share_no_flow() -> None:
    red, blue = port("red", "a", 4), port("blue", "a", 4)
    rows: list[Input] = [*_GROUND, red, local(red, 3), blue, local(blue, 4)]
    both = set(compiled("h1", rows).rows(Programmed))
    only_red = set(
        compiled("h1", [r for r in rows if r not in (blue, local(blue, 4))]).rows(Programmed)
    )
    only_blue = set(
        compiled("h1", [r for r in rows if r not in (red, local(red, 3))]).rows(Programmed)
    )
    neither = set(compiled("h1", _GROUND).rows(Programmed))
    assert (only_red - neither) & (only_blue - neither) == set()
    assert both == only_red | only_blue


def test_every_stage_ends_in_a_flow_that_drops() -> None:
    drops = [text for text in flow_texts(compiled("h1", ())) if "priority=0 " in text]
    assert drops == sorted(f"table={stage.name},priority=0 actions=drop" for stage in Stage)


def test_what_a_guest_says_of_its_address_pairs_takes_nothing_from_its_dhcp() -> None:
    mac = "02:00:5e:00:00:01"
    of = msgspec.structs.replace(port("red", "a", 4), pairs=pairs(f"10.0.1.9/32 {mac}"))
    engine = compiled("h1", [*_GROUND, of, local(of, 7)])
    others = "tun_id", "ct_state", "table=TRACK,"
    texts = [one for one in flow_texts(engine) if "meter:" in one]
    texts = [one for one in texts if not any(word in one for word in others)]
    meters = {text: text.partition("meter:")[2].partition(",")[0] for text in texts}
    of_pairs = {meter for text, meter in meters.items() if mac in text}
    of_dhcp = {meter for text, meter in meters.items() if mac not in text}
    assert (len(of_dhcp), len(of_pairs)) == (1, 1)
    kinds = {OPENING_METERS, FRAGMENT_METERS, ALL_METERS}
    ours = [row.id for row in engine.rows(Meter).values() if row.id & ~0xFFFF not in kinds]
    assert of_dhcp | of_pairs == {str(meter) for meter in ours if meter != TUNNEL_METER}
    assert of_dhcp != of_pairs


def _problems(engine: Engine) -> list[tuple[str, str]]:
    return sorted((problem.port, problem.code) for problem in engine.rows(Problem).values())


@pytest.mark.parametrize("segment", ["a", "b"])
def test_hosts_without_an_encapsulation_in_common_are_an_error_of_both_ports(segment: str) -> None:
    """On one segment, or routed from one to the other."""
    ours, theirs = port("red", "a", 4), port("red", segment, 5)
    rows: list[Input] = [row for row in _GROUND if not isinstance(row, HostStatus)]
    for host, encapsulation in (("h1", Encapsulation.VXLAN), ("h3", Encapsulation.NVGRE)):
        address = provider_address(host)
        rows.append(
            HostStatus(
                host=host,
                provider_addresses=(IPv4Address(address),),
                encapsulations=Preference((encapsulation,)),
            )
        )
    rows += [ours, theirs, claim(ours, "h1"), claim(theirs, "h3")]
    for host, own, encapsulation in (
        ("h1", ours, Encapsulation.VXLAN),
        ("h3", theirs, Encapsulation.NVGRE),
    ):
        engine = new_engine(host)
        put(engine, *rows, local(own, 3))
        this = this_host(host)._replace(encapsulations=(encapsulation,))
        engine.put(ThisHost, THIS, this)
        Numbers().follow(engine, release=True)
        assert _problems(engine) == [(own.id, "PolicyConfigurationFailure")]
        (problem,) = engine.rows(Problem).values()
        for word in ("h1", "h3", "vxlan", "nvgre"):
            assert word in problem.detail


def test_a_port_that_other_hosts_own_is_blocked_here() -> None:
    foreign = port("red", "a", 4, hosts=("h2",))
    engine = compiled("h1", [*_GROUND, foreign, local(foreign, 3)])
    assert _problems(engine) == [(foreign.id, "PortBlocked")]
    assert not [text for text in flow_texts(engine) if "in_port=3" in text]


def test_a_claim_of_an_unknown_host_or_against_the_port_s_hosts_is_not_believed() -> None:
    free, bound = port("red", "a", 4), port("red", "a", 5, hosts=("h2",))
    stranger = Claim(
        port=free.id,
        host="h9",
        segment=free.segment,
        provider_address=IPv4Address("192.0.2.9"),
        sequence=9,
    )
    rows: list[Input] = [*_GROUND, free, bound, stranger, claim(bound, "h3", sequence=9)]
    assert dict(compiled("h1", rows).rows(Location)) == {}
    rows += [claim(free, "h3"), claim(bound, "h2")]
    found = compiled("h1", rows).rows(Location)
    assert {location.port: location.host for location in found.values()} == {
        free.id: "h3",
        bound.id: "h2",
    }


def _winner(*claims: Claim) -> str:
    engine = compiled("h1", [*_GROUND, port("red", "a", 4), *claims])
    (location,) = engine.rows(Location).values()
    return location.host


def test_the_active_claim_of_the_highest_sequence_has_the_port_then_the_lowest_name() -> None:
    own = port("red", "a", 4)
    assert _winner(claim(own, "h2", "standby", 0), claim(own, "h3", "active", 1)) == "h3"
    assert _winner(claim(own, "h2", "active", 2), claim(own, "h3", "active", 1)) == "h2"
    assert _winner(claim(own, "h2", "active", 1), claim(own, "h3", "active", 1)) == "h2"
    assert _winner(claim(own, "h2", "standby", 0), claim(own, "h3", "standby", 0)) == "h2"


def _texts_with(engine: Engine, chosen: Callable[[str], bool]) -> list[str]:
    return [text for text in flow_texts(engine) if chosen(text)]


def test_a_moved_port_leaves_no_source_check_for_its_old_host_when_the_old_claim_goes() -> None:
    moved = port("red", "a", 5)
    engine = compiled("h1", [*_GROUND, moved, claim(moved, "h2"), claim(moved, "h3", sequence=2)])
    checks = _texts_with(engine, lambda text: f"{at(Stage.SOURCE)}priority=100" in text)
    assert len(checks) == 2
    engine.put(Claim, claim(moved, "h2").key, None)
    engine.settle()
    checks = _texts_with(engine, lambda text: f"{at(Stage.SOURCE)}priority=100" in text)
    assert len(checks) == 1
    assert "tun_src=192.0.2.3" in checks[0]


def test_vxlan_is_used_where_both_hosts_prefer_it_and_nvgre_where_one_knows_nothing_else() -> None:
    tunnels = _texts_with(
        compiled("h1", _GROUND), lambda text: f"{at(Stage.TUNNEL)}priority=100" in text
    )
    by_output = {text.rsplit("output:", 1)[1]: text for text in tunnels}
    assert set(by_output) == {"101", "102"}
    assert "0xc0000202" in by_output["101"]
    assert "0xc0000203" in by_output["102"]


def test_without_a_router_segments_stay_apart() -> None:
    own, other = port("red", "a", 4), port("red", "b", 5)
    rows = [row for row in _GROUND if not isinstance(row, RouterPort)]
    ports: tuple[Row | LocalPort, ...] = (own, local(own, 3), other, local(other, 4))

    def routes(ground: Iterable[Row | LocalPort]) -> list[str]:
        engine = compiled("h1", [*ground, *ports])
        return [text for text in flow_texts(engine) if text.startswith(at(Stage.ROUTE))]

    dropping = f"{at(Stage.ROUTE)}priority=0 actions=drop"
    assert routes(rows) == [dropping]
    assert len(routes(_GROUND)) > 1


def test_a_segment_whose_router_has_not_come_yet_waits_for_it() -> None:
    own = port("red", "a", 4)
    router = next(row for row in _GROUND if isinstance(row, Router) and row.id == "red")
    engine = compiled("h1", [*(row for row in _GROUND if row != router), own, local(own, 3)])
    assert "red/a" not in engine.rows(SegmentFacts)
    assert "red/a" in next(iter(engine.rows(Problem).values())).detail
    engine.changes(Programmed)
    put(engine, router)
    Numbers().follow(engine, release=False)
    assert not engine.rows(Problem)
    assert all(change.old is None for change in engine.changes(Programmed))


def test_a_segment_that_is_not_known_is_named_in_the_port_s_problem() -> None:
    own = port("red", "a", 4)
    rows = [row for row in _GROUND if not isinstance(row, Segment)]
    engine = compiled("h1", [*rows, own, local(own, 3)])
    (problem,) = engine.rows(Problem).values()
    assert "red/a" in problem.detail


def test_hosts_that_are_no_servers_are_not_reached() -> None:
    rows = [row for row in _GROUND if not (isinstance(row, Host) and row.id == "h3")]
    assert _texts_with(compiled("h1", _GROUND), lambda text: "0xc0000203" in text)
    assert not _texts_with(compiled("h1", rows), lambda text: "0xc0000203" in text)


def test_a_rule_between_two_groups_names_no_field_twice() -> None:
    """The bits of both ends are in one register; a switch refuses a match that names it twice."""
    one = msgspec.structs.replace(
        port("red", "a", 4), rule_sets=applied("interface * web"), groups=("red", "blue")
    )
    followed = Rule(
        id="r1",
        rule_set="web",
        direction=Direction.IN,
        priority=100,
        action=Action.ALLOW,
        source_groups=("red",),
        destination_groups=("blue",),
    )
    rules = followed, msgspec.structs.replace(followed, id="r2", protocol=6, stateless=True)
    engine = compiled(
        "h1", [*_GROUND, RuleSet(id="web", in_default=Action.DENY), *rules, one, local(one, 3)]
    )
    keys = cast("list[FlowKey]", list(engine.rows(Programmed)))
    by_rules = [key for key in keys if key.table in (Stage.IN_INTERFACE, Stage.PLAIN_IN_INTERFACE)]
    assert len(by_rules) >= 4
    for key in by_rules:
        fields = [entry.field for entry in oxm.entries(key.match)]
        assert len(fields) == len(set(fields)), key
