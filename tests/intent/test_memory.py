# SPDX-License-Identifier: Apache-2.0
"""The store in memory refuses what the real one refuses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import Conflict, Unavailable
from isthmus.intent.model import Allocation, Plan, Stored
from tests.intent.cloud import Cloud, interface
from tests.intent.memory import MemoryStore


def row(key: str, **fields: object) -> Stored:
    base = Stored(key=key, ref=key, kind="k", resource_id=key, instance_id=key, etag="1")
    return msgspec.structs.replace(base, **fields)


def test_a_plan_made_from_a_stale_picture_is_refused(cloud: Cloud) -> None:
    cloud.put("/servers/a")
    one, other = cloud.plan("/servers/a", {"os": "x"}), cloud.plan("/servers/a", {"os": "y"})
    cloud.store.apply(one)
    with pytest.raises(Unavailable):
        cloud.store.apply(other)


def test_two_plans_for_one_new_resource_or_address_do_not_both_hold(cloud: Cloud) -> None:
    one, other = (cloud.plan(f"/networkInterfaces/{n}", interface()) for n in "ab")
    again = cloud.plan("/networkInterfaces/a", interface())
    cloud.store.apply(one)
    for refused in (other, again):
        with pytest.raises(Unavailable):
            cloud.store.apply(refused)


def test_what_is_required_meanwhile_cannot_go_nor_be_replaced(cloud: Cloud) -> None:
    replaced = cloud.plan("/virtualNetworks/v/subnets/s", {"addressPrefix": "10.0.9.0/24"})
    cloud.put("/networkInterfaces/n", interface())
    with pytest.raises(Conflict) as caught:
        cloud.store.apply(replaced)
    assert caught.value.code == "InUseSubnetCannotBeDeleted"


def test_what_a_new_row_requires_must_be_there() -> None:
    store = MemoryStore()
    with pytest.raises(Unavailable):
        store.apply(Plan(inserts=(row("/a", requires=frozenset({"/b"})),)))
    store.apply(Plan(inserts=(row("/a", mentions=frozenset({"/b"})),)))
    assert set(store.referrers("/b")) == {"/a"}


@given(st.sets(st.integers(0, 40)), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_the_free_number_is_the_lowest_of_the_first_range_that_has_one(
    held: set[int], ranges: list[tuple[int, int]]
) -> None:
    store = MemoryStore()
    rows = (row(f"/{n}", allocations=frozenset({Allocation("x", str(n))})) for n in held)
    store.apply(Plan(inserts=tuple(rows)))
    wanted = [n for first, last in ranges for n in range(first, last + 1) if n not in held]
    assert store.free("x", ranges) == (wanted[0] if wanted else None)
    for first, last in ranges:
        assert store.held("x", first, last) == len([n for n in held if first <= n <= last])
