# SPDX-License-Identifier: Apache-2.0
"""Prefixes as numbers."""

from __future__ import annotations

from ipaddress import ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.intent.addressing import overlapping, space, without


@pytest.mark.parametrize(
    ("prefix", "usable", "dynamic"),
    [
        ("10.0.0.0/24", (1, 254), [(4, 254), (2, 3)]),
        ("10.0.0.0/29", (1, 6), [(4, 6), (2, 3)]),
        ("10.0.0.0/30", (1, 2), [(2, 2)]),
        ("10.0.0.0/31", (0, 1), [(1, 1)]),
        ("10.0.0.0/32", (0, 0), []),
        ("fd00::/126", (1, 3), [(2, 3)]),
    ],
)
def test_the_usable_and_dynamic_addresses_of_a_prefix(
    prefix: str, usable: tuple[int, int], dynamic: list[tuple[int, int]]
) -> None:
    whole = space(prefix)
    first = whole.network
    assert (whole.usable[0] - first, whole.usable[1] - first) == usable
    assert [(one - first, last - first) for one, last in whole.dynamic()] == dynamic


PREFIXES = st.builds(
    lambda number, length: str(ip_network((number >> (32 - length) << (32 - length), length))),
    st.sampled_from((0, 1, 2, 3, 4, 7, 8, 255, 256, 2**31)),
    st.integers(24, 32),
) | st.sampled_from(("fd00::/64", "fd00::/128", "::/0"))


@given(st.lists(PREFIXES, max_size=6))
def test_overlaps_are_found_as_comparing_all_pairs_finds_them(prefixes: list[str]) -> None:
    networks = [ip_network(prefix) for prefix in prefixes]
    clashes = {
        pair
        for pair in combinations(range(len(networks)), 2)
        if networks[pair[0]].overlaps(networks[pair[1]])
    }
    found = overlapping(prefixes)
    assert (found in clashes) if clashes else found is None


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3),
    st.sets(st.integers(0, 20)),
)
def test_a_range_with_holes_is_the_numbers_that_are_left(
    ranges: list[tuple[int, int]], holes: set[int]
) -> None:
    sound = [span for span in ranges if span[0] <= span[1]]
    left = [n for first, last in without(sound, holes) for n in range(first, last + 1)]
    assert left == [n for first, last in sound for n in range(first, last + 1) if n not in holes]
