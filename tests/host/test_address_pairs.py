# SPDX-License-Identifier: Apache-2.0
"""Address pairs in use: every race between two guests, two hosts and the store."""

from __future__ import annotations

import msgspec

from isthmus.host.address_pairs import Pairs
from isthmus.policy.rows import LearnedAddress, Port
from tests.switches.policy_rows import port
from tests.texts import pairs as listed

ADDRESS, MAC = "10.0.1.100", "02:00:00:00:00:aa"
WEB: Port = msgspec.structs.replace(port("red", "a", 4), pairs=listed(f"10.0.1.96/28 {MAC}"))


def row(sequence: int, of: Port = WEB, mac: str = MAC, host: str = "h1") -> LearnedAddress:
    return LearnedAddress(
        address=ADDRESS, port=of.id, host=host, segment=of.segment, mac=mac, sequence=sequence
    )


def announce(pairs: Pairs, stored: LearnedAddress | None = None, *others: LearnedAddress) -> bool:
    return pairs.announce(WEB, "h1", ADDRESS, MAC, stored, others)


OTHER = msgspec.structs.replace(port("red", "a", 5), pairs=WEB.pairs)


def test_the_first_announcement_is_news_and_the_next_ones_of_a_stored_one_are_not() -> None:
    pairs = Pairs()
    assert announce(pairs)
    assert pairs.wanted(WEB, {}) == {ADDRESS: row(1)}
    assert not announce(pairs, row(1))
    assert pairs.wanted(WEB, {ADDRESS: row(1)}) == {ADDRESS: row(1)}


def test_what_was_not_given_to_the_port_is_no_news() -> None:
    pairs = Pairs()
    assert not pairs.announce(WEB, "h1", "10.0.1.200", MAC, None, ())
    assert not pairs.announce(WEB, "h1", ADDRESS, "02:00:00:00:00:bb", None, ())
    assert not pairs.announce(WEB, "h1", "fd00::1", MAC, None, ())
    assert pairs.wanted(WEB, {}) == {}


def test_who_takes_an_address_over_stands_above_all_others() -> None:
    pairs = Pairs()
    assert announce(pairs, row(2), row(7, OTHER, host="h2"), row(5, OTHER))
    assert pairs.wanted(WEB, {ADDRESS: row(2)}) == {ADDRESS: row(8)}


def test_an_equal_sequence_of_another_port_is_taken_over_too() -> None:
    pairs = Pairs()
    assert announce(pairs, row(3), row(3, OTHER))
    assert pairs.wanted(WEB, {ADDRESS: row(3)}) == {ADDRESS: row(4)}


def test_another_mac_address_of_the_pair_is_news() -> None:
    second = "02:00:00:00:00:bb"
    both: Port = msgspec.structs.replace(WEB, pairs=(*WEB.pairs, *listed(f"{ADDRESS}/32 {second}")))
    pairs = Pairs()
    assert pairs.announce(both, "h1", ADDRESS, second, row(4), ())
    assert pairs.wanted(both, {ADDRESS: row(4)}) == {ADDRESS: row(5, mac=second)}


def test_what_the_store_has_later_replaces_what_was_announced_before() -> None:
    pairs = Pairs()
    announce(pairs)
    assert pairs.wanted(WEB, {ADDRESS: row(9)}) == {ADDRESS: row(9)}
    # It has been heard: what the store loses later is not said again.
    assert pairs.wanted(WEB, {}) == {}


def test_a_pair_that_is_taken_away_and_a_segment_that_changes_end_it() -> None:
    pairs = Pairs()
    announce(pairs)
    stripped: Port = msgspec.structs.replace(WEB, pairs=())
    assert pairs.wanted(stripped, {ADDRESS: row(1)}) == {}
    pairs = Pairs()
    announce(pairs)
    elsewhere: Port = msgspec.structs.replace(WEB, segment="red/b")
    assert pairs.wanted(elsewhere, {}) == {}


def test_a_port_that_leaves_the_switch_has_announced_nothing() -> None:
    pairs = Pairs()
    announce(pairs)
    pairs.forget(WEB.id)
    pairs.forget("never seen")
    assert pairs.wanted(WEB, {}) == {}
