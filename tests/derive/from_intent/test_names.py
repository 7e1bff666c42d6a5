# SPDX-License-Identifier: Apache-2.0
"""Names of policy, which may hold all that a resource id may hold."""

from __future__ import annotations

from hypothesis import given

from isthmus.derive.from_intent.names import name_of, named, segment_of
from isthmus.intent.model import Stored
from tests.names import NAMES


@given(NAMES)
def test_a_thing_is_called_alike_by_itself_and_by_who_refers_to_it(name: str) -> None:
    ref = f"/servers/{name}"
    stored = Stored(
        key=ref.lower(), ref=ref, kind="servers", resource_id=name, instance_id="i", etag="e"
    )
    assert name_of(stored) == named(ref) == named(ref.lower()) == name.lower()


def test_no_reference_is_no_name() -> None:
    assert named(None) == ""


@given(NAMES, NAMES)
def test_a_segment_is_called_after_its_network_and_subnet(network: str, subnet: str) -> None:
    key = f"/virtualNetworks/{network}/subnets/{subnet}".lower()
    assert segment_of(key) == f"{network}/{subnet}".lower()
