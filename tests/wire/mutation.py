# SPDX-License-Identifier: Apache-2.0
"""Bytes that are almost valid, for fuzzing decoders."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of `seeds` with some bytes changed, cut out, or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(("change", "cut", "insert")))
        if kind == "change":
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "cut":
            del data[place : draw(st.integers(place, len(data)))]
        else:
            data[place:place] = draw(st.binary(max_size=12))
    return bytes(data)


def almost(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Mutated seeds, and now and then arbitrary bytes."""
    return st.one_of(mutated(seeds), st.binary(max_size=600))
