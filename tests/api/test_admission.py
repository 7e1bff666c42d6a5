# SPDX-License-Identifier: Apache-2.0
"""Who makes room when a listener is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.api.http.admission import (
    MOST,
    MOST_KNOWN,
    MOST_UNKNOWN,
    MOST_UNKNOWN_OF_ADDRESS,
    RESERVED_FILES,
    Admission,
    Visit,
    most_of_each,
)


class Door:
    """An `Admission` and what became of whom it let in."""

    def __init__(self) -> None:
        self.admission = Admission()
        self.ended: list[Visit] = []
        self.now_s = 0.0

    def come(self, address: str, *, known: bool = False, busy: bool = False) -> Visit | None:
        self.now_s += 1
        visit = Visit(address, lambda: self.ended.append(visit), since_s=self.now_s)
        if not self.admission.enter(visit):
            return None
        visit.known, visit.busy = known, busy
        return visit

    def fill(self, number: int, *, known: bool = False, busy: bool = False) -> list[Visit | None]:
        return [
            self.come(f"203.0.{n // 200}.{n % 200}", known=known, busy=busy) for n in range(number)
        ]


def test_of_unknown_ones_the_one_that_has_waited_longest_makes_room() -> None:
    door = Door()
    came = door.fill(MOST_UNKNOWN + 3)
    assert door.ended == came[:3]
    assert list(door.admission.visits) == came[3:]
    assert door.admission.ended == 3


def test_a_known_one_is_not_ended_for_unknown_ones() -> None:
    door = Door()
    known = door.come("192.0.2.1", known=True)
    door.fill(3 * MOST_UNKNOWN)
    assert known not in door.ended
    assert len(list(door.admission.visits)) == MOST_UNKNOWN + 1


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_one_address_makes_room_for_itself(one: str, other: str, alike: bool) -> None:
    door = Door()
    first = door.come("198.51.100.1")
    of_one = [door.come(one) for _ in range(MOST_UNKNOWN_OF_ADDRESS)]
    assert door.ended == []
    door.come(other)
    assert door.ended == (of_one[:1] if alike else [])
    assert first not in door.ended


def test_on_this_machine_all_have_one_address_and_it_counts_for_nothing() -> None:
    for address in ("", "127.0.0.1", "::1"):
        door = Door()
        for _ in range(MOST_UNKNOWN):
            door.come(address)
        assert door.ended == []


def test_of_known_ones_who_is_idle_makes_room_and_who_is_served_does_not() -> None:
    door = Door()
    served = door.fill(MOST - 1, known=True, busy=True)
    idle = door.come("192.0.2.9", known=True)
    assert door.come("192.0.2.10", known=True, busy=True) is not None
    assert door.ended == [idle]
    assert door.come("192.0.2.11") is None
    assert door.ended == [idle]
    assert served[0] is not None
    door.admission.leave(served[0])
    door.admission.leave(served[0])
    assert door.come("192.0.2.11") is not None


def test_when_files_run_out_the_longest_unknown_makes_room() -> None:
    door = Door()
    door.come("192.0.2.1", known=True)
    unknown = door.come("192.0.2.2")
    door.admission.make_room()
    door.admission.make_room()
    assert door.ended == [unknown]


def test_listeners_share_the_files_that_a_process_may_have() -> None:
    assert most_of_each(65_536, 2) == MOST == MOST_KNOWN + MOST_UNKNOWN
    assert most_of_each(1024, 2) == (1024 - RESERVED_FILES) // 2
    assert most_of_each(64, 2) == 2
    assert most_of_each(1024, 0) == MOST


@given(
    st.lists(
        st.tuples(st.sampled_from(("", "192.0.2.1", "2001:db8::1")), st.booleans(), st.booleans()),
        max_size=900,
    )
)
def test_there_are_never_more_than_there_may_be(comers: list[tuple[str, bool, bool]]) -> None:
    door = Door()
    for address, known, busy in comers:
        door.come(address, known=known, busy=busy)
        there = list(door.admission.visits)
        assert len(there) <= MOST
        assert sum(not one.known for one in there) <= MOST_UNKNOWN
        assert not {*there} & {*door.ended}
    assert not any(one.known and one.busy for one in door.ended)
