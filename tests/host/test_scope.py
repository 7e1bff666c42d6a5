# SPDX-License-Identifier: Apache-2.0
"""What is asked for: comparing and joining it."""

from __future__ import annotations

from isthmus.host.scope import Conditions, covers, union
from isthmus.policy.rows import Claim, Port, Segment

A, B = ("segment", "==", "a"), ("segment", "==", "b")
NARROW: Conditions = {Port: (A,), Claim: ()}
WIDE: Conditions = {Port: (A, B), Claim: (A,)}


def test_a_scope_covers_what_it_asks_for_and_less() -> None:
    assert covers(WIDE, NARROW)
    assert covers(WIDE, WIDE)
    assert not covers(NARROW, WIDE)
    # A table without conditions is asked for whole.
    assert covers({Claim: ()}, {Claim: (), Port: (A,)})
    assert not covers({Claim: (), Port: (A,)}, {Claim: ()})


def test_a_union_asks_for_all_that_either_does() -> None:
    assert union({Port: (B,), Segment: (A,)}, NARROW) == {Port: (A, B), Claim: ()}
    assert covers(union(NARROW, WIDE), WIDE)
    assert covers(union(WIDE, NARROW), NARROW)
