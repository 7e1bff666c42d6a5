# SPDX-License-Identifier: Apache-2.0
"""Which claim a host makes: every step of a move, and every race of two."""

from __future__ import annotations

from ipaddress import IPv4Address

from isthmus.host.claims import wanted_claim
from isthmus.policy.rows import Claim, Port
from tests.switches.policy_rows import claim, port

PORT = port("red", "a", 4)
BOUND_TO_H1 = port("red", "a", 4, hosts=("h1",))


def wanted(
    *others: Claim,
    own: Claim | None = None,
    plugged: bool = True,
    frame_seen: bool = False,
    of: Port | None = PORT,
) -> tuple[str, int] | None:
    """State and sequence of the claim that h1 should have."""
    found = wanted_claim(
        of,
        host="h1",
        provider_address=IPv4Address("192.0.2.1"),
        plugged=plugged,
        own=own,
        others=others,
        frame_seen=frame_seen,
    )
    if found is None:
        return None
    assert (found.port, found.host, found.segment) == (PORT.id, "h1", PORT.segment)
    return found.state, found.sequence


def test_the_first_claim_is_active_at_once() -> None:
    assert wanted() == ("active", 1)


def test_a_second_claimer_stands_by_until_the_guest_s_first_frame() -> None:
    theirs = claim(PORT, "h2", "active", 3)
    assert wanted(theirs) == ("standby", 0)
    assert wanted(theirs, own=claim(PORT, "h1", "standby", 0)) == ("standby", 0)
    assert wanted(theirs, own=claim(PORT, "h1", "standby", 0), frame_seen=True) == ("active", 4)


def test_a_standby_becomes_active_when_the_other_unplugs() -> None:
    assert wanted(own=claim(PORT, "h1", "standby", 0)) == ("active", 1)


def test_a_standby_becomes_active_when_the_port_names_its_host_alone() -> None:
    theirs = claim(PORT, "h2", "active", 3)
    standing_by = claim(PORT, "h1", "standby", 0)
    assert wanted(theirs, own=standing_by, of=BOUND_TO_H1) == ("active", 4)


def test_an_overtaken_claim_stays_until_the_port_is_unplugged() -> None:
    ours, newer = claim(PORT, "h1", "active", 1), claim(PORT, "h2", "active", 2)
    assert wanted(newer, own=ours) == ("active", 1)
    assert wanted(newer, own=ours, frame_seen=True) == ("active", 1)
    assert wanted(newer, own=ours, plugged=False) is None


def test_a_port_that_may_not_be_here_or_is_not_known_is_not_claimed() -> None:
    assert wanted(of=None) is None
    assert wanted(of=port("red", "a", 4, hosts=("h2",))) is None


def test_two_that_stand_by_after_the_owner_died_both_claim_and_the_rule_decides() -> None:
    # Both see no active claim and take the same sequence; peers then take the lowest host name.
    assert wanted(claim(PORT, "h2", "standby", 0), own=claim(PORT, "h1", "standby", 0)) == (
        "active",
        1,
    )
