# SPDX-License-Identifier: Apache-2.0
"""What a rule matches: ranges of ports as masks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.values import PortRange
from isthmus.switches.ovs.matches import masks
from tests.texts import ports

_numbers = st.integers(0, 0xFFFF)


@given(_numbers, _numbers, st.lists(_numbers, max_size=30))
def test_masks_cover_a_range_and_nothing_else(one: int, other: int, drawn: list[int]) -> None:
    first, last = sorted((one, other))
    found = list(masks(PortRange(first, last)))
    for number in {*drawn, first - 1, first, (first + last) // 2, last, last + 1} - {-1, 0x10000}:
        covering = [pair for pair in found if number & pair[1] == pair[0]]
        assert len(covering) == (first <= number <= last)
    assert len(found) <= 30  # 2 * 16 - 2
    assert sum(0x10000 - mask for _, mask in found) == last - first + 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(0, 0)]),
        ("0-65535", [(0, 0)]),
        ("443-443", [(443, 0xFFFF)]),
        ("0-0", [(0, 0xFFFF)]),
        ("65535-65535", [(65535, 0xFFFF)]),
        ("1024-65535", [(1024 << n, 0x10000 - (1024 << n)) for n in range(6)]),
        ("1-2", [(1, 0xFFFF), (2, 0xFFFF)]),
    ],
)
def test_masks_are_as_few_as_there_can_be(text: str, found: list[tuple[int, int]]) -> None:
    assert list(masks(ports(text))) == found
