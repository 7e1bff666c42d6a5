# SPDX-License-Identifier: Apache-2.0
"""Whether somebody else has taken flows or meters off the switch, or put some on it.

Now and then the switch is asked how many flows each of its tables has, and for its meters: two
messages, whatever it holds. Where that is not what was sent, it is read whole and brought back to
the program; that is told for a time. A flow that was exchanged for another of the same table,
priority and match is not seen, nor is one that ends by itself (`switches/ovs/begun.py`).

What the switch has refused is missed by nobody. If something stays different all the same, the
switch is read less and less often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from isthmus.derive.engine import Change
from isthmus.policy.host_problems import HostProblem
from isthmus.switches.ovs.facts import Meter
from isthmus.switches.ovs.pipeline import FlowKey, Programmed
from isthmus.switches.ovs.resync import openflow_meter
from isthmus.wire import openflow as of

FIRST_DELAY_S, LONGEST_DELAY_S = 5.0, 300.0
"""Until the switch is read again for a difference that reading it has not ended."""

TOLD_S = 600.0
"""How long it is told."""


class Tally:
    """What was sent to the switch, as far as that can be compared without reading it whole."""

    def __init__(self) -> None:
        self.lasting: Counter[int] = Counter()
        """Flows by table,"""
        self.passing: Counter[int] = Counter()
        """and those that the switch ends by itself."""
        self.meters: dict[int, of.Meter] = {}

    def flow_changed(self, change: Change) -> None:
        for row, step in ((change.old, -1), (change.new, 1)):
            if isinstance(row, Programmed) and isinstance(change.key, FlowKey):
                kind = self.passing if row.lasts_s else self.lasting
                kind[change.key.table] += step

    def lend(self, table: int, step: int) -> None:
        """A flow that is no part of the program is put there for a moment (1), or was (-1)."""
        self.passing[table] += step

    def meter_changed(self, change: Change) -> None:
        for row in (change.old, change.new):
            if isinstance(row, Meter):
                self.meters.pop(row.id, None)
        if isinstance(change.new, Meter):
            self.meters[change.new.id] = openflow_meter(change.new)


class Difference(NamedTuple):
    """How many flows and meters are missing, and how many there are that nobody has sent."""

    flows: int = 0
    foreign_flows: int = 0
    meters: int = 0
    foreign_meters: int = 0

    def __str__(self) -> str:
        parts = (
            (self.flows, "flows were gone"),
            (self.meters, "meters were gone or others"),
            (self.foreign_flows, "flows were there that Isthmus has not sent"),
            (self.foreign_meters, "meters were there that Isthmus has not sent"),
        )
        return ", ".join(f"{number} {text}" for number, text in parts if number)


NONE = Difference()


def difference(
    tally: Tally,
    refused: Iterable[FlowKey],
    tables: Mapping[int, int],
    meters: Iterable[of.Meter],
) -> Difference:
    """Between what was sent, and the flows that the switch has by table, and its meters. Of a flow
    that it has refused it may have the former one, or none."""
    not_taken = Counter(key.table for key in refused)
    gone = foreign = 0
    for table in tables.keys() | tally.lasting.keys():
        has, sent = tables.get(table, 0), tally.lasting[table]
        gone += max(0, sent - not_taken[table] - has)
        foreign += max(0, has - sent - tally.passing[table])
    installed = {meter.id: meter for meter in meters}
    return Difference(
        *(gone, foreign),
        sum(installed.get(number) != meter for number, meter in tally.meters.items()),
        len(installed.keys() - tally.meters.keys()),
    )


class Comparing:
    """What was found, over time."""

    def __init__(self, bridge: str) -> None:
        self.count = 0
        """How often the switch was another than it should be."""
        self._bridge = bridge
        self._found = NONE
        self._told: tuple[str, float] | None = None
        """What was found last, and when."""
        self._not_before_s = 0.0
        self._delay_s = FIRST_DELAY_S

    def found(self, difference: Difference, now_s: float) -> bool:
        """Take note; True if the switch is to be read now."""
        before, self._found = self._found, difference
        if difference != before:
            self._delay_s, self._not_before_s = FIRST_DELAY_S, now_s
            self.count += difference != NONE
        if difference == NONE:
            return False
        self._told = str(difference), now_s
        if now_s < self._not_before_s:
            return False
        self._not_before_s = now_s + self._delay_s
        self._delay_s = min(2 * self._delay_s, LONGEST_DELAY_S)
        return True

    def problems(self, now_s: float) -> list[HostProblem]:
        if self._told is None or now_s > self._told[1] + TOLD_S:
            return []
        state = "it was put back" if self._found == NONE else "it is being put back"
        times = f"{self.count} times" if self.count > 1 else "once"
        return [
            HostProblem(
                *("switch-changed", self._bridge),
                f"somebody else has changed {self._bridge} ({times} since the agent started; last,"
                f" {self._told[0]}); {state}",
                "find who calls ovs-ofctl or has a controller of its own on it (ovs-vsctl"
                f" get-controller {self._bridge}): what it holds is Isthmus's alone",
            )
        ]
