# SPDX-License-Identifier: Apache-2.0
"""Who has a port, which interface it is, and what two hosts speak."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest

from isthmus.policy.placement import (
    encapsulation,
    holder,
    interface_of,
    is_believed,
    may_have,
    port_of,
    wanted_state,
    winner,
)
from isthmus.policy.rows import Port
from tests.switches.policy_rows import claim, port

PORT = port("red", "a", 4)
NOBODY: dict[str, Port] = {}
BOUND = port("red", "a", 4, hosts=("h1", "h3"))


@pytest.mark.parametrize(
    ("claims", "has_it"),
    [
        ((("h1", "active", 1), ("h2", "active", 2)), "h2"),
        ((("h1", "active", 2), ("h2", "active", 2)), "h1"),
        ((("h1", "standby", 9), ("h2", "active", 1)), "h2"),
        ((("h1", "standby", 0), ("h2", "standby", 0)), "h1"),
        ((("h1", "standby", 1), ("h2", "standby", 2)), "h2"),
        ((), None),
    ],
)
def test_one_claim_has_the_port_whatever_order_they_come_in(
    claims: tuple[tuple[str, str, int], ...], has_it: str | None
) -> None:
    for order in permutations(claims):
        found = winner(claim(PORT, *one) for one in order)
        assert (None if found is None else found.host) == has_it


def test_a_claim_is_believed_of_a_host_that_exists_and_may_have_the_port() -> None:
    assert may_have(PORT, "h2")
    assert [may_have(BOUND, host) for host in ("h1", "h2", "h3")] == [True, False, True]
    theirs = claim(BOUND, "h2")
    assert is_believed(theirs, PORT, exists=True)
    assert is_believed(theirs, None, exists=True)
    assert not is_believed(theirs, PORT, exists=False)
    assert not is_believed(theirs, BOUND, exists=True)


def test_claims_that_nobody_believes_have_no_port() -> None:
    claims = [claim(BOUND, "h2", sequence=9), claim(BOUND, "h1", sequence=1)]
    found = holder(claims, BOUND, {"h1", "h2"})
    assert found is not None
    assert found.host == "h1"
    assert holder(claims, BOUND, {"h2"}) is None
    assert holder([], None, {"h1"}) is None


def test_what_was_said_before_the_port_was_plugged_is_over_when_its_guest_speaks_here() -> None:
    ours, theirs = claim(PORT, "h1", "active", 3), [claim(PORT, "h2", "active", 4)]

    def state(*, frame_seen: bool, before_plugged: int) -> tuple[str, int]:
        return wanted_state(
            PORT, "h1", ours, theirs, frame_seen=frame_seen, before_plugged=before_plugged
        )

    assert state(frame_seen=True, before_plugged=4) == ("active", 5)
    # It is silent: whoever has said more has it still.
    assert state(frame_seen=False, before_plugged=4) == ("active", 3)
    # The other has said so since: the guest has gone there.
    assert state(frame_seen=True, before_plugged=3) == ("active", 3)
    assert state(frame_seen=True, before_plugged=0) == ("active", 3)


def test_a_host_that_was_not_overtaken_counts_no_further() -> None:
    ours = claim(PORT, "h1", "active", 5)
    theirs = [claim(PORT, "h2", "active", 4), claim(PORT, "h3", "standby", 0)]
    found = wanted_state(PORT, "h1", ours, theirs, frame_seen=True, before_plugged=4)
    assert found == ("active", 5)


def test_an_interface_is_the_port_of_its_id_before_that_of_its_profile() -> None:
    named: Port = msgspec.structs.replace(PORT, profile_id="p")
    other: Port = msgspec.structs.replace(PORT, id="p", profile_id="q")
    by_id, by_profile = {named.id: "tap0"}, {"p": "tap1"}
    assert interface_of(named, by_id.get, NOBODY.get) == "tap0"
    assert interface_of(named, by_profile.get, NOBODY.get) == "tap1"
    assert interface_of(named, {**by_id, **by_profile}.get, NOBODY.get) == "tap0"
    # The name is another port's id.
    assert interface_of(named, by_profile.get, {"p": other}.get) is None
    assert interface_of(other, by_profile.get, {"p": other}.get) == "tap1"
    assert interface_of(PORT, {"": "tap2"}.get, NOBODY.get) is None

    assert port_of("p", {"p": other}.get, lambda _: [named]) is other
    assert port_of("p", NOBODY.get, lambda _: [named]) is named
    twins = [msgspec.structs.replace(named, id=name) for name in ("b", "a", "c")]
    assert port_of("p", NOBODY.get, lambda _: twins) is twins[1]
    assert port_of("p", NOBODY.get, lambda _: []) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        ("vxlan,nvgre", "vxlan,nvgre", "vxlan"),
        ("vxlan,nvgre", "nvgre,vxlan", "nvgre"),
        ("vxlan,nvgre", "nvgre", "nvgre"),
        ("nvgre,vxlan", "nvgre,vxlan", "nvgre"),
        ("vxlan", "nvgre", ""),
        ("", "vxlan", ""),
    ],
)
def test_both_hosts_of_a_pair_choose_the_same(ours: str, theirs: str, both: str) -> None:
    mine, others = ([name for name in text.split(",") if name] for text in (ours, theirs))
    assert encapsulation(mine, others) == encapsulation(others, mine) == (both or None)
