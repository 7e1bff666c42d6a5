# SPDX-License-Identifier: Apache-2.0
"""What separates a switch from its program, after a restart of either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from isthmus.switches.ovs.begun import in_order
from isthmus.switches.ovs.facts import Meter
from isthmus.switches.ovs.pipeline import FlowKey, Programmed, flow
from isthmus.wire import openflow as of
from isthmus.wire.openflow import Flow
from isthmus.wire.openflow_replies import InstalledFlow


class Difference(NamedTuple):
    """What to apply so that the switch holds the program and nothing else."""

    adds: tuple[Flow, ...]
    deletes: tuple[Flow, ...]
    meters: tuple[of.Meter, ...]
    deleted_meters: tuple[of.Meter, ...]


def difference(
    installed: Iterable[InstalledFlow],
    wanted: Mapping[FlowKey, Programmed],
    installed_meters: Iterable[of.Meter],
    wanted_meters: Iterable[Meter],
) -> Difference:
    """Compares flows by table, priority, match and cookie: a cookie holds a digest of its flow."""
    have = {FlowKey(f.table, f.priority, f.match): f for f in installed}

    def lacks(key: FlowKey) -> bool:
        return key not in have or have[key].cookie != wanted[key].cookie

    adds = [
        flow(key, value)
        for key, value in wanted.items()
        # What has ended by itself is not begun again.
        if lacks(value.since or key)
    ]
    deletes = [f.flow for key, f in have.items() if key not in wanted]
    meters_have = {meter.id: meter for meter in installed_meters}
    meters_want = {meter.id: openflow_meter(meter) for meter in wanted_meters}
    return Difference(
        in_order(adds),
        tuple(deletes),
        tuple(m for m in meters_want.values() if meters_have.get(m.id) != m),
        tuple(m for m in meters_have.values() if m.id not in meters_want),
    )


def openflow_meter(meter: Meter) -> of.Meter:
    return of.Meter(meter.id, meter.rate_pps, meter.burst)
