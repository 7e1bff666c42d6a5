# SPDX-License-Identifier: Apache-2.0
"""What follows from the declaration of a kind."""

from __future__ import annotations

from typing import Annotated

import pytest

from isthmus.errors import Invalid
from isthmus.intent.fields import Field, Rules, decode, required
from isthmus.intent.kind import BackReference, Kind, default_of
from isthmus.intent.resource import Resource
from isthmus.intent.versions import V1, V2, V3


class Box(Resource, frozen=True, kw_only=True):
    size: Annotated[int, required("Its size.")] = 1
    colour: Annotated[str | None, Field("Later.", Rules(since=V2, too_early="TooEarly"))] = None
    weight: Annotated[int, Field("Fixed.", Rules(immutable="Fixed"))] = 0


LID = Kind(name="boxes/lids/handles", model=Box)
BOX = Kind(
    name="boxes",
    model=Box,
    children=(Kind(name="boxes/lids", model=Box, since=V3, children=(LID,)),),
    back_references=(BackReference("users", ("people",), "Who uses it.", V2),),
)


def test_a_kind_knows_all_kinds_below_it() -> None:
    assert list(BOX.tree) == ["boxes", "boxes/lids", "boxes/lids/handles"]
    assert BOX.tree["boxes/lids/handles"] is LID
    assert (LID.collection, LID.depth) == ("handles", 3)


def test_a_version_sees_what_it_has() -> None:
    old, new = BOX.projection(V1), BOX.projection(V3)
    assert (set(old.children), set(new.children)) == (set(), {"lids"})
    assert (len(old.back_references), len(new.back_references)) == (0, 1)
    assert [writer[1] for writer in old.writers] == ["size", "weight"]
    assert [writer[1] for writer in new.writers] == ["size", "colour", "weight"]
    assert BOX.projection(V1) is old


def test_what_a_version_cannot_send_keeps_its_value_and_is_refused_where_it_says_so() -> None:
    old = BOX.projection(V1)
    assert old.carried == ("colour", "weight")
    assert BOX.projection(V2).carried == ("weight",)
    with pytest.raises(Invalid, match="v2") as caught:
        old.readers["colour"][2].read("red")
    assert caught.value.code == "TooEarly"


def test_a_singleton_has_its_defaults_and_one_identity_everywhere() -> None:
    kind = Kind(name="settings", model=Box, singleton="All")
    first, again = default_of(kind), default_of(kind)
    assert first == again
    assert (first.key, first.ref) == ("/settings/all", "/settings/All")
    assert decode(first, Box) == Box()
