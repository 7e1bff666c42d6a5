# SPDX-License-Identifier: Apache-2.0
"""What a controller says of its derivation."""

from __future__ import annotations

from isthmus.controller.deriving import faults
from isthmus.derive.from_intent.program import new_engine
from isthmus.derive.from_intent.servers import ServerFact
from isthmus.derive.from_intent.underlay import Underlay


def test_a_row_that_two_resources_say_differently_is_told_with_both() -> None:
    engine = new_engine(Underlay())
    for ref in ("/servers/h1", "/servers/h1x"):
        engine.put(ServerFact, ref, ServerFact(ref, "h1"))
    engine.settle()
    assert list(faults(engine)) == [
        "Host h1 is not the same by server of /servers/h1 and server of /servers/h1x: the first of"
        " them holds"
    ]
    engine.put(ServerFact, "/servers/h1x", None)
    engine.settle()
    assert list(faults(engine)) == []
