# SPDX-License-Identifier: Apache-2.0
"""Where registers are placed, and what may share bits."""

from __future__ import annotations

import pytest

from isthmus.switches.ovs import registers as reg
from isthmus.switches.ovs.pipeline import Stage, reached
from isthmus.switches.ovs.placing import NoRoom, Place, Register, free, may_share, place
from isthmus.wire import oxm

EARLY = ((Stage.DISPATCH, Stage.ROUTE),)
LATE = ((Stage.FORWARD, Stage.DELIVER),)
WRITTEN = (Stage.FORWARD,)


def one(bits: int = 32, name: str = "one", **declared: object) -> Register:
    return Register(bits, name, "", **declared)  # type: ignore[arg-type]


def test_no_two_registers_that_some_stage_has_share_a_bit() -> None:
    for first in reg.REGISTERS:
        for then in reg.REGISTERS:
            if first is not then and first.occupied & then.occupied:
                assert not set(first.places()) & set(then.places()), (first.name, then.name)


def test_every_bit_of_a_register_is_one_of_the_switch() -> None:
    for register in reg.REGISTERS:
        bits = list(register.places())
        assert len(set(bits)) == len(bits) == register.bits
        assert all(0 <= number < 16 and 0 <= bit < 32 for number, bit in bits)


def test_what_is_never_there_at_once_may_share_bits() -> None:
    first = one(lives=EARLY, written_at=(Stage.DISPATCH,))
    then = one(lives=LATE, written_at=WRITTEN)
    assert may_share(first, then, reached())
    assert not may_share(first, one(lives=((Stage.ROUTE, Stage.FORWARD),)), reached())


def test_what_must_begin_at_zero_shares_bits_only_with_what_is_left_at_zero() -> None:
    expects_zero = one(lives=LATE)
    assert not may_share(expects_zero, one(lives=EARLY, written_at=EARLY[0]), reached())
    cleared = one(lives=EARLY, written_at=EARLY[0], left_zero=True)
    assert may_share(expects_zero, cleared, reached())


def test_what_comes_back_out_of_connection_tracking_is_thought_of() -> None:
    """COMMIT is behind JUDGE, and leads to it."""
    at_judge = one(lives=((Stage.TRACKED, Stage.JUDGE),))
    at_commit = one(lives=((Stage.COMMIT, Stage.COMMIT),), written_at=(Stage.COMMIT,))
    assert not may_share(at_judge, at_commit, reached())
    at_deliver = one(lives=((Stage.DELIVER, Stage.DELIVER),), written_at=(Stage.DELIVER,))
    assert may_share(at_judge, at_deliver, reached())


def test_placing_takes_the_widest_first_and_is_the_same_every_time() -> None:
    for _ in range(2):
        some = [one(bits, lives=LATE) for bits in (1, 48, 16, 128, 32, 24)]
        place(some, reached())
        assert {one.bits: (one.field.text, one.first_bit) for one in some} == {
            **{128: ("xxreg0", 0), 48: ("xreg2", 0), 32: ("reg6", 0), 24: ("reg7", 0)},
            **{16: ("reg4", 16), 1: ("reg7", 24)},
        }


def test_a_register_too_much_is_an_error() -> None:
    four = [one(128, lives=LATE) for _ in range(4)]
    place(four, reached())
    with pytest.raises(NoRoom, match="no 1 bits are left for more in all of its stages"):
        place([*(one(128, lives=LATE) for _ in range(4)), one(1, "more", lives=LATE)], reached())


def test_a_wide_register_is_matched_as_the_switch_reads_it_back() -> None:
    wide = one(128, lives=LATE)
    place([wide], reached())
    number = 0x00112233445566778899AABBCCDDEEFF
    first = wide.number - 3
    assert wide.entries(number) == tuple(
        oxm.reg(first + n, number >> (96 - 32 * n) & 0xFFFFFFFF) for n in range(4)
    )


def test_what_packets_carry_is_read_where_it_was_written() -> None:
    narrow = Place(5)
    narrow.put(oxm.REG[3], 7)
    assert narrow.of({oxm.REG[3]: 0b10110 << 7 | 1}) == 0b10110
    assert narrow.of({}) == 0
    assert narrow.match(3) == oxm.reg(3, 3 << 7, 31 << 7)
    assert narrow.match(0b10000, 0b10000) == oxm.reg(3, 1 << 11, 1 << 11)
    with pytest.raises(OverflowError):
        narrow.match(32)


def test_parts_are_bits_of_their_register() -> None:
    filters, alone = reg.SENDER[reg.FILTER], reg.SENDER[reg.ALONE]
    assert [*filters.places(), *alone.places()] == list(reg.SENDER.places())[:17]


def test_what_is_free_is_what_nobody_has() -> None:
    some = one(20, lives=EARLY)
    place([some], reached())
    assert sum(free([some], Stage.ROUTE)) == 16 * 32 - 20
    assert sum(free([some], Stage.TUNNEL)) == 16 * 32
