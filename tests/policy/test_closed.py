# SPDX-License-Identifier: Apache-2.0
"""The words by which a host says what it keeps closed: different things have different ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isthmus.policy.closed import PORT, address_word, domain_word, list_word
from tests.names import NAMES


def test_an_address_is_named_and_where_there_is_none_its_family() -> None:
    assert address_word("10.0.0.4", 4) == "address 10.0.0.4"
    assert address_word("", 4) == "address IPv4"
    assert address_word("", 6) == "address IPv6"


def test_a_list_is_named_whatever_the_order_of_its_sets() -> None:
    assert list_word("in", ("b", "a")) == list_word("in", ("a", "b")) == "in a b"
    assert list_word("out", ("a", "b")) != list_word("in", ("a", "b"))


_lists = st.tuples(
    st.sampled_from(("in", "out")), st.lists(NAMES, min_size=1, max_size=3, unique=True)
)


@given(_lists, _lists)
def test_different_lists_have_different_words(
    one: tuple[str, list[str]], other: tuple[str, list[str]]
) -> None:
    same = (one[0], sorted(one[1])) == (other[0], sorted(other[1]))
    assert (list_word(*one) == list_word(*other)) is same


def test_a_port_an_address_a_list_and_a_domain_are_never_taken_for_each_other() -> None:
    words = [PORT, address_word("10.0.0.4", 4), list_word("in", ("a",)), domain_word(7)]
    assert len(set(words)) == len(words)
