# SPDX-License-Identifier: Apache-2.0
"""Where fragments go on that come out of connection tracking (`switches/ovs/fragments.py`)."""

from __future__ import annotations

import re

import msgspec

from isthmus.policy.rows import RuleSet
from isthmus.switches.ovs.pipeline import Stage
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_text import flow_text
from tests.agent.test_host import host, learn, plug
from tests.switches.policy_rows import ROUTER_MAC, claim, network_rows, port

_MARKS = r"(,exec\([^()]*\))?"
_IN_CLONE = re.compile(r"clone\(ct\(commit,zone=[^(),]*" + _MARKS + r"\)\)")
_LAST = re.compile(rf"ct\((commit,)?table={Stage.TRACKED.value},zone=[^(),]*{_MARKS}\)$")


PORTS = [
    msgspec.structs.replace(port(network, "a", number), rule_sets=("interface * shut",))
    for network in ("red", "blue")
    for number in (4, 5)
]


def flows_of_two_tenants() -> list[Flow]:
    rows = (*network_rows("red"), *network_rows("blue"), RuleSet(id="shut", in_default="deny"))
    state = host("h1", *rows, *PORTS)
    learn(state, *(claim(one, "h1") for one in PORTS))
    plug(state, *PORTS)
    return list(state.changes().adds)


def test_nothing_but_the_check_of_fragments_follows_connection_tracking() -> None:
    tracking = [text for text in map(flow_text, flows_of_two_tenants()) if "ct(" in text]
    assert len(tracking) > 20
    for text in tracking:
        followed = _IN_CLONE.sub("", text.partition(" actions=")[2])
        if "ct(" in followed:
            assert _LAST.search(followed), text


def test_a_fragment_goes_on_in_the_zone_that_it_was_tracked_in() -> None:
    found = passed(Stage.TRACKED)
    assert len(found) == 4  # for both tenants and families
    for match in found:
        zone = re.search(r"reg11=(0x[0-9a-f]+),ct_state=\+trk,ct_zone=(0x[0-9a-f]+)$", match)
        assert zone is not None, match
        assert zone[1] == zone[2]


def test_a_fragment_goes_on_to_the_port_that_it_is_for() -> None:
    assert set(passed(Stage.FRAGMENT)) == {
        "reg0=0x0",
        "eth_dst=01:00:00:00:00:00/01:00:00:00:00:00,reg0=0xffffff00",
        *(f"eth_dst={ROUTER_MAC},reg0=0xffffff01,reg6={domain:#x}" for domain in (1, 2)),
        *(f"eth_dst={one.mac},reg0={ofport:#x}" for ofport, one in enumerate(PORTS, 1)),
    }


def passed(stage: Stage) -> list[str]:
    """Matches of what goes on as a fragment from there."""
    texts = [flow_text(one) for one in flows_of_two_tenants() if one.table == stage]
    found = [re.search(r"priority=100,(\S+) ", text) for text in texts]
    return [one[1] for one in found if one is not None]
