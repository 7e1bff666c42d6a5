# SPDX-License-Identifier: Apache-2.0
"""A lab of two or three hosts whose ``br-int`` is programmed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from isthmus_lab.guest import Guest
from isthmus_lab.lab import Lab
from isthmus_lab.state import HostSpec
from tests.lab import handmade
from tests.lab.remains import remains_of, unique_name

TUNNELS = {
    frozenset(("h1", "h2")): "vxlan",
    frozenset(("h1", "h3")): "nvgre",
    frozenset(("h2", "h3")): "nvgre",
}

PLACES = {"a1": "h1", "a2": "h1", "b1": "h2", "c1": "h3"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Three hosts with ``br-int``; a1 and a2 on h1, b1 on h2 (by VXLAN), c1 on h3 (by NVGRE)."""
    with Lab(unique_name()) as made:
        made.up([HostSpec(f"h{number}", f"172.31.0.{number}") for number in (1, 2, 3)])
        for host in made.hosts.values():
            handmade.make_bridge(host)
        for number, name in enumerate(PLACES, start=1):
            guest = made.add_guest(name, f"02:00:00:00:00:{number:02x}", f"port-{name}")
            made.plug(guest, made.host(PLACES[name]))
            guest.set_address(f"10.0.0.{number}", 24)
        handmade.Hand(made, TUNNELS).program()
        yield made
    assert remains_of(made.name) == {}


@pytest.fixture
def a1(lab: Lab) -> Guest:
    return lab.guest("a1")


@pytest.fixture
def a2(lab: Lab) -> Guest:
    return lab.guest("a2")


@pytest.fixture
def b1(lab: Lab) -> Guest:
    return lab.guest("b1")


@pytest.fixture
def c1(lab: Lab) -> Guest:
    return lab.guest("c1")
