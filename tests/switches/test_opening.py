# SPDX-License-Identifier: Apache-2.0
"""What passes the meters of ports: packets that open connections, of whoever opens them."""

from __future__ import annotations

import msgspec

from isthmus.derive.engine import Engine
from isthmus.host.facts import THIS
from isthmus.policy.rows import Port, RuleSet
from isthmus.policy.values import Action
from isthmus.switches.ovs.facts import Limits, Meter, ThisBridge
from isthmus.switches.ovs.numbers import Numbers
from isthmus.switches.ovs.pipeline import OPENED_METERS, OPENING_METERS, FlowKey, Programmed, Stage
from isthmus.switches.ovs.pipeline import flow as openflow
from tests.flow_texts import named_flow
from tests.switches.policy_rows import claim, host_rows, local, network_rows, port, put, this_bridge
from tests.switches.policy_rows import new_engine as engine_of
from tests.texts import applied

LIMITS = Limits(connections=7000, opened_pps=70, opened_burst=700)
BARE = port("red", "a", 4)
WEB = msgspec.structs.replace(port("red", "a", 5), rule_sets=applied("interface * shut"))


def engine(*ports: Port, limits: Limits = LIMITS) -> Engine:
    """Of h1, on which the ports are plugged from OpenFlow port 4 on."""
    made, numbers = engine_of("h1"), Numbers()
    made.put(ThisBridge, THIS, this_bridge("h1")._replace(limits=limits))
    put(
        made, *host_rows(), *network_rows("red"), RuleSet(id="shut", in_default=Action.DENY), *ports
    )
    put(made, *(local(one, number) for number, one in enumerate(ports, 4)))
    put(made, *(claim(one, "h1") for one in ports))
    numbers.follow(made, release=True)
    return made


def openings(of: Engine) -> dict[str, str]:
    """Of ports: what the flows match, and what they do."""
    found = {}
    for key, value in of.rows(Programmed).items():
        assert isinstance(key, FlowKey)
        assert isinstance(value, Programmed)
        if key.table == Stage.OPENING and key.priority == 100:
            text = named_flow(openflow(key, value)).partition("priority=100,")[2]
            match, _, actions = text.partition(" actions=")
            found[match] = actions
    return found


def limited(of: Engine) -> dict[int, Meter]:
    kinds = OPENING_METERS, OPENED_METERS
    return {row.id: row for row in of.rows(Meter).values() if row.id & ~0xFFFF in kinds}


NEW = "ct_state=+new-est+trk,ct_mark=0x0/0x4"
TO_ONE = "eth_dst=00:00:00:00:00:00/01:00:00:00:00:00"


def test_a_port_opens_through_its_meter_and_is_opened_to_from_other_hosts_through_another() -> None:
    made = engine(WEB)
    by_meter = {
        actions.partition("meter:")[2].partition(",")[0]: match
        for match, actions in openings(made).items()
    }
    assert set(by_meter) == {str(4 + OPENING_METERS), str(4 + OPENED_METERS)}
    assert "in_port=4" in by_meter[str(4 + OPENING_METERS)]
    from_afar = by_meter[str(4 + OPENED_METERS)]
    assert "OUT=0x4" in from_afar
    assert "ORIGIN=0x1" in from_afar
    assert limited(made) == {
        kind + 4: Meter(kind + 4, 70, 700) for kind in (OPENING_METERS, OPENED_METERS)
    }


def test_only_what_opens_a_connection_of_two_passes_a_meter_and_goes_on_to_be_kept() -> None:
    for match, actions in openings(engine(WEB, BARE)).items():
        assert NEW in match
        assert TO_ONE in match
        assert actions.endswith("goto_table:COMMIT")


def test_a_port_without_rules_has_one_meter_and_each_further_port_as_many_flows() -> None:
    one = engine(BARE)
    assert set(limited(one)) == {4 + OPENING_METERS}
    assert len(openings(one)) == 1
    many = [port("red", "a", number) for number in range(4, 24)]
    assert len(openings(engine(*many))) == len(many)
    ruled = [msgspec.structs.replace(each, rule_sets=applied("interface * shut")) for each in many]
    assert len(openings(engine(*ruled))) == 2 * len(many)


def test_without_a_limit_there_is_neither_flow_nor_meter() -> None:
    made = engine(WEB, BARE, limits=LIMITS._replace(opened_pps=0))
    assert openings(made) == {}
    assert limited(made) == {}


def test_whatever_is_kept_carries_the_mark_of_what_is_kept() -> None:
    """Else the kernel's data path would count each packet of a stream that nobody answers."""
    kept = []
    for key, value in engine(WEB).rows(Programmed).items():
        assert isinstance(key, FlowKey)
        assert isinstance(value, Programmed)
        text = named_flow(openflow(key, value))
        if "ct(commit" in text and "+new-est" in text:
            kept.append(text)
    assert kept
    assert all("0x4->" in one or "0x5->" in one or "0x6->" in one for one in kept), kept
