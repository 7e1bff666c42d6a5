# SPDX-License-Identifier: Apache-2.0
"""Which flows the packets of a set find, and what of the set that depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.proof.packet_sets import SLOT_AT, WHOLE, PacketSet, bits_of
from tests.proof.program import Flow


class Taken(NamedTuple):
    """What a flow gets of a set."""

    packets: PacketSet
    flow: Flow


class Found(NamedTuple):
    """`taken`: the first first; the last takes all that is left of the set, unless there is none
    such. `reads`: slots of which the set is known to be so that no others can be found; any set
    that agrees in these finds the same."""

    taken: tuple[Taken, ...]
    reads: int


class _Entry(NamedTuple):
    """`reads`: all slots that the flow compares."""

    values: int
    known: int
    reads: int
    flow: Flow


class Lookups:
    """In some flows."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        self._entries: dict[int, list[_Entry]] = {}
        for flow in flows:
            reads = 0
            for slot, _, _ in flow.conditions:
                reads |= WHOLE[slot]
            entry = _Entry(*bits_of(flow.conditions), reads, flow)
            self._entries.setdefault(flow.key.table, []).append(entry)
        for entries in self._entries.values():
            entries.sort(key=lambda entry: -entry.flow.key.priority)

    def find(self, table: int, packets: PacketSet) -> Found:
        taken: list[Taken] = []
        reads = 0
        for values, known, its, flow in self._entries.get(table, ()):
            clash = (packets.values ^ values) & packets.known & known
            if clash:
                if not clash & reads:
                    reads |= WHOLE[SLOT_AT[(clash & -clash).bit_length() - 1]]
                continue
            reads |= its
            narrowed = packets.narrowed(values, known)
            if narrowed is not None:
                taken.append(Taken(narrowed, flow))
                if narrowed is packets:
                    break
        return Found(tuple(taken), reads)
