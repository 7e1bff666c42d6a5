# SPDX-License-Identifier: Apache-2.0
"""Which addresses the ends of rules tell apart: one of each, by the name that people know."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from isthmus.reach.address_classes import AddressClasses, EndKey, swept
from tests.reach.cloud import port, world


def classes(*ends: EndKey, family: int = 4) -> dict[str, tuple[str, int]]:
    """By name: an address, and the ends that it is of, as bits."""
    where = world(port(number=4, groups=("g",)), port(number=5), port("b", 6, groups=("g",)))
    rules = {end: 1 << number for number, end in enumerate(ends)}
    found = AddressClasses([where], "red").of(rules, family)
    return {one.name: (str(one.address), one.rules[0]) for one in found}


def test_a_prefix_inside_another_is_apart_from_it() -> None:
    found = classes(("10.0.0.0/16", ()), ("10.0.1.0/24", ()))
    assert {name: rules for name, (_, rules) in found.items()} == {
        "10.0.0.0/16": 1,
        "10.0.1.0/24": 3,
        "any": 0,
    }
    assert ip_address(found["10.0.1.0/24"][0]) in ip_network("10.0.1.0/24")
    assert ip_address(found["10.0.0.0/16"][0]) not in ip_network("10.0.1.0/24")


def test_members_of_a_group_are_apart_from_who_lies_beside_them() -> None:
    found = classes(("", ("g",)))
    assert found["group g"] == ("10.0.1.4", 1)
    assert found["any"][1] == 0
    inside = classes(("", ("g",)), ("10.0.1.0/24", ()))
    assert inside["group g in 10.0.1.0/24"] == ("10.0.1.4", 3)
    assert inside["group g"] == ("10.0.2.6", 1)
    assert inside["10.0.1.0/24"][1] == 2


def test_who_joins_a_group_between_two_worlds_is_called_by_name() -> None:
    before = world(port(number=4, groups=("g",)), port(number=5))
    after = world(port(number=4, groups=("g",)), port(number=5, groups=("g",)))
    found = AddressClasses([before, after], "red").of({("", ("g",)): 1}, 4)
    assert {one.name: one.rules for one in found} == {
        "any": (0, 0),
        "group g": (1, 1),
        "red-a-5": (0, 1),
    }


def test_words_are_called_as_they_are_written() -> None:
    found = classes(("VIRTUALNETWORK", ()), ("INTERNET", ()))
    assert {name: rules for name, (_, rules) in found.items()} == {
        "VIRTUALNETWORK": 1,
        "INTERNET": 2,
    }


_spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=5)


@given(_spans)
def test_every_number_is_in_one_stretch_with_the_spans_that_cover_it(
    drawn: list[tuple[int, int]],
) -> None:
    spans = [(first, first + more, 1 << n) for n, (first, more) in enumerate(drawn)]
    found = list(swept(spans, 64))
    covered = {number: bits for first, last, bits in found for number in range(first, last + 1)}
    assert sum(last - first + 1 for first, last, _ in found) == 64
    for number in range(64):
        expected = sum(bit for first, last, bit in spans if first <= number <= last)
        assert covered[number] == expected
