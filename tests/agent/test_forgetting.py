# SPDX-License-Identifier: Apache-2.0
"""Which connections a host forgets, and of whom it goes on knowing them."""

from __future__ import annotations

import msgspec

from isthmus.agent.forgetting import Forgetting
from isthmus.agent.host import HostState
from isthmus.derive.engine import Change, Key
from isthmus.policy.rows import RuleSet
from isthmus.switches.ovs.facts import Ground, TrackedAddress
from tests.agent.test_host import forget, host, learn, plug
from tests.switches.policy_rows import claim, network_rows, port

SHUT = RuleSet(id="shut", in_default="deny")
WEB, DB, OTHER = (
    msgspec.structs.replace(port("red", "a", number), rule_sets=("interface * shut",))
    for number in (4, 5, 6)
)


def followed() -> HostState:
    state = host("h1", *network_rows("red"), SHUT, WEB, DB, claim(WEB, "h1"), claim(DB, "h1"))
    plug(state, WEB, DB)
    assert state.forgotten() == ([], [])
    return state


def addresses(gone: list[TrackedAddress]) -> list[str]:
    return [one.address for one in gone]


def test_what_a_port_leaves_behind_when_it_moves_is_still_known_to_its_neighbours() -> None:
    state = followed()
    forget(state, claim(WEB, "h1"))
    learn(state, claim(WEB, "h2"))
    plug(state, DB)
    assert state.forgotten() == ([], [])


def test_a_port_whose_rules_are_taken_away_is_still_known_to_its_neighbours() -> None:
    state = followed()
    learn(state, msgspec.structs.replace(WEB, rule_sets=()))
    assert state.forgotten() == ([], [])


def test_what_a_deleted_port_leaves_behind_is_forgotten() -> None:
    state = followed()
    plug(state, DB)
    assert state.forgotten() == ([], [])
    forget(state, claim(WEB, "h1"), WEB)
    assert addresses(state.forgotten()[1]) == list(WEB.addresses)
    assert state.forgotten() == ([], [])


def test_who_is_given_the_address_of_another_does_not_inherit_its_connections() -> None:
    state = followed()
    forget(state, WEB)
    heir = msgspec.structs.replace(OTHER, addresses=WEB.addresses, dhcp_address=WEB.dhcp_address)
    learn(state, heir, claim(heir, "h1"))
    plug(state, heir, DB)
    assert addresses(state.forgotten()[1]) == list(WEB.addresses)


def test_a_port_that_comes_back_finds_what_was_known_of_it() -> None:
    state = followed()
    plug(state, DB)
    plug(state, DB, WEB)
    assert state.forgotten() == ([], [])


def test_an_address_that_moves_to_another_port_is_forgotten_of_the_first() -> None:
    state = followed()
    learn(
        state,
        msgspec.structs.replace(WEB, addresses=("10.0.1.40",), dhcp_address="10.0.1.40"),
    )
    assert addresses(state.forgotten()[1]) == list(WEB.addresses)


def test_what_is_known_in_a_zone_is_forgotten_when_the_segment_has_another() -> None:
    """Another router, another routing domain: nobody speaks in the former zone any more."""
    one = TrackedAddress(7, WEB.addresses[0], WEB.id)
    forgetting = Forgetting()
    gone = [Change(one, None, None)]
    there: dict[Key, Ground] = {WEB.segment: Ground(WEB.segment, 5001, 1, 7, None, None)}
    assert forgetting.step(gone, {WEB.id: WEB}, there) == []
    assert forgetting.step([], {WEB.id: WEB}, there) == []
    elsewhere: dict[Key, Ground] = {WEB.segment: there[WEB.segment]._replace(zone=8)}
    assert forgetting.step([], {WEB.id: WEB}, elsewhere) == [one]
    assert forgetting.step([], {WEB.id: WEB}, elsewhere) == []


def test_an_address_in_one_zone_is_no_heir_of_the_same_in_another() -> None:
    """Tenants have the same addresses."""
    left, other = (TrackedAddress(zone, WEB.addresses[0], WEB.id) for zone in (7, 8))
    forgetting = Forgetting()
    there: dict[Key, Ground] = {WEB.segment: Ground(WEB.segment, 5001, 1, 7, None, None)}
    assert forgetting.step([Change(left, None, None)], {WEB.id: WEB}, there) == []
    follows = Change(other._replace(port=DB.id), None, other)
    assert forgetting.step([follows], {WEB.id: WEB}, there) == []
    heir = Change(left._replace(port=DB.id), None, left)
    assert forgetting.step([heir], {WEB.id: WEB}, there) == [left]
