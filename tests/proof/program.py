# SPDX-License-Identifier: Apache-2.0
"""The flows of one host, and which of them matches a packet.

The one of the highest priority does; where two of one priority match and do not do the same, the
program is wrong (`Overlap`), for a switch may take either. Flows that compare the same bits are
looked up together, so that the cost does not grow with their number; and what was found is kept
until the table changes, for most packets are like others in what its flows compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from isthmus.switches.ovs.pipeline import FlowKey, Stage
from tests.proof.operations import Operation, operations
from tests.proof.slots import Condition, conditions

Slots = list[int]


class Overlap(Exception):
    """Two flows of one priority match one packet and differ."""


class Flow(NamedTuple):
    key: FlowKey
    conditions: tuple[Condition, ...]
    operations: tuple[Operation, ...]


def decoded(key: FlowKey, instructions: bytes) -> Flow:
    """Raises Refused."""
    return Flow(key, _conditions(key.match), _operations(key.table, instructions))


# Most flows of a host are those of every other.
_conditions = lru_cache(100_000)(conditions)
_operations = lru_cache(100_000)(operations)


class _Shape:
    """The flows of a table that compare the same bits, by what they compare them with."""

    __slots__ = ("conditions", "flows", "top")

    def __init__(self, conditions: tuple[tuple[int, int], ...]) -> None:
        self.conditions = conditions
        self.flows: dict[tuple[int, ...], list[Flow]] = {}
        self.top = -1


class _Found:
    """What the flows of a table compare of a packet, and the flow for each of these states."""

    __slots__ = ("flows", "state")

    def __init__(self, slots: tuple[int, ...]) -> None:
        self.state: Callable[[Slots], Any] = itemgetter(*slots) if slots else len
        self.flows: dict[Any, Flow | None] = {}


_MOST_FOUND = 50_000
"""Kept for one table."""


class Program:
    """The flows of one host, and how to find them."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        self._tables: dict[int, dict[tuple[tuple[int, int], ...], _Shape]] = {}
        self._ordered: dict[int, list[_Shape]] = {}
        self._found: dict[int, _Found] = {}
        self.flows: dict[FlowKey, Flow] = {}
        for flow in flows:
            self.put(flow.key, flow)

    def put(self, key: FlowKey, flow: Flow | None) -> None:
        """Set a flow; None removes it."""
        before = self.flows.pop(key, None)
        if before is not None:
            self._bucket(before).remove(before)
        if flow is not None:
            self.flows[key] = flow
            self._bucket(flow).append(flow)
        self._ordered.pop(key.table, None)
        self._found.pop(key.table, None)

    def _bucket(self, flow: Flow) -> list[Flow]:
        shape = tuple((slot, mask) for slot, _, mask in flow.conditions)
        shapes = self._tables.setdefault(flow.key.table, {})
        found = shapes.get(shape)
        if found is None:
            found = shapes[shape] = _Shape(shape)
        return found.flows.setdefault(tuple(value for _, value, _ in flow.conditions), [])

    def _shapes(self, table: int) -> list[_Shape]:
        shapes = list(self._tables.get(table, {}).values())
        for shape in shapes:
            shape.flows = {values: flows for values, flows in shape.flows.items() if flows}
            shape.top = max(
                (flow.key.priority for flows in shape.flows.values() for flow in flows), default=-1
            )
        ordered = sorted(
            (shape for shape in shapes if shape.top >= 0), key=lambda shape: -shape.top
        )
        self._ordered[table] = ordered
        return ordered

    def of_tables(self, tables: Iterable[int]) -> Iterator[Flow]:
        """All flows of these tables."""
        for table in tables:
            for shape in self._tables.get(table, {}).values():
                for flows in shape.flows.values():
                    yield from flows

    def slots_of(self, table: int) -> tuple[int, ...]:
        """All that the flows of a table compare."""
        shapes = self._tables.get(table, {})
        return tuple(sorted({slot for shape in shapes for slot, _ in shape}))

    def find(self, table: int, packet: Slots) -> Flow | None:
        """Raises Overlap."""
        found = self._found.get(table)
        if found is None:
            found = self._found[table] = _Found(self.slots_of(table))
        state = found.state(packet)
        try:
            return found.flows[state]
        except KeyError:
            flow = self._looked_up(table, packet)
        if len(found.flows) == _MOST_FOUND:
            found.flows.clear()
        found.flows[state] = flow
        return flow

    def _looked_up(self, table: int, packet: Slots) -> Flow | None:
        best: Flow | None = None
        highest = -1
        for shape in self._ordered.get(table) or self._shapes(table):
            if shape.top < highest:
                break
            flows = shape.flows.get(tuple([packet[slot] & mask for slot, mask in shape.conditions]))
            for flow in flows or ():
                priority = flow.key.priority
                if priority > highest:
                    best, highest = flow, priority
                elif best is not None and priority == highest and not same(flow, best):
                    raise Overlap(f"{Stage(table).name}: {best} and {flow}")
        return best


def same(one: Flow, other: Flow) -> bool:
    """Whether two flows do the same."""
    return one.operations == other.operations
