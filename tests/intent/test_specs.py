# SPDX-License-Identifier: Apache-2.0
"""Fields compiled from their annotations."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
import pytest

from isthmus.errors import Invalid
from isthmus.intent.address_values import IpAddress
from isthmus.intent.fields import Access, Field, Part, Rules, internal, required
from isthmus.intent.references import Reference
from isthmus.intent.specs import (
    Nested,
    fields_of,
    object_schema,
    read_fields,
    readers,
    wire_name,
    write_fields,
    writers,
)
from isthmus.intent.values import Boolean, Choice, Integer, Many, Text


class Colour(enum.StrEnum):
    RED = "Red"


class Hop(Part, frozen=True, kw_only=True):
    next_hop: Annotated[str, IpAddress(), required("Where to.", "NoHop")]


class Thing(Part, frozen=True, kw_only=True):
    """One field of each sort."""

    name: Annotated[str | None, Field("Its name.")] = None
    is_bmc: Annotated[bool, Field("Whether.")] = msgspec.field(default=False, name="isBMC")
    count: Annotated[int, Field("How many.", Rules(access=Access.READ_ONLY))] = 0
    colour: Annotated[Colour, Field("Which.")] = Colour.RED
    hops: Annotated[tuple[Hop, ...], Field("Ways.")] = ()
    server: Annotated[str | None, Reference(("servers",)), Field("Host.")] = None
    secret: Annotated[int, internal("Ours.")] = 7


READERS = readers(fields_of(Thing))


def test_a_type_follows_from_the_annotation() -> None:
    types = {spec.attribute: type(spec.type) for spec in fields_of(Thing)}
    assert types == {
        "name": Text,
        "is_bmc": Boolean,
        "count": Integer,
        "colour": Choice,
        "hops": Many,
        "server": Reference,
        "secret": Integer,
    }
    (hop,) = [spec.type for spec in fields_of(Thing) if spec.attribute == "hops"]
    assert isinstance(hop, Many)
    assert hop.item == Nested(Hop)


def test_a_wire_name_is_in_camel_case_unless_it_is_given() -> None:
    assert wire_name(Hop, "next_hop") == "nextHop"
    assert wire_name(Thing, "is_bmc") == "isBMC"


def test_what_is_read_only_or_internal_is_not_read() -> None:
    body = {"NAME": "a", "count": 5, "secret": 5, "isbmc": "true", "colour": None}
    assert read_fields(READERS, body) == {"name": "a", "is_bmc": True}


def test_what_is_internal_is_not_written_and_what_is_unset_is_left_out() -> None:
    thing = Thing(hops=(Hop(next_hop="10.0.0.1"),), server="/servers/H")
    assert write_fields(writers(fields_of(Thing)), thing) == {
        "isBMC": False,
        "count": 0,
        "colour": "Red",
        "hops": [{"nextHop": "10.0.0.1"}],
        "server": {"resourceRef": "/servers/H"},
    }


@pytest.mark.parametrize(
    ("body", "code", "target"),
    [
        ({"hops": [{"nextHop": "10.0.0.1"}, {}]}, "NoHop", "hops[1].nextHop"),
        ({"hops": [{"nextHop": "x"}]}, "InvalidIPAddress", "hops[0].nextHop"),
        ({"hops": ["x"]}, "InvalidRequestFormat", "hops[0]"),
    ],
)
def test_an_error_inside_says_where(body: dict[str, object], code: str, target: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_fields(READERS, body)
    assert (caught.value.code, caught.value.target) == (code, target)


def test_references_are_found_inside_of_lists_and_objects() -> None:
    class Listed(Part, frozen=True, kw_only=True):
        things: Annotated[tuple[Thing, ...], Many(Nested(Thing)), Field("Things.")] = ()

    (spec,) = fields_of(Listed)
    assert spec.type.can_mention()
    assert not Nested(Hop).can_mention()
    (found,) = spec.type.mentions((Thing(), Thing(server="/servers/H")))
    assert (found.path, found.ref) == ("[1].server", "/servers/H")


def test_the_schema_hides_what_is_internal_and_says_what_is_needed() -> None:
    properties = object_schema(fields_of(Thing))["properties"]
    assert isinstance(properties, dict)
    assert "secret" not in properties
    assert properties["count"]["readOnly"] is True
    assert object_schema(fields_of(Hop))["required"] == ["nextHop"]


def test_a_field_that_does_not_say_what_it_means_is_an_error() -> None:
    class Mute(Part, frozen=True, kw_only=True):
        name: str = ""

    with pytest.raises(AssertionError, match=r"Mute\.name"):
        fields_of(Mute)
