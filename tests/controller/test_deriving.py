# SPDX-License-Identifier: Apache-2.0
"""What a controller says of its derivation."""

from __future__ import annotations

import msgspec

from isthmus.controller.deriving import all_wanted, faults, wanted
from isthmus.derive.from_intent.program import new_engine
from isthmus.derive.from_intent.rules import RuleFact, RuleSetFact
from isthmus.derive.from_intent.servers import ServerFact
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.policy.rows import Host, Rule, RuleSet
from isthmus.policy.values import Action
from tests.reach.cloud import rule


def test_a_row_that_two_resources_say_differently_is_told_with_both() -> None:
    engine = new_engine(Underlay())
    for ref in ("/servers/h1", "/servers/h1x"):
        engine.put(ServerFact, ref, ServerFact(ref, "h1"))
    engine.settle()
    assert list(faults(engine)) == [
        "Host h1 is not the same by server of /servers/h1 and server of /servers/h1x: what it is"
        " about is closed"
    ]
    engine.put(ServerFact, "/servers/h1x", None)
    engine.settle()
    assert list(faults(engine)) == []


def test_a_row_that_two_resources_say_differently_closes_what_it_is_about() -> None:
    engine = new_engine(Underlay())
    allowing = rule("r", "allow")
    for ref, said in (("/a", allowing), ("/b", msgspec.structs.replace(allowing, priority=7))):
        engine.put(RuleFact, ref, RuleFact(said))
    for ref, default in (("/a", Action.ALLOW), ("/b", Action.DENY)):
        engine.put(RuleSetFact, ref, RuleSetFact(ref, "web", default, Action.ALLOW, ()))
    for ref in ("/servers/h1", "/servers/h1x"):
        engine.put(ServerFact, ref, ServerFact(ref, "h1"))
    engine.put(ServerFact, "/servers/h2", ServerFact("/servers/h2", "h2"))
    engine.settle()
    found = {(type(row), row.key): row for row in all_wanted(engine)}
    assert [key for table, key in found if table is Host] == ["h2"]
    denying, closed = found[Rule, allowing.key], found[RuleSet, "web"]
    assert isinstance(denying, Rule)
    assert isinstance(closed, RuleSet)
    assert (denying.action, denying.direction, denying.destination_ports) == ("deny", "in", None)
    assert (closed.in_default, closed.out_default) == ("deny", "deny")
    for place in ((Host, "h1"), (Host, "h2"), (Rule, allowing.key), (RuleSet, "web")):
        assert wanted(engine, place) == found.get(place)
    engine.put(RuleFact, "/b", None)
    engine.settle()
    assert engine.conflicts_changed()
    assert wanted(engine, (Rule, allowing.key)) == allowing
