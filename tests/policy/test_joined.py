# SPDX-License-Identifier: Apache-2.0
"""Names in one text are told apart, whatever they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.closed import list_word
from isthmus.policy.joined import joined, parted
from tests.names import NAMES

_texts = st.lists(NAMES | st.text(min_size=1, max_size=6), min_size=1, max_size=4).map(tuple)


@given(_texts, _texts)
def test_other_names_give_another_text(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (joined(*one) == joined(*other)) == (one == other)


@given(_texts)
def test_each_name_is_a_word_in_which_nothing_separates(names: tuple[str, ...]) -> None:
    text = joined(*names)
    assert len(text.split(" ")) == len(names)
    assert not {"/", "|"} & set(text)


def test_what_holds_no_space_stays_as_it_is() -> None:
    assert joined("1", "in", "web-1.a_b:c@d~e+(f){g}") == "1 in web-1.a_b:c@d~e+(f){g}"
    assert joined("db web", "100%") == "db%20web 100%25"


def test_a_list_of_two_is_not_the_list_of_both_names() -> None:
    assert list_word("in", ("db web",)) != list_word("in", ("web", "db"))


@given(_texts)
def test_names_are_found_again(names: tuple[str, ...]) -> None:
    assert parted(joined(*names)) == names
