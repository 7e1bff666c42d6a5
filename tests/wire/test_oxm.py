# SPDX-License-Identifier: Apache-2.0
"""Matches as bytes: one form for each match, whatever the order it was written in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.wire import oxm
from isthmus.wire.malformed import Malformed
from isthmus.wire.openflow_values import match_text


@st.composite
def an_entry(draw: st.DrawFn, field: oxm.Field) -> oxm.Entry:
    value = draw(st.integers(0, field.ones))
    mask = draw(st.none() | st.integers(1, field.ones - 1))
    return oxm.Entry(field, value if mask is None else value & mask, mask)


@st.composite
def some_entries(draw: st.DrawFn) -> list[oxm.Entry]:
    fields = draw(st.lists(st.sampled_from(oxm.FIELDS), unique=True, max_size=8))
    return [draw(an_entry(field)) for field in fields]


def packed(entry: oxm.Entry) -> bytes:
    if entry.mask is None:
        return oxm.exact(entry.field, entry.value)
    return oxm.masked(entry.field, entry.value, entry.mask)


@given(some_entries(), st.randoms())
def test_the_order_of_entries_does_not_matter(entries: list[oxm.Entry], random: object) -> None:
    in_order = oxm.match(*map(packed, entries))
    assert oxm.match(*map(packed, reversed(entries))) == in_order


@given(some_entries())
def test_what_is_packed_is_read_again(entries: list[oxm.Entry]) -> None:
    assert sorted(oxm.entries(oxm.match(*map(packed, entries))), key=str) == sorted(
        entries, key=str
    )


@given(some_entries())
def test_every_match_has_a_text(entries: list[oxm.Entry]) -> None:
    text = match_text(oxm.match(*map(packed, entries)))
    assert "unknown" not in text
    assert bool(text) is bool(entries)


def test_a_mask_of_ones_is_none_and_a_mask_of_zeros_is_no_entry() -> None:
    assert oxm.reg(5, 7, 0xFFFFFFFF) == oxm.reg(5, 7)
    assert oxm.ipv4_dst_prefix(0x0A000001, 32) == oxm.ipv4_dst("10.0.0.1")
    assert oxm.ip_frag(1, 3) == oxm.ip_frag(1)
    assert oxm.reg(5, 7, 0) == b""
    assert oxm.match(oxm.ipv4_dst_prefix(0x0A000001, 0), oxm.in_port(1)) == oxm.in_port(1)


def test_bits_outside_the_mask_are_cleared() -> None:
    assert oxm.ipv4_dst_prefix(0x0A0000FF, 24) == oxm.ipv4_dst_prefix(0x0A000000, 24)


def test_addresses_are_numbers_text_or_values() -> None:
    assert oxm.ipv4_src("10.0.0.4") == oxm.ipv4_src(0x0A000004)
    assert oxm.ipv4_src(IPv4Address("10.0.0.4")) == oxm.ipv4_src(0x0A000004)
    assert oxm.ipv6_src("fd00::1") == oxm.ipv6_src(IPv6Address("fd00::1"))


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OverflowError):
        oxm.eth_src(1 << 48)
    with pytest.raises(OverflowError):
        oxm.in_port(-1)


def test_fields_that_we_do_not_know_are_passed_over() -> None:
    unknown = bytes.fromhex("0001ee04 00000001") + bytes.fromhex("ffff0206 00000001 abcd")
    assert list(oxm.entries(unknown + oxm.in_port(3))) == [oxm.Entry(oxm.IN_PORT, 3, None)]


@pytest.mark.parametrize("data", ["80", "8000000400", "80000004000000", "ffff0206"])
def test_entries_that_are_cut_short_are_malformed(data: str) -> None:
    with pytest.raises(Malformed):
        list(oxm.entries(bytes.fromhex(data)))


def test_entries_that_compare_other_bits_of_one_field_become_one() -> None:
    low, high = oxm.reg(3, 5, 0xF), oxm.reg(3, 9 << 28, 0xF << 28)
    both = oxm.reg(3, 9 << 28 | 5, 0xF << 28 | 0xF)
    assert oxm.match(high, oxm.in_port(1), low) == oxm.match(oxm.in_port(1), both)
    assert oxm.match(b"", low, b"", low) == low
    whole = oxm.reg(3, 0x12345678, 0xFFFF0000), oxm.reg(3, 0x12345678, 0xFFFF)
    assert oxm.match(*whole) == oxm.reg(3, 0x12345678)
    with pytest.raises(ValueError, match="no packet has both"):
        oxm.match(low, oxm.reg(3, 4, 0xF))
