# SPDX-License-Identifier: Apache-2.0
"""Which connections a host forgets, and of whom it goes on knowing them."""

from __future__ import annotations

import msgspec

from isthmus.agent.ovs.forgetting import AT_ONCE, Forgetting, with_connections
from isthmus.agent.ovs.host import OvsHost
from isthmus.derive.engine import Change
from isthmus.host.ours import SouthChange
from isthmus.policy.rows import Port, RouterPort, RuleSet
from isthmus.policy.values import Action, LegKind
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import TrackedAddress
from tests.agent.ovs.hosts import forget, host, learn, plug, row_id
from tests.switches.policy_rows import claim, network_rows, port
from tests.texts import applied

SHUT = RuleSet(id="shut", in_default=Action.DENY)
WEB, DB, OTHER = (
    msgspec.structs.replace(port("red", "a", number), rule_sets=applied("interface * shut"))
    for number in (4, 5, 6)
)


def followed() -> OvsHost:
    state = host("h1", *network_rows("red"), SHUT, WEB, DB, claim(WEB, "h1"), claim(DB, "h1"))
    plug(state, WEB, DB)
    assert state.forgotten() == ([], [])
    return state


def replace(state: OvsHost, old: Port, new: Port) -> None:
    state.south_changed([SouthChange(row_id(old), old, new)])
    state.settle()


def peering(one: str, other: str) -> list[RouterPort]:
    """Each router's legs on the segments of the other network."""
    return [
        RouterPort(router=router, segment=f"{network}/{segment}", kind=LegKind.PEER)
        for router, network in ((one, other), (other, one))
        for segment in ("a", "b")
    ]


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


def test_what_a_deleted_port_of_another_host_leaves_behind_is_forgotten() -> None:
    state = followed()
    learn(state, OTHER, claim(OTHER, "h2"))
    assert state.forgotten() == ([], [])
    forget(state, OTHER, claim(OTHER, "h2"))
    assert addresses(state.forgotten()[1]) == list(OTHER.addresses)
    assert state.forgotten() == ([], [])


def test_who_is_given_the_address_of_another_hosts_port_does_not_inherit_its_connections() -> None:
    state = followed()
    learn(state, OTHER, claim(OTHER, "h2"))
    heir = msgspec.structs.replace(OTHER, id="heir")
    forget(state, OTHER, claim(OTHER, "h2"))
    learn(state, heir, claim(heir, "h3"))
    assert addresses(state.forgotten()[1]) == list(OTHER.addresses)
    assert state.forgotten() == ([], [])


def test_an_address_that_another_hosts_port_gives_up_is_forgotten() -> None:
    state = followed()
    two = msgspec.structs.replace(OTHER, addresses=(*OTHER.addresses, "10.0.1.77"))
    learn(state, two, claim(two, "h2"))
    replace(state, two, OTHER)
    assert addresses(state.forgotten()[1]) == ["10.0.1.77"]


def test_a_port_of_other_hosts_that_moves_or_is_unplugged_is_still_known() -> None:
    state = followed()
    learn(state, OTHER, claim(OTHER, "h2"))
    forget(state, claim(OTHER, "h2"))
    learn(state, claim(OTHER, "h3"))
    learn(state, msgspec.structs.replace(OTHER, revision="later"))
    assert state.forgotten() == ([], [])


def test_what_is_between_peered_networks_is_forgotten_as_well() -> None:
    state = followed()
    learn(state, *network_rows("blue"), *peering("red", "blue"))
    there = port("blue", "b", 9)
    learn(state, there, claim(there, "h2"))
    between = state.numbers.of(ZONES)["1 2"]
    state.forgotten()
    forget(state, there, claim(there, "h2"))
    assert between in {one.zone for one in state.forgotten()[1]}


def test_of_many_that_are_deleted_only_some_are_forgotten_at_once_and_those_with_heirs_first() -> (
    None
):
    """The switch looks at all its connections for each."""
    state = followed()
    many = [
        msgspec.structs.replace(
            OTHER,
            id=f"many-{number}",
            mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
            addresses=(f"10.0.{100 + number // 250}.{number % 250}",),
            dhcp_address="",
        )
        for number in range(3 * AT_ONCE)
    ]
    learn(state, *many)
    state.forgotten()
    forget(state, *many)
    heir = msgspec.structs.replace(many[-1], id="heir")
    learn(state, heir)
    first = addresses(state.forgotten()[1])
    assert first[0] == heir.addresses[0]
    assert len(first) == AT_ONCE + 1
    # One that has come back meanwhile is forgotten no more.
    learn(state, many[-2])
    found = set(first)
    for _ in range(2):
        assert state.forgetting.must_go_on
        found |= set(addresses(state.forgotten()[1]))
    assert not state.forgetting.must_go_on
    assert found == {address for one in many for address in one.addresses} - {*many[-2].addresses}


def test_what_there_was_no_time_for_is_forgotten_next() -> None:
    state = followed()
    later = [TrackedAddress(1, "10.0.1.9", "gone")]
    state.forgetting.put_back(later)
    assert state.forgetting.must_go_on
    assert state.forgotten() == ([], later)
    assert not state.forgetting.must_go_on


def test_only_addresses_with_connections_need_be_forgotten() -> None:
    """As ovs-vswitchd 3.1 shows them."""
    gone = [
        TrackedAddress(zone, address, "gone")
        for zone in (1, 2, 3)
        for address in ("10.1.1.1", "10.1.1.10", "fd00:1:0:1::10", "fd00:1:0:1::1")
    ]
    one = (
        "tcp,orig=(src=10.1.1.10,dst=10.1.1.12,sport=43033,dport=80),"
        "reply=(src=10.1.1.12,dst=10.1.1.10,sport=80,dport=43033),zone=1,mark=2,"
        "protoinfo=(state=ESTABLISHED)"
    )
    other = (
        "udp,orig=(src=fd00:1:0:1::12,dst=fd00:1:0:1::10,sport=1,dport=53),"
        "reply=(src=fd00:1:0:1::10,dst=fd00:1:0:1::12,sport=53,dport=1),zone=1"
    )
    found = with_connections(gone, {1: f"{one}\n{other}\n", 2: ""})
    assert found == [gone[1], gone[2], *gone[8:]]


def test_a_host_without_rules_has_nothing_to_forget() -> None:
    state = host("h1", *network_rows("red"), OTHER)
    plain = msgspec.structs.replace(WEB, rule_sets=())
    learn(state, plain)
    plug(state, plain)
    state.forgotten()
    forget(state, OTHER)
    assert state.forgotten() == ([], [])


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
    there = {WEB.segment: 7}.get
    assert forgetting.step(gone, {WEB.id: WEB}, there) == []
    assert forgetting.step([], {WEB.id: WEB}, there) == []
    elsewhere = {WEB.segment: 8}.get
    assert forgetting.step([], {WEB.id: WEB}, elsewhere) == [one]
    assert forgetting.step([], {WEB.id: WEB}, elsewhere) == []


def test_an_address_in_one_zone_is_no_heir_of_the_same_in_another() -> None:
    """Tenants have the same addresses."""
    left, other = (TrackedAddress(zone, WEB.addresses[0], WEB.id) for zone in (7, 8))
    forgetting = Forgetting()
    there = {WEB.segment: 7}.get
    assert forgetting.step([Change(left, None, None)], {WEB.id: WEB}, there) == []
    follows = Change(other._replace(port=DB.id), None, other)
    assert forgetting.step([follows], {WEB.id: WEB}, there) == []
    heir = Change(left._replace(port=DB.id), None, left)
    assert forgetting.step([heir], {WEB.id: WEB}, there) == [left]
