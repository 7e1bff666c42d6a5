# SPDX-License-Identifier: Apache-2.0
"""What the bridge calls what has a number: the next version of the agent finds it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.values import Direction
from isthmus.switches.ovs.domains import ZONES
from isthmus.switches.ovs.facts import Wanted
from isthmus.switches.ovs.filters import FILTER_NUMBERS, Filter
from isthmus.switches.ovs.groups import GROUPS, GroupEnd, GroupUse
from isthmus.switches.ovs.number_names import text_of, wanted_of
from isthmus.switches.ovs.profiles import PROFILE_NUMBERS, ProfileKey
from tests.names import NAMES

_domains = st.integers(0, (1 << 32) - 1)
_profiles = st.builds(
    ProfileKey,
    _domains,
    st.sampled_from(Direction),
    st.lists(NAMES, min_size=1, max_size=3, unique=True).map(lambda found: tuple(sorted(found))),
    st.booleans(),
)
_may_be = st.one_of(st.none(), _profiles)
WANTED = st.one_of(
    st.tuples(_domains).map(lambda name: Wanted(ZONES, name)),
    st.tuples(_domains, _domains).map(lambda name: Wanted(ZONES, tuple(sorted(name)))),
    _profiles.map(lambda name: Wanted(PROFILE_NUMBERS, name)),
    st.builds(Filter, *(_may_be,) * 4).map(lambda name: Wanted(FILTER_NUMBERS, name)),
    st.builds(GroupUse, _domains, st.sampled_from(GroupEnd), NAMES).map(
        lambda name: Wanted(GROUPS, name)
    ),
)


@given(WANTED)
def test_what_has_a_number_is_found_again_by_its_text(wanted: Wanted) -> None:
    assert wanted_of(*text_of(wanted)) == wanted


@given(WANTED, WANTED)
def test_two_have_one_text_only_if_they_are_the_same(one: Wanted, other: Wanted) -> None:
    assert (text_of(one) == text_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (Wanted(ZONES, (7,)), ("zone", "7")),
        (Wanted(ZONES, (7, 9)), ("zone", "7 9")),
        (
            Wanted(PROFILE_NUMBERS, ProfileKey(7, Direction.IN, ("db web", "x"), plain=False)),
            ("profile", "7 in db%20web x"),
        ),
        (
            Wanted(
                FILTER_NUMBERS,
                Filter(None, None, None, ProfileKey(7, Direction.IN, ("web",), plain=True)),
            ),
            ("filter", "|||plain 7 in web"),
        ),
        (
            Wanted(GROUPS, GroupUse(7, GroupEnd.PLAIN_SOURCE, "a b")),
            ("group 7", "plain source a%20b"),
        ),
    ],
)
def test_these_texts_never_change(wanted: Wanted, text: tuple[str, str]) -> None:
    assert text_of(wanted) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((ZONES, "x"), (ZONES, "007"), (PROFILE_NUMBERS, ""), (PROFILE_NUMBERS, "7 up web")),
        *((FILTER_NUMBERS, "|"), ("group 7", "middle a"), ("group", "source a"), ("?", "?")),
    ],
)
def test_what_is_no_name_of_ours_is_called_by_its_text(kind: str, text: str) -> None:
    assert wanted_of(kind, text) == Wanted(kind, text)
    assert text_of(Wanted(kind, text)) == (kind, text)
