# SPDX-License-Identifier: Apache-2.0
"""Where fragments go on that come out of connection tracking (`switches/ovs/fragments.py`)."""

from __future__ import annotations

import re

import msgspec

from isthmus.derive.engine import Engine
from isthmus.policy.rows import Port, RuleSet
from isthmus.policy.values import Action
from isthmus.switches.ovs.bands import Track
from isthmus.switches.ovs.facts import Limits, Meter
from isthmus.switches.ovs.pipeline import (
    ALL_METERS,
    ARRIVING_METERS,
    FRAGMENT_METERS,
    FlowKey,
    Programmed,
    Stage,
)
from isthmus.switches.ovs.pipeline import flow as openflow
from isthmus.wire.openflow import Flow
from tests.agent.ovs.hosts import host, learn, plug
from tests.flow_texts import named_flow
from tests.switches import test_opening
from tests.switches.policy_rows import ROUTER_MAC, claim, network_rows, port
from tests.texts import applied

_MARKS = r"(,exec\([^()]*\))?"
_IN_CLONE = re.compile(r"clone\(ct\(commit,zone=[^(),]*" + _MARKS + r"\)\)")
_LAST = re.compile(rf"ct\((commit,)?table=TRACKED,zone=[^(),]*{_MARKS}\)$")


PORTS = [
    msgspec.structs.replace(port(network, "a", number), rule_sets=applied("interface * shut"))
    for network in ("red", "blue")
    for number in (4, 5)
]


def flows_of_two_tenants() -> list[Flow]:
    rows = (*network_rows("red"), *network_rows("blue"), RuleSet(id="shut", in_default=Action.DENY))
    state = host("h1", *rows, *PORTS)
    learn(state, *(claim(one, "h1") for one in PORTS))
    plug(state, *PORTS)
    return list(state.changes().adds)


def test_nothing_but_the_check_of_fragments_follows_connection_tracking() -> None:
    tracking = [text for text in map(named_flow, flows_of_two_tenants()) if "ct(" in text]
    assert len(tracking) > 20
    for text in tracking:
        followed = _IN_CLONE.sub("", text.partition(" actions=")[2])
        if "ct(" in followed:
            assert _LAST.search(followed), text


def test_a_fragment_goes_on_in_the_zone_that_it_was_tracked_in() -> None:
    found = passed(Stage.TRACKED)
    assert len(found) == 4  # for both tenants and families
    for match in found:
        zone = re.search(r"ZONE=(0x[0-9a-f]+),ct_state=\+trk,ct_zone=(0x[0-9a-f]+)$", match)
        assert zone is not None, match
        assert zone[1] == zone[2]


def test_a_fragment_goes_on_to_the_port_that_it_is_for() -> None:
    assert set(passed(Stage.FRAGMENT)) == {
        "OUT=0x0",
        "eth_dst=01:00:00:00:00:00/01:00:00:00:00:00,OUT=0xff00",
        *(f"eth_dst={ROUTER_MAC},DOMAIN={domain:#x},OUT=0xff01" for domain in (1, 2)),
        *(f"eth_dst={one.mac},OUT={ofport:#x}" for ofport, one in enumerate(PORTS, 1)),
    }


def passed(stage: Stage) -> list[str]:
    """Matches of what goes on as a fragment from there."""
    texts = [named_flow(one) for one in flows_of_two_tenants() if one.table == stage]
    found = [re.search(r"priority=100,(\S+) ", text) for text in texts]
    return [one[1] for one in found if one is not None]


# -- how many may wait -----------------------------------------------------------------------------

LIMITS = Limits(fragments_pps=70, fragments_burst=700)
BARE, WEB = test_opening.BARE, test_opening.WEB


def engine(*ports: Port, limits: Limits = LIMITS) -> Engine:
    return test_opening.engine(*ports, limits=limits)


def metered(of: Engine) -> dict[int, list[str]]:
    """Fragments that go into connection tracking through a meter: what matches, by meter."""
    found: dict[int, list[str]] = {}
    for key, value in of.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        assert isinstance(value, Programmed)
        if key.table == Stage.TRACK and key.priority == Track.FRAGMENT:
            match, _, actions = named_flow(openflow(key, value)).partition(" actions=")
            meter, _, rest = actions.partition(",")
            assert re.fullmatch(r"ct\(table=TRACKED,zone=[^(),]*\)", rest)
            found.setdefault(int(meter.removeprefix("meter:")), []).append(match)
    return found


def meters(of: Engine) -> dict[int, Meter]:
    kinds = FRAGMENT_METERS, ARRIVING_METERS, ALL_METERS
    return {row.id: row for row in of.rows(Meter).values() if row.id & ~0xFFFF in kinds}


def test_fragments_wait_through_the_meter_of_their_port_or_network() -> None:
    """Of both families; from another host that of who receives them, or of all in a network."""
    found = metered(engine(WEB))
    (zone,) = (meter - ALL_METERS for meter in found if meter >= ALL_METERS)
    expected = {
        4 + FRAGMENT_METERS: ("in_port=4",),
        4 + ARRIVING_METERS: ("OUT=0x4", "ORIGIN=0x1"),
        zone + ALL_METERS: ("OUT=0xff00", "ORIGIN=0x1", f"ZONE={hex(zone)}"),
    }
    assert found.keys() == expected.keys()
    for meter, words in expected.items():
        assert sorted("ipv6" in one for one in found[meter]) == [False, True]
        assert all(word in one for word in (*words, "frag") for one in found[meter])
    assert meters(engine(WEB)) == {meter: Meter(meter, 70, 700) for meter in expected}


def test_a_port_without_rules_has_one_meter_of_fragments_and_each_further_port_as_many() -> None:
    assert len(meters(engine(BARE))) == 2
    many = [port("red", "a", number) for number in range(4, 24)]
    assert len(meters(engine(*many))) == len(many) + 1
    ruled = [msgspec.structs.replace(each, rule_sets=applied("interface * shut")) for each in many]
    assert len(meters(engine(*ruled))) == 2 * len(many) + 1


def test_without_a_limit_fragments_pass_no_meter() -> None:
    made = engine(WEB, BARE, limits=LIMITS._replace(fragments_pps=0))
    assert metered(made) == {}
    assert meters(made) == {}
