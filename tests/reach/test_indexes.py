# SPDX-License-Identifier: Apache-2.0
"""Indexes over one another are the ones that were changed in place, and the lower one stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.reach.indexes import Grouped, Layer, Names

KEYS = st.integers(0, 3)
STEPS = st.lists(st.tuples(st.booleans(), KEYS, KEYS), max_size=30)
"""To put or to take out; a key and a value."""


def _put(mapping: dict[int, int] | Layer[int, int], steps: list[tuple[bool, int, int]]) -> None:
    for puts, key, value in steps:
        if puts:
            mapping[key] = value
        else:
            mapping.pop(key, None)


@given(STEPS, STEPS)
def test_a_layer_is_the_mapping_with_the_changes_made(
    first: list[tuple[bool, int, int]], then: list[tuple[bool, int, int]]
) -> None:
    below: dict[int, int] = {}
    _put(below, first)
    before = dict(below)
    layer = Layer(below)
    _put(layer, then)
    wanted = dict(below)
    _put(wanted, then)
    assert dict(layer) == wanted
    assert len(layer) == len(wanted)
    assert [key for key in range(4) if key in layer] == sorted(wanted)
    assert below == before


def _change(index: Grouped[int, tuple[int, int]], steps: list[tuple[bool, int, int]]) -> None:
    for number, (puts, key, value) in enumerate(steps):
        if puts:
            index.add(key, (value, number))
        else:
            index.remove(key, value)


def _held(index: Grouped[int, tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    return {key: sorted(index.get(key)) for key in index}


@given(STEPS, STEPS)
def test_values_with_one_key_are_told_apart_and_no_empty_entry_stays(
    first: list[tuple[bool, int, int]], then: list[tuple[bool, int, int]]
) -> None:
    below: Grouped[int, tuple[int, int]] = Grouped(lambda value: value[0])
    _change(below, first)
    wanted: dict[int, dict[int, tuple[int, int]]] = {}
    for number, (puts, key, value) in enumerate(first):
        if puts:
            wanted.setdefault(key, {})[value] = value, number
        else:
            wanted.get(key, {}).pop(value, None)
    before = {key: sorted(values.values()) for key, values in wanted.items() if values}
    assert _held(below) == before
    assert all(below.one(k, v) == wanted.get(k, {}).get(v) for k in range(4) for v in range(4))
    over = below.over()
    _change(over, then)
    assert _held(below) == before
    _change(below, then)
    assert _held(over) == _held(below)


@given(STEPS, STEPS)
def test_names_with_one_key_are_a_set(
    first: list[tuple[bool, int, int]], then: list[tuple[bool, int, int]]
) -> None:
    below: Names[int] = Names()
    wanted: dict[int, set[str]] = {}
    for puts, key, value in first:
        (below.add if puts else below.remove)(key, str(value))
        found = wanted.setdefault(key, set())
        (found.add if puts else found.discard)(str(value))
    before = {key: names for key, names in wanted.items() if names}
    assert {key: set(below.get(key)) for key in below} == before
    over = below.over()
    for puts, key, value in then:
        (over.add if puts else over.remove)(key, str(value))
    assert {key: set(below.get(key)) for key in below} == before
    for puts, key, value in then:
        (below.add if puts else below.remove)(key, str(value))
    assert {k: set(over.get(k)) for k in over} == {k: set(below.get(k)) for k in below}
