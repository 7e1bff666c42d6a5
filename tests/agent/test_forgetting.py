# SPDX-License-Identifier: Apache-2.0
"""Which connections a host forgets, and of whom it goes on knowing them."""

from __future__ import annotations

import msgspec

from isthmus.agent.host import HostState
from isthmus.policy.rows import RuleSet
from isthmus.switches.ovs.facts import TrackedAddress
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
