# SPDX-License-Identifier: Apache-2.0
"""What a switch cannot have as policy says, and what follows for its ports: pure.

Flows that the switch did not take, and rows of the program that two parts of the policy say
differently. The port shows it. What a feature says is not whole without such a flow (a list of
rules, or a port) is *closed*, and nothing passes until policy changes: a `Refused` row, from which
the program follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from isthmus.derive.engine import Engine, Key, Table
from isthmus.policy.rows import Port, Router, RouterPort, Rule, RuleSet, Segment
from isthmus.switches.ovs.facts import Refused, Whole
from isthmus.switches.ovs.feature import Feature
from isthmus.switches.ovs.features import FEATURES
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, Stage
from isthmus.wire.openflow import Flow

MAY_MEND = (Port, Router, RouterPort, Rule, RuleSet, Segment)
"""Rows with whose change something else may follow than what could not be had."""

MOST_TOLD = 10
"""Of contradictions: who mends these will see the others."""


class Refusals:
    """What one host's switch cannot have of the engine's program."""

    def __init__(self, engine: Engine, features: Sequence[Feature] = FEATURES) -> None:
        self._engine = engine
        self._closes_by_unit = {unit: its for one in features for unit, its in one.closes.items()}
        self._disputed = {
            table: its for one in features for table, its in one.closes_disputed.items()
        }
        self._of_ports = frozenset(unit for one in features for unit in one.port_units)
        self.errors: dict[FlowKey, str] = {}
        """Flows that the switch did not take, and its words."""
        self.told: tuple[str, ...] = ()
        """What parts of the policy say differently, for the operator."""
        self._closed: set[Whole] = set()
        """Lists of rules and ports that are not whole."""

    def take(self, refusals: Iterable[tuple[Flow, str]]) -> tuple[bool, set[str]]:
        """Whether something is closed for them that was not, and the ports that show them."""
        closed, ports = False, set()
        for refused, error in refusals:
            key = FlowKey(refused.table, refused.priority, refused.match)
            giver = self._engine.giver(Programmed, key)
            if giver is None:
                continue
            unit, name = giver
            self.errors[key] = error
            closed |= self._close(
                self._broken_by(unit, name), f"the switch refuses a flow: {error}"
            )
            if unit in self._of_ports:
                ports.add(str(name))
        return closed, ports

    def contradictions(self) -> bool:
        """Look for what has come to be said differently by several; True if something is closed for
        it that was not. Cost: what is disputed, and nothing where that is as before."""
        if not self._engine.conflicts_changed():
            return False
        told: list[str] = []
        closed = False
        for table, key in sorted(self._engine.conflicts(), key=repr):
            givers = self._engine.givers(table, key)
            if not _is_contradiction(givers):
                continue
            calls = " and ".join(dict.fromkeys(f"{unit} of {name}" for unit, name, _ in givers))
            told.append(f"{_row_text(table, key)} is not the same by {calls}")
            disputed = self._disputed.get(table)
            broken = [] if disputed is None else [*disputed(key, self._engine)]
            if table is Programmed:
                broken += [one for unit, name, _ in givers for one in self._broken_by(unit, name)]
            closed |= self._close(broken, f"policy contradicts itself: {told[-1]}")
        self.told = tuple(told[:MOST_TOLD])
        return closed

    def _close(self, wholes: Iterable[Whole], detail: str) -> bool:
        """Whether one of them was not closed."""
        news = [one for one in dict.fromkeys(wholes) if one not in self._closed]
        for whole in news:
            self._engine.put(Refused, whole, Refused(detail))
        self._closed.update(news)
        return bool(news)

    def forget(self, key: FlowKey) -> None:
        """The flow is not wanted any more."""
        self.errors.pop(key, None)

    def try_again(self) -> None:
        """What was refused may be taken now: rules have changed, or the switch is another."""
        for whole in self._closed:
            self._engine.put(Refused, whole, None)
        self._closed.clear()

    def of_port(self, port_id: str) -> Iterator[str]:
        """The switch's words about each flow of a port that it did not take."""
        for key, error in self.errors.items():
            giver = self._engine.giver(Programmed, key)
            if giver is not None and giver[0] in self._of_ports and giver[1] == port_id:
                yield error

    def _broken_by(self, unit: str, name: Key) -> list[Whole]:
        """What is not whole without a flow of that call."""
        closes = self._closes_by_unit.get(unit)
        return [] if closes is None else [*closes(name, self._engine)]


def _is_contradiction(givers: Iterable[tuple[str, Key, object]]) -> bool:
    """Flows that do the same are no contradiction, whosever they are: ports may share an address
    pair."""
    said = [value for _, _, value in givers]
    return len({one.instructions if isinstance(one, Programmed) else one for one in said}) > 1


def _row_text(table: Table, key: Key) -> str:
    if isinstance(key, FlowKey):
        named = key.table in Stage._value2member_map_
        return f"a flow of {Stage(key.table).name if named else f'table {key.table}'}"
    return f"{table.__name__} {key}"
