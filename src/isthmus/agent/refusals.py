# SPDX-License-Identifier: Apache-2.0
"""Flows that the switch did not take, and what follows for the ports that they belong to: pure.

The port shows what was refused. Where a flow of rules is missing, or of what a port may send and
receive, nothing passes until policy changes: the list of rules or the port is *closed* (a `Refused`
row, from which the program follows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from isthmus.derive.engine import Engine, Key
from isthmus.policy.rows import Port
from isthmus.switches.ovs.facts import Refused
from isthmus.switches.ovs.filters import Compiled
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from isthmus.wire.openflow import Flow


class Refusals:
    """What one host's switch has refused of the engine's program."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.errors: dict[FlowKey, str] = {}
        """Flows that the switch did not take, and its words."""
        self._closed: set[Key] = set()
        """Lists of rules and ports of which the switch refuses a flow."""

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
            for broken in self._broken_by(unit, name):
                if broken in self._closed:
                    continue
                self._engine.put(Refused, broken, Refused(f"the switch refuses a flow: {error}"))
                self._closed.add(broken)
                closed = True
            if name in self._engine.rows(Port):
                ports.add(str(name))
        return closed, ports

    def forget(self, key: FlowKey) -> None:
        """The flow is not wanted any more."""
        self.errors.pop(key, None)

    def try_again(self) -> None:
        """What was refused may be taken now: rules have changed, or the switch is another."""
        for name in self._closed:
            self._engine.put(Refused, name, None)
        self._closed.clear()

    def of_port(self, port_id: str) -> Iterator[str]:
        """The switch's words about each flow of a port that it did not take."""
        for key, error in self.errors.items():
            giver = self._engine.giver(Programmed, key)
            if giver is not None and giver[1] == port_id:
                yield error

    def _broken_by(self, unit: str, name: Key) -> list[Key]:
        """The lists of rules, or the port, that are not whole without a flow of that call."""
        if unit in ("rule_flows", "local_flows"):
            return [name]
        if unit != "membership":
            return []
        # A member that is not known could be one whom a rule denies.
        compiled = self._engine.rows(Compiled).values()
        return [one.profile.name for one in compiled if one.speaks_of_groups]
